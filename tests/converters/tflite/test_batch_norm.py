"""Batch normalization: inside of the convolution before it, or two operators where none is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from converters import Program, verify
from converters._tflite import export_tflite
from converters._tflite._schema import operator_name, read_model


def normalization(channels: int, *, affine: bool) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, affine=affine)
    for value in layer.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 2.0)
    return layer


def arithmetic(path: Path) -> list[str]:
    model = read_model(path)
    names = [operator_name(model, operator) for operator in model.subgraphs[0].operators]
    return [name for name in names if name not in ("TRANSPOSE", "PAD")]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ((), ["CONV_2D", "CONV_2D"]),
        ((nn.ReLU(),), ["CONV_2D", "MUL", "ADD", "CONV_2D"]),
    ],
)
def test_it_costs_two_operators_at_most(
    before: tuple[nn.Module, ...], expected: list[str], affine: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), *before, normalization(8, affine=affine), nn.Conv2d(8, 4, 3, padding=1))
    program = Program(nn.Sequential(*layers).eval(), {"x": torch.randn(1, 3, 8, 8)}, ("y",))

    path = export_tflite([program], tmp_path / "net.tflite")

    assert arithmetic(path) == expected
    assert verify(path, program).sqnr_db > 100
