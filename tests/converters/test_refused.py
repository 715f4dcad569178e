"""Modules that no file should be written from: refused by name, in every format, with nothing left behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import (
    FORMATS,
    ONNX,
    ConversionError,
    Format,
    InputError,
    MobileDistillError,
    Program,
    convert,
    load_program,
    save_program,
    suffix_of,
    verify,
)

BROKEN = {"NaN": float("nan"), "infinite": float("inf")}


class Behind(nn.Module):
    """A layer, and something behind it."""

    def __init__(self, then: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.then = nn.Linear(4, 4), then

    def forward(self, x: Tensor) -> Any:
        return self.then(self.layer(x))


def refusal(module: nn.Module, format: Format, folder: Path, error: type[MobileDistillError]) -> str:
    """What convert says, with nothing left behind."""
    program = Program(module.eval(), {"x": torch.randn(1, 4)}, ("y",))
    with pytest.raises(error) as caught:
        convert(program, folder / f"net{suffix_of(format)}")
    assert list(folder.iterdir()) == []
    return str(caught.value)


def is_one_line(said: str, words: str) -> bool:
    return "\n" not in said and re.search(words, said) is not None


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_weight_that_is_no_number_is_named(kind: str, format: Format, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    module[1].weight.data[1, 2] = BROKEN[kind]
    said = refusal(module, format, tmp_path, InputError)
    assert is_one_line(said, r"^The weight '1\.weight' holds NaN or infinity; give a model"), said


def test_it_is_named_alike_once_it_was_saved(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    module[1].running_var[0] = float("nan")
    saved = save_program(Program(module, {"x": torch.randn(1, 4)}, ("y",)), tmp_path / "net.pt2")
    with pytest.raises(InputError, match=r"^The buffer '1\.running_var' holds NaN"):
        convert(load_program(saved), tmp_path / "net.onnx")


def test_a_mask_may_be_infinite(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, 0.0, float("-inf"), 0.0]))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mask

    program = Program(Masked(), {"x": torch.randn(1, 4)}, ("y",))
    assert verify(convert(program, tmp_path / "net.onnx"), program).sqnr_db > 80


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (lambda x: x + 1 if x.sum() > 0 else x - 1, r"torch\.export at test_refused\.py, line \d+, in .*control flow"),
        (lambda x: x[x > 0], r"Output 'y' of signature 'main' has the shape \(u0\), which depends on the data"),
        (lambda x: x[:, :0], r"Output 'y' of signature 'main' has the shape \(1, 0\), which is empty"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_what_no_file_can_do_is_named(
    then: Callable[[Tensor], Tensor], words: str, format: Format, tmp_path: Path
) -> None:
    said = refusal(Behind(then), format, tmp_path, ConversionError)
    assert is_one_line(said, words), said


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ("onnx", r"cannot become ONNX: aten\.erfinv has no counterpart there; replace that operator"),
        ("tflite", r"cannot become TFLite: aten\.erfinv has no counterpart there; replace that operator"),
        ("coreml", r"cannot become Core ML: aten\.erfinv has no counterpart there; replace that operator"),
    ],
)
def test_the_first_operator_that_a_format_lacks_is_named(format: Format, words: str, tmp_path: Path) -> None:
    said = refusal(Behind(lambda x: torch.linalg.svd(x.erfinv())[1]), format, tmp_path, ConversionError)
    assert is_one_line(said, words), said


@pytest.mark.parametrize(
    ("module", "names", "words"),
    [
        (Behind(lambda x: (x + 1, x + 2)), ("y",), r"^The module returns 2 outputs, but 1 names were given: \['y'\]"),
        (Behind(lambda x: x), ("y", "z"), r"^The module returns 1 outputs, but 2 names were given: \['y', 'z'\]"),
        (
            Behind(lambda x: {"boxes": x, "scores": 2 * x}),
            ("scores", "boxes"),
            r"^The module returns \['boxes', 'scores'\] in this order, but .* given as \['scores', 'boxes'\]",
        ),
    ],
)
def test_names_that_are_not_the_outputs_are_refused(
    module: nn.Module, names: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    program = Program(module, {"x": torch.randn(1, 4)}, names)
    for details in (None, ONNX(dynamic=("batch",))):
        with pytest.raises(ConversionError, match=words):
            convert(program, tmp_path / "net.onnx", details=details)


def test_a_number_without_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Input 'x' .* is a single number without axes; .* give it the shape \(1,\)"):
        convert(Program(nn.ReLU(), {"x": torch.tensor(1.0)}, ("y",)), tmp_path / "net.onnx")


@pytest.mark.parametrize("shape", [(0, 4), (1, 0)])
def test_an_empty_example_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    program = Program(nn.ReLU(), {"x": torch.randn(*shape)}, ("y",))
    with pytest.raises(InputError, match=r"^Input 'x' of signature 'main' has the shape .*, which is empty; give one"):
        convert(program, tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": np.ones((0, 4), np.float32)}, r"empty batch, or inputs of different lengths \('x' \(0, 4\)\)"),
        ({"x": np.float32(1)}, r"Input 'x' has the shape \(\); signature 'main' reads \(1, 4\)"),
        ({"z": np.ones((1, 4), np.float32)}, r"Inputs \['z'\] were given for signature 'main', which reads \['x'\]"),
    ],
)
def test_inputs_that_hold_no_sample_are_refused(inputs: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    program = Program(nn.Linear(4, 2).eval(), {"x": torch.randn(1, 4)}, ("y",))
    path = convert(program, tmp_path / "net.onnx")
    with pytest.raises(InputError, match=words):
        verify(path, program, inputs)
