"""A float program becomes one in integers: whatever traces it, every weight is quantized and the answers stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import (
    FORMATS,
    Format,
    InputError,
    Program,
    compare,
    convert,
    module_integers,
    suffix_of,
    verify,
)
from mobiledistill.quantize import Int8, KeepFloat, post_training
from mobiledistill.quantize._modules import ActivationQuantizer


class Attention(nn.Module):
    """A layer of torch's own Transformer, which torch.fx cannot look into."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.layer(features)[:, 0])


class Waves(nn.Module):
    """Convolutions in one dimension, the second causal."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(16, 8, 3, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 8, 3, dilation=2)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(features.transpose(1, 2))))
        return (x + F.relu(self.second(F.pad(x, (4, 0))))).mean(dim=2)


class Gates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(16, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.layer(features)[0].mean(dim=1))


def _program(module: nn.Module) -> Program:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return Program(module.eval(), {"features": torch.randn(1, 12, 16)}, ("answer",))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("module", "paths"),
    [
        (Attention, ["layer.self_attn.in_proj_weight", "layer.self_attn.out_proj", "layer.linear1", "layer.linear2"]),
        (Waves, ["first", "second"]),
        (Gates, ["layer.cells.0.from_input", "layer.cells.0.from_hidden", "layer.cells.1.from_input"]),
    ],
)
@torch.no_grad()
def test_every_weight_lies_on_a_grid_and_the_answers_stay(module: type[nn.Module], paths: list[str]) -> None:
    program = _program(module())
    (quantized,) = post_training(program, {"features": torch.randn(32, 12, 16)})
    layers = module_integers(quantized)
    assert {layer.name for layer in layers} >= set(paths)
    assert all(layer.input is not None for layer in layers)
    features = torch.randn(32, 12, 16)
    exact = program(features=features)
    rounded = torch.cat([quantized(features=one[None])["answer"] for one in features])
    found = compare({"answer": exact["answer"].numpy()}, {"answer": rounded.numpy()})
    assert found.sqnr_db > 20


@torch.no_grad()
def test_what_torch_fx_can_follow_keeps_any_batch_size() -> None:
    (quantized,) = post_training(_program(Waves()), {"features": torch.randn(8, 12, 16)})
    assert quantized(features=torch.randn(5, 12, 16))["answer"].shape == (5, 8)


class Logarithm(nn.Module):
    """A small number keeps a logarithm from 0, after the operator's or Python's own manner."""

    def __init__(self, add: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.add = nn.Linear(16, 4), add

    def forward(self, features: Tensor) -> Tensor:
        return self.add(self.linear(features).relu()).log()


@pytest.mark.parametrize("add", [lambda x: x + 1e-6, lambda x: torch.add(x, 1e-6), lambda x: 1e-6 + x])
@torch.no_grad()
def test_a_number_smaller_than_any_step_is_not_rounded_away(add: Callable[[Tensor], Tensor]) -> None:
    program = _program(Logarithm(add))

    (quantized,) = post_training(program, {"features": torch.randn(32, 12, 16)})

    assert quantized(features=torch.randn(8, 12, 16))["answer"].isfinite().all()


@pytest.mark.parametrize("format", FORMATS)
def test_averages_over_the_edge_are_those_of_every_format(format: Format, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AvgPool2d(2, 2, ceil_mode=True)).eval()
    program = Program(module, {"x": torch.randn(1, 3, 15, 15)}, ("y",))
    (quantized,) = post_training(program, {"x": torch.randn(16, 3, 15, 15)})

    path = convert(quantized, tmp_path / f"net{suffix_of(format)}")

    assert verify(path, quantized, {"x": torch.randn(8, 3, 15, 15).numpy()}).integers_equal


class HalfFloat(nn.Module):
    """One part is meant to stay float."""

    class Core(KeepFloat):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.linear(x))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.core, self.last = nn.Linear(16, 16), HalfFloat.Core(), nn.Linear(16, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.core(self.first(features)))


def test_what_is_meant_to_stay_float_stays_float() -> None:
    (quantized,) = post_training(_program(HalfFloat()), {"features": torch.randn(8, 12, 16)})
    assert [layer.name for layer in module_integers(quantized)] == ["first", "last"]


def test_several_signatures_share_their_layers() -> None:
    module = Waves().eval()
    programs = [
        Program(module, {"features": torch.randn(1, length, 16)}, ("answer",), name)
        for name, length in (("long", 12), ("short", 8))
    ]
    quantized = post_training(
        programs, {"long": {"features": torch.randn(8, 12, 16)}, "short": {"features": torch.randn(8, 8, 16)}}
    )
    assert [program.name for program in quantized] == ["long", "short"]
    first, second = (module_integers(program) for program in quantized)
    assert [(one.input, one.output) for one in first] == [(two.input, two.output) for two in second]


def test_calibration_inputs_that_are_missing_are_named() -> None:
    with pytest.raises(InputError, match=r"'main' reads \['features'\]; its calibration inputs lack \['features'\]"):
        post_training(_program(Waves()), {"image": torch.randn(8, 12, 16)})


def test_ranges_of_least_squared_error_lie_between_all_and_too_few_values() -> None:
    signs = torch.randint(0, 2, (40_000,)) * 2.0 - 1.0
    values = signs * torch.distributions.Exponential(1.0).sample((40_000,)).pow(1.5)  # long tails on both sides

    def error(percentile: float | None) -> float:
        quantizer = ActivationQuantizer()
        quantizer.observe()
        quantizer(values)
        quantizer.settle(percentile)
        quantizer.freeze()
        return float((quantizer(values) - values).square().sum())

    assert error(None) < 0.95 * min(error(100.0), error(99.9))


def test_corrected_biases_take_out_the_shift_of_rounded_weights() -> None:
    class Coarse(nn.Module):
        """Weights that share a scale with a large one, and inputs of one sign: rounding shifts the mean."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.mix = nn.Conv2d(1, 6, 3), nn.Linear(6, 5)
            for layer in (self.convolve, self.mix):
                layer.weight.data.mul_(0.05).flatten(1)[:, 0] = 8.0

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(F.relu(self.convolve(x)).mean((2, 3)))

    images = torch.rand(64, 1, 8, 8) + 0.5
    program = Program(Coarse().eval(), {"image": images[:1]}, ("y",))

    @torch.no_grad()
    def shift(scheme: Int8) -> float:
        (quantized,) = post_training(program, {"image": images}, scheme)
        return float((quantized(image=images)["y"] - program(image=images)["y"]).mean(0).abs().mean())

    assert shift(Int8(correct_biases=True)) < 0.5 * shift(Int8())
