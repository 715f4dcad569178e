"""Patches and expansions: moves and plain broadcasting in every format, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from converters import Format, Program, convert, suffix_of, verify
from converters._moves import cut_up, joined
from converters._program import export_program


class _Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _LinearAttention(nn.Module):
    """MobileViTv2's: a context of one place, spread over all, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.told, self.answer = nn.Conv2d(8, 17, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = torch.split(self.told(x), [1, 8, 8], 1)
        context = (key * query.softmax(-1)).sum(-1, keepdim=True)
        answer: Tensor = self.answer(value.relu() * context.expand_as(value))
        return answer


def program_of(module: nn.Module | Callable[[Tensor], Tensor], *shape: int) -> Program:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Program(module if isinstance(module, nn.Module) else _Calls(module), {"x": x}, ("y",))


def calls(program: Program) -> list[str]:
    graph = export_program(program).graph
    return [str(node.target).split(".")[1] for node in graph.nodes if str(node.target).startswith("aten.")]


@given(st.integers(1, 3), st.integers(1, 4), st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(1, 3)] * 2))
@settings(max_examples=15, deadline=None)
def test_patches_and_what_is_joined_of_them(
    batch: int, channels: int, grid: tuple[int, int], kernel: tuple[int, int]
) -> None:
    size = [grid[0] * kernel[0], grid[1] * kernel[1]]
    x = torch.randn(batch, channels, *size)

    patches = cut_up(x, list(kernel), [1, 1], [0, 0], list(kernel))

    assert torch.equal(patches, functional.unfold(x, kernel, stride=kernel))
    assert torch.equal(joined(patches, size, list(kernel), [1, 1], [0, 0], list(kernel)), x)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: functional.unfold(x, 2, stride=1), id="they overlap"),
        pytest.param(lambda x: functional.unfold(x, 2, stride=4), id="they leave gaps"),
        pytest.param(lambda x: functional.unfold(x, 3, stride=3), id="they leave a border"),
        pytest.param(lambda x: functional.unfold(x, 2, stride=2, dilation=3), id="they have holes"),
        pytest.param(lambda x: functional.unfold(x, 2, stride=2, padding=1), id="they reach over the edge"),
    ],
)
def test_other_patches_stay(function: Callable[[Tensor], Tensor]) -> None:
    program = program_of(function, 1, 2, 8, 8)

    assert "im2col" in calls(program)
    assert torch.equal(export_program(program).module()(x=program.inputs["x"])["y"], function(program.inputs["x"]))


@pytest.mark.parametrize("format", ["tflite", "coreml", "onnx"])
def test_every_format_takes_patches(format: Format, tmp_path: Path) -> None:
    def rolled(x: Tensor) -> Tensor:
        patches = functional.unfold(x, (2, 4), stride=(2, 4)).roll(1, 1)
        return functional.fold(patches, (8, 8), (2, 4), stride=(2, 4))

    program = program_of(rolled, 1, 3, 8, 8)

    assert verify(convert(program, tmp_path / f"net{suffix_of(format)}"), program).sqnr_db >= 80


@pytest.mark.parametrize("format", ["tflite", "coreml", "onnx"])
def test_what_is_spread_over_all_places_needs_no_copies(format: Format, tmp_path: Path) -> None:
    program = program_of(_LinearAttention().eval(), 1, 8, 4, 16)

    path = convert(program, tmp_path / f"net{suffix_of(format)}")

    assert verify(path, program).sqnr_db >= 80
    assert "expand_as" not in calls(program)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x.sum(-1, keepdim=True).expand(-1, -1, 5) + 1, id="nothing else brings the shape along"),
        pytest.param(lambda x: x[:, :1].expand(-1, 3, -1) * x[:, :1], id="the other operand is smaller"),
        pytest.param(lambda x: x[0, 0, 0].double().expand(2, 3, 4) * x, id="its type would no longer count"),
        pytest.param(lambda x: x[:, :1].expand_as(x), id="it is the answer"),
        pytest.param(lambda x: torch.cat([x, x[:, :1].expand_as(x)]), id="it is joined"),
    ],
)
def test_other_expansions_stay(function: Callable[[Tensor], Tensor]) -> None:
    program = program_of(function, 2, 3, 4)

    assert {"expand", "expand_as"} & set(calls(program))
    assert torch.equal(export_program(program).module()(x=program.inputs["x"])["y"], function(program.inputs["x"]))
