"""What torch.export traced is a graph of layers again: the same answers, the same paths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import ConversionError, Program
from mobiledistill.quantize._exported import graph_of_layers


class Everything(nn.Module):
    """A layer of every kind that becomes one again, and control flow that torch.fx refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6, bias=False)])
        self.conv = nn.Conv1d(6, 8, 3, padding="same", dilation=2)
        self.norm = nn.BatchNorm1d(8)
        self.image = nn.Conv2d(1, 4, 3, stride=(1, 2), padding=(1, 0), groups=1)
        self.image_norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.tensor([1.5, 0.5, -1.0, 2.0]))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = x + block(x) if len(x) == 1 else block(x)
        x = self.norm(self.conv(x.transpose(1, 2)))
        x = self.image_norm(self.image(x[:, None]))
        return F.relu(x).mean(dim=(2, 3)) * self.scale


@pytest.fixture
def program() -> Program:
    torch.manual_seed(0)
    module = Everything()
    for norm in (module.norm, module.image_norm):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return Program(module.eval(), {"ids": torch.arange(9)[None]}, ("pooled",))


@torch.no_grad()
def test_the_graph_answers_as_the_module_does(program: Program) -> None:
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5]])
    (answer,) = graph_of_layers(program)(ids)
    torch.testing.assert_close(answer, program.module(ids))


def test_layers_stand_where_their_weights_stood(program: Program) -> None:
    graph = graph_of_layers(program)
    layers = {name: type(part) for name, part in graph.named_modules() if list(part.parameters(recurse=False))}
    assert layers == {
        "table": nn.Embedding,
        "blocks.0": nn.Linear,
        "blocks.1": nn.Linear,
        "conv": nn.Conv1d,
        "norm": nn.BatchNorm1d,
        "image": nn.Conv2d,
        "image_norm": nn.BatchNorm2d,
    }
    assert dict(graph.named_buffers())["scale"].shape == (4,)
    assert not [node for node in graph.graph.nodes if "linear" in str(node.target)]


def test_the_module_given_is_not_touched(program: Program) -> None:
    before = {name: value.clone() for name, value in program.module.state_dict().items()}
    graph = graph_of_layers(program)
    for value in graph.parameters():
        nn.init.zeros_(value)
    assert all(torch.equal(before[name], value) for name, value in program.module.state_dict().items())


class Shared(nn.Module):
    """One layer called twice, and the table of an embedding that is also the last layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.layer = nn.Linear(6, 6)

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.layer(self.layer(self.table(ids))), self.table.weight)


@torch.no_grad()
def test_a_layer_called_twice_stays_one_and_a_tied_table_becomes_two() -> None:
    module = Shared().eval()
    graph = graph_of_layers(Program(module, {"ids": torch.arange(5)[None]}, ("logits",)))
    calls = [str(node.target) for node in graph.graph.nodes if node.op == "call_module"]
    assert calls == ["table", "layer", "layer", "table_1"]
    torch.testing.assert_close(graph(torch.arange(5)[None])[0], module(torch.arange(5)[None]))


class Looks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


def test_control_flow_that_depends_on_data_is_refused_in_one_line() -> None:
    with pytest.raises(ConversionError, match=r"Looks cannot be traced by torch\.export .* data-dependent"):
        graph_of_layers(Program(Looks(), {"x": torch.ones(1, 3)}, ("y",)))
