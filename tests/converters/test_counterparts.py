"""Operators that a format has no counterpart for: named with their place, before the format's library is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from converters import FORMATS, ConversionError, Format, Program, convert, suffix_of, verify
from converters._coreml._library import coremltools

Function = Callable[[Tensor], Tensor]

SAID = {"tflite": "TFLite", "coreml": "Core ML", "onnx": "ONNX"}


class Block(nn.Module):
    """A linear layer, and behind it whatever is asked for."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.project = nn.Linear(6, 6)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.project(x))


def program(function: Function) -> Program:
    model = nn.Sequential()
    model.add_module("stem", nn.Linear(6, 6))
    model.add_module("block", Block(function))
    return Program(model.eval(), {"x": torch.randn(1, 4, 6)}, ("y",))


@pytest.mark.parametrize(
    ("format", "name", "function"),
    [
        ("tflite", "aten.linalg_svd", lambda x: torch.linalg.svd(x)[1]),
        ("tflite", "aten.erfinv", torch.erfinv),
        ("tflite", "aten.cumprod", lambda x: torch.cumprod(x, -1)),
        ("coreml", "aten.linalg_svd", lambda x: torch.linalg.svd(x)[1]),
        ("coreml", "aten.cdist", lambda x: torch.cdist(x, x, p=3.0)),
        ("coreml", "aten.lgamma", torch.lgamma),
        ("onnx", "aten.linalg_svd", lambda x: torch.linalg.svd(x)[1]),
        ("onnx", "aten.kthvalue", lambda x: torch.kthvalue(x, 2).values),
        ("onnx", "aten.cumprod", lambda x: torch.cumprod(x, -1)),
    ],
)
def test_the_first_operator_without_counterpart_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, format: Format, name: str, function: Function
) -> None:
    path = tmp_path / f"model{suffix_of(format)}"
    _forbid_library(monkeypatch, format)
    with pytest.raises(ConversionError) as refused:
        convert(program(function), path)
    assert str(refused.value).startswith(f"Signature 'main' cannot become {SAID[format]}: {name} (in block) has no")
    assert not path.exists()


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_library_decomposes_is_not_refused(tmp_path: Path, format: Format) -> None:
    def function(x: Tensor) -> Tensor:
        unused = torch.linalg.svd(x)  # noqa: F841  (nothing reads it, so no file holds it)
        doubled = nn.functional.interpolate(x[:, None], scale_factor=2.0)[:, 0, ::2, 1::2]
        return doubled + nn.functional.group_norm(x, 2)

    wanted = program(function)
    path = convert(wanted, tmp_path / f"model{suffix_of(format)}")
    assert verify(path, wanted).sqnr_db >= 80


def _forbid_library(monkeypatch: pytest.MonkeyPatch, format: Format) -> None:
    """Makes the call of a format's library fail, for it would come too late."""

    def called(*_: object, **__: object) -> None:
        raise AssertionError("the library was called")

    if format == "tflite":
        monkeypatch.setattr("litert_torch._convert.interface.Converter.convert", called)
    elif format == "coreml":
        monkeypatch.setattr(coremltools(), "convert", called)
    else:
        monkeypatch.setattr("torch.onnx.export", called)
