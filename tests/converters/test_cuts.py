"""Constants that are read in part: the file holds the part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from converters import Format, Program, convert, size_bytes, suffix_of, verify
from converters._program import export_program
from mobiledistill.quantize import post_training

Reading = Callable[[Tensor, Tensor], Tensor]


class _Positions(nn.Module):
    """A table made for the longest input there may be."""

    table: Tensor

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(1, 2000, 8, generator=torch.Generator().manual_seed(0)))
        self.reading = reading

    def forward(self, x: Tensor) -> Tensor:
        return self.reading(x, self.table)


def program_of(reading: Reading) -> Program:
    return Program(_Positions(reading), {"x": torch.randn(1, 5, 8)}, ("y",))


def shape_of_table(program: Program) -> tuple[int, ...]:
    state = export_program(program).state_dict
    (table,) = (value for name, value in state.items() if name.endswith("table"))
    return tuple(table.shape)


@pytest.mark.parametrize("format", ["tflite", "coreml", "onnx"])
def test_the_file_holds_the_part_that_is_read(format: Format, tmp_path: Path) -> None:
    program = program_of(lambda x, table: x + table[:, 7:12])

    path = convert(program, tmp_path / f"net{suffix_of(format)}")

    assert size_bytes(path) < 8_000  # the table has 64,000
    assert verify(path, program).sqnr_db >= 80
    assert program.module.get_buffer("table").shape == (1, 2000, 8), "the module keeps its own"


def test_a_table_on_a_grid_is_cut_too() -> None:
    program = program_of(lambda x, table: x + table[:, 7:12])
    (quantized,) = post_training(program, {"x": torch.randn(8, 5, 8)})

    assert shape_of_table(quantized) == (1, 5, 8)
    x = torch.randn(1, 5, 8)
    assert torch.equal(export_program(quantized).module()(x=x)["y"], quantized(x=x)["y"])


@pytest.mark.parametrize(
    ("reading", "shape"),
    [
        pytest.param(lambda x, table: x + table[0, 3:8], (5, 8), id="cut twice"),
        pytest.param(lambda x, table: (x + table[:, :5]) * table[:, :5], (1, 5, 8), id="the same part twice"),
        pytest.param(lambda x, table: x + table[:, :5] - table[:, 5:10], (1, 2000, 8), id="two parts"),
        pytest.param(lambda x, table: x + table[:, :5] + table.sum(), (1, 2000, 8), id="a part and the whole"),
        pytest.param(lambda x, table: x + table[:, -5:], (1, 5, 8), id="from the end"),
    ],
)
def test_what_is_kept_of_a_table(reading: Reading, shape: tuple[int, ...]) -> None:
    program = program_of(reading)

    assert shape_of_table(program) == shape
    kept = export_program(program).module()(x=program.inputs["x"])["y"]
    assert torch.equal(kept, program(x=program.inputs["x"])["y"])
