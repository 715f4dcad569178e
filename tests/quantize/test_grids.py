"""Where grids lie and who shares them: moves, joins, float islands, signatures, layers called twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from converters import ConversionError
from mobiledistill.quantize import KeepFloat, calibrate, freeze, prepare
from mobiledistill.quantize._modules import ActivationQuantizer, QuantEmbedding

X = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def conv(stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, stride, 1)


def prepared(module: nn.Module) -> fx.GraphModule:
    graph = prepare({"main": module})["main"]
    assert isinstance(graph, fx.GraphModule)
    return graph


def grid_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The quantizer that a node calls."""
    part = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    return part if isinstance(part, ActivationQuantizer) else None


def grids(graph: fx.GraphModule) -> list[nn.Module]:
    """The quantizers in the order in which they are called."""
    return [grid for node in graph.graph.nodes if (grid := grid_of(graph, node)) is not None]


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = conv(), conv(2), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.first(x))
        coarse = F.interpolate(self.second(fine), scale_factor=2.0)
        return self.last(torch.cat([coarse, F.pad(fine[..., 1:], (1, 0))], 1))


def test_what_is_joined_lies_on_one_grid() -> None:
    graph = prepared(Joined())

    assert len(grids(graph)) == 4  # input, both branches, output
    assert len(set(grids(graph))) == 3
    assert grids(graph)[1] is grids(graph)[2]


class FloatSum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(10, 8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return x + self.down(F.gelu(self.up(self.norm(x))))


def test_a_residual_stream_behind_an_embedding_stays_float() -> None:
    graph = prepared(FloatSum())

    assert isinstance(graph.get_submodule("embedding"), QuantEmbedding)
    assert len(grids(graph)) == 4  # what the linear layers read and write
    (output,) = graph.graph.find_nodes(op="output")
    assert grid_of(graph, output.all_input_nodes[0]) is None


class Exponential(KeepFloat):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.mean((2, 3))).exp()


class Island(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.island, self.after = conv(), Exponential(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.island(self.before(x))
        return self.after(y), y + 1


def test_nothing_is_rounded_inside_of_an_island_or_behind_it_but_for_layers() -> None:
    graph = prepared(Island())

    assert isinstance(graph.get_submodule("island.inner"), nn.Linear)
    assert len(grids(graph)) == 4  # read and written by `before`, and by `after`
    last, other = graph.graph.find_nodes(op="output")[0].all_input_nodes
    assert grid_of(graph, last) is not None
    assert grid_of(graph, other) is None


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.other_norm = conv(), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(self.body(x)), self.other_norm(self.body(F.max_pool2d(x, 2)))


def test_a_layer_with_two_norms_keeps_its_weight_and_its_norms() -> None:
    network = Shared().eval()
    for norm in (network.norm, network.other_norm):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias)
    modules = prepare({"main": network})
    calibrate(modules, {"main": {"x": X}}, 100.0)

    with torch.no_grad():
        pairs = zip(network(X), freeze(modules)["main"](X), strict=True)
        assert all(float((expected - answer).square().mean() / expected.var()) < 1e-3 for expected, answer in pairs)


def test_a_layer_called_twice_with_one_norm_takes_it_in() -> None:
    network = Shared().eval()
    network.other_norm = network.norm

    assert not [node for node in prepared(network).graph.nodes if "norm" in str(node.target)]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor, shift: Tensor) -> Tensor:
        return self.head(self.table(ids + shift))


def test_whole_numbers_never_get_a_grid() -> None:
    modules = prepare({"main": Counting()})
    ids, shift = torch.tensor([[1, 2, 3]]), torch.tensor([4])

    calibrate(modules, {"main": {"ids": ids, "shift": shift}}, 100.0)

    assert len(grids(modules["main"])) == 2  # type: ignore[arg-type]  # a GraphModule
    assert freeze(modules)["main"](ids, shift).shape == (1, 3, 2)


def test_a_signature_without_inputs_is_named() -> None:
    modules = prepare({"main": nn.Sequential(conv()), "other": nn.Sequential(conv())})

    with pytest.raises(
        ConversionError, match=r"No calibration input reached other\.grid_input_1; signatures \['main'\]"
    ):
        calibrate(modules, {"main": {"input": X}}, 100.0)


class Tail(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * 2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = conv()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x)) + x


def test_signatures_share_grids_of_what_they_share() -> None:
    body = nn.Sequential(Block(), Block())

    modules = prepare({"main": body, "tail": Tail(body)})

    alone, behind = (list(dict.fromkeys(grids(graph))) for graph in modules.values())  # type: ignore[arg-type]  # a GraphModule
    assert alone[1:] == behind[2:]  # all but the inputs, of which one is doubled first


def test_sizes_may_change_after_preparing() -> None:
    modules = prepare({"main": Joined()})
    calibrate(modules, {"main": {"x": X}}, 100.0)

    assert freeze(modules)["main"](torch.randn(3, 4, 10, 14)).shape == (3, 4, 10, 14)


def test_tables_learn_and_freeze() -> None:
    modules = prepare({"main": FloatSum()})
    ids = torch.arange(10)[None]
    calibrate(modules, {"main": {"ids": ids}}, 100.0)
    table = modules["main"].get_submodule("embedding")
    assert isinstance(table, QuantEmbedding)

    modules["main"](ids).square().sum().backward()

    assert table.weight.grad is not None
    assert float(table.weight.grad.abs().sum()) > 0
    assert table.log_weight_scale.grad is not None
    frozen = freeze(modules)["main"].get_submodule("embedding")
    steps = frozen.weight / frozen.scale_value  # type: ignore[operator]  # a tensor and a number
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(frozen(ids), table(ids).detach())
