from __future__ import annotations

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn
from torch.nn import functional as F

from converters import Program
from converters._fold import fold_weight_quantization
from converters._program import export_program
from converters._quiet import quiet
from tests.converters._networks import example_input, quantized_net

_ops = torch.ops.quantized_decomposed


def targets(exported: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]


def test_weights_become_the_integers_that_they_round_to() -> None:
    network, features = quantized_net(8), example_input()

    folded = fold_weight_quantization(export_program(Program(network, {"features": features}, ("logits",))))

    assert not [name for name in targets(folded) if "quantize_per_channel" in name and "dequantize" not in name]
    assert folded.state_dict["module.stem.weight"].dtype == torch.int8
    assert torch.equal(folded.module()(features=features)["logits"], network(features))
    with quiet():
        decomposed = folded.run_decompositions({}).module()
    assert torch.equal(decomposed(features=features)["logits"], network(features))


def test_the_module_keeps_its_floats() -> None:
    network = quantized_net(8)

    fold_weight_quantization(export_program(Program(network, {"features": example_input()}, ("logits",))))

    assert network.get_submodule("stem").weight.dtype == torch.float32


class Rounded(nn.Module):
    """A parameter that is rounded, and in another way used as it is."""

    def __init__(self, *, twice: bool, plain: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, -1.0], [0.25, 0.75]]))
        self.register_buffer("scale", torch.tensor([0.25, 0.25]))
        self.register_buffer("zero_point", torch.zeros(2, dtype=torch.int64))
        self.twice, self.plain = twice, plain

    def rounded(self) -> Tensor:
        grid = (self.scale, self.zero_point, 0, -127, 127, torch.int8)
        weight: Tensor = _ops.dequantize_per_channel.default(
            _ops.quantize_per_channel.default(self.weight, *grid), *grid
        )
        return weight

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.rounded())
        if self.twice:
            y = F.linear(y, self.rounded())
        return y + self.weight.sum() if self.plain else y


def test_a_parameter_that_is_used_twice_is_stored_once() -> None:
    module, x = Rounded(twice=True, plain=False), torch.ones(1, 2)

    folded = fold_weight_quantization(export_program(Program(module, {"x": x}, ("y",))))

    assert not [name for name in targets(folded) if "quantize_per_channel" in name and "dequantize" not in name]
    assert folded.state_dict["module.weight"].dtype == torch.int8
    assert torch.equal(folded.module()(x=x)["y"], module(x))


def test_a_parameter_on_two_grids_stays() -> None:
    class Two(Rounded):
        def forward(self, x: Tensor) -> Tensor:
            y = F.linear(x, self.rounded())
            coarse = (self.scale, self.zero_point, 0, -1, 1, torch.int8)
            steps = _ops.quantize_per_channel.default(self.weight, *coarse)
            return F.linear(y, _ops.dequantize_per_channel.default(steps, *coarse))

    module, x = Two(twice=False, plain=False), torch.ones(1, 2)

    folded = fold_weight_quantization(export_program(Program(module, {"x": x}, ("y",))))

    assert folded.state_dict["module.weight"].dtype == torch.float32
    assert torch.equal(folded.module()(x=x)["y"], module(x))


def test_a_parameter_that_is_also_read_as_floats_stays() -> None:
    module, x = Rounded(twice=False, plain=True), torch.ones(1, 2)

    folded = fold_weight_quantization(export_program(Program(module, {"x": x}, ("y",))))

    assert folded.state_dict["module.weight"].dtype == torch.float32
    assert torch.equal(folded.module()(x=x)["y"], module(x))
