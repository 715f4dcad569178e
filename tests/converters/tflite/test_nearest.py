"""Nearest neighbours: the pixels that torch picks, at any ratio."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from converters import Program, verify
from converters._tflite import export_tflite


class _Resized(nn.Module):
    def __init__(self, size: tuple[int, int], mode: str) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, size=self.size, mode=self.mode)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("size", [(4, 4), (13, 11), (12, 12), (7, 9), (16, 24)])
def test_any_ratio_picks_the_pixels_that_torch_picks(size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    program = Program(_Resized(size, mode), {"x": torch.randn(1, 3, 8, 8)}, ("y",))

    path = export_tflite([program], tmp_path / "net.tflite")

    assert verify(path, program).sqnr_db == 200
