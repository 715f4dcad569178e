"""Layers of a module and of a file, matched by their integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import FORMATS, Format, Program, convert, suffix_of, verify
from converters._integers import Grid, IntegerLayer, integer_differences
from mobiledistill.quantize import post_training


class _Reads(nn.Module):
    def __init__(self, reading: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.reading = nn.Linear(8, 6), reading

    def forward(self, x: Tensor) -> Tensor:
        return self.reading(self.layer, x)


def _raw_and_behind_an_activation(layer: nn.Module, x: Tensor) -> Tensor:
    answer: Tensor = layer(x)
    return answer + answer.relu()


@pytest.mark.parametrize(
    "reading",
    [
        pytest.param(lambda layer, x: layer(x) + layer(x).relu(), id="called twice with the same"),
        pytest.param(_raw_and_behind_an_activation, id="read twice"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_libraries_may_merge_calls_and_copy_layers(
    format: Format, reading: Callable[[nn.Module, Tensor], Tensor], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    program = Program(_Reads(reading).eval(), {"x": torch.randn(1, 8)}, ("y",))
    (quantized,) = post_training(program, {"x": torch.randn(16, 8)})

    path = convert(quantized, tmp_path / f"net{suffix_of(format)}")

    assert verify(path, quantized, {"x": torch.randn(8, 8).numpy()}).integers_equal


def test_another_bias_makes_no_copy() -> None:
    weight = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    layer = IntegerLayer("", weight, np.full(3, 0.1, np.float32), np.zeros(3), Grid(0.1, 0), Grid(0.2, 3))
    own = [replace(layer, name="layer")]
    fused = replace(layer, output=Grid(0.1, -128))

    assert integer_differences(own, [layer, fused]) == []
    shifted = replace(layer, bias=np.ones(3))
    assert integer_differences(own, [layer, shifted]) == ["the file holds 1 quantized layers that the module does not"]
    assert integer_differences([*own, replace(own[0], output=fused.output)], [layer]) == []
    other = replace(own[0], name="other")
    assert integer_differences([*own, other], [layer]) == ["other: no layer of the file holds its weight's integers"]
