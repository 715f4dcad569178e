from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from converters import ONNX, ConversionError, InputError, Program, convert, load, verify
from converters._onnx import ONNXModel
from tests.converters._networks import example_input, float_net, quantized_net

SOUNDS = np.random.default_rng(0).normal(size=(40, 1, 40, 101)).astype(np.float32)


def program_of(module: nn.Module, name: str = "main") -> Program:
    return Program(module, {"features": example_input()}, ("logits",), name)


@pytest.mark.parametrize("opset", [18, 21, 25])
def test_the_opset_is_the_one_that_was_asked_for(opset: int, tmp_path: Path) -> None:
    path = convert(program_of(quantized_net()), tmp_path / "net.onnx", details=ONNX(opset=opset))

    assert [entry.version for entry in onnx.load(path).opset_import] == [opset]
    assert verify(path, program_of(quantized_net()), {"features": SOUNDS}).integers_equal


@pytest.mark.parametrize("opset", [17, 26])
def test_an_opset_that_cannot_be_written_is_refused(opset: int) -> None:
    with pytest.raises(InputError, match=rf"opset={opset}\) cannot be written; choose one from 18 to 25"):
        ONNX(opset=opset)


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_a_free_batch_answers_one_and_seven(quantized: bool, tmp_path: Path) -> None:
    program = program_of(quantized_net() if quantized else float_net())

    path = convert(program, tmp_path / "net.onnx", details=ONNX(dynamic=("batch",)))

    model = ONNXModel(path)
    assert dict(model.signatures["main"].inputs) == {"features": (None, 1, 40, 101)}
    assert axes(path) == {"features": ["batch", "1", "40", "101"], "logits": ["batch", "10"]}
    one_by_one = load(path).run({"features": SOUNDS[:7]})["logits"]
    np.testing.assert_allclose(model.run({"features": SOUNDS[:7]})["logits"], one_by_one, atol=1e-6)
    assert len(model.run({"features": SOUNDS[:1]})["logits"]) == 1
    assert verify(path, program, {"features": SOUNDS}).sqnr_db >= (28 if quantized else 80)


class Pair(nn.Module):
    """A picture of any height and width, and words of any number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.relu(self.conv(image))
        return places, words @ places.mean((2, 3))[:, :, None]


def test_axes_are_freed_and_named_one_by_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = Program(Pair().eval(), {"image": torch.randn(1, 3, 8, 9), "words": torch.randn(1, 5, 4)}, ("places", "y"))
    free = {"image": {0: "batch", 2: "height", 3: "width"}, "words": {0: "batch", 1: "count"}}

    path = convert(program, tmp_path / "net.onnx", details=ONNX(dynamic=free))

    assert axes(path) == {
        "image": ["batch", "3", "height", "width"],
        "words": ["batch", "count", "4"],
        "places": ["batch", "4", "height", "width"],
        "y": ["batch", "count", "1"],
    }
    for batch, height, width, count in ((1, 8, 9, 5), (7, 13, 6, 1), (2, 8, 9, 11)):
        read = {"image": torch.randn(batch, 3, height, width), "words": torch.randn(batch, count, 4)}
        answers = ONNXModel(path).run({name: value.numpy() for name, value in read.items()})
        with torch.no_grad():
            for name, expected in program(**read).items():
                np.testing.assert_allclose(answers[name], expected.numpy(), atol=1e-5)


def axes(path: Path) -> dict[str, list[str]]:
    graph = onnx.load(path).graph
    return {
        value.name: [size.dim_param or str(size.dim_value) for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bias", torch.zeros(1, 1, 40, 101))

    def forward(self, features: Tensor) -> Tensor:
        return self.bias + features


def test_an_axis_that_the_module_fixes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"Axis 3 of 'features' cannot be free: .* fixes it to 101") as raised:
        convert(program_of(Fixed()), tmp_path / "net.onnx", details=ONNX(dynamic={"features": {3: "length"}}))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({"sound": {0: "batch"}}, r"names 'sound'; the inputs are \['features'\]"),
        ({"features": {4: "frames"}}, r"names axes \[4\] of 'features', which has axes 0 to 3"),
    ],
)
def test_axes_that_are_not_there_are_refused(dynamic: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        convert(program_of(float_net()), tmp_path / "net.onnx", details=ONNX(dynamic=dynamic))
    with pytest.raises(InputError, match="is not understood"):
        ONNX(dynamic=("height",))  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_the_runtimes_own_format_lies_beside_and_answers_alike(quantized: bool, tmp_path: Path) -> None:
    program = program_of(quantized_net() if quantized else float_net())

    path = convert(program, tmp_path / "net.onnx", details=ONNX(ort=True, integer_inputs=quantized))

    ort = path.with_suffix(".ort")
    assert ort.read_bytes()[4:8] == b"ORTM"
    assert sorted(part.name for part in tmp_path.iterdir()) == ["net.onnx", "net.ort"]
    model, same = load(path), load(ort)
    ends = same.integer_ends()
    assert ends == model.integer_ends()
    read = {"features": ends["features"].integers(SOUNDS) if quantized else SOUNDS}
    expected, answers = model.run(read)["logits"], same.run(read)["logits"]
    step = np.ptp(expected) / 255
    assert np.mean(np.abs(answers - expected) <= (1.001 * step if quantized else 1e-5)) >= 0.99


def test_each_signature_has_its_own(tmp_path: Path) -> None:
    programs = [program_of(float_net(), "encode"), program_of(float_net(16), "step")]

    path = convert(programs, tmp_path / "net.onnx", details=ONNX(ort=True))
    convert(programs, path, details=ONNX(ort=True))  # what was written is replaced

    assert sorted(part.name for part in path.iterdir()) == ["encode.onnx", "encode.ort", "step.onnx", "step.ort"]
    answers = load(path / "step.ort").run({"features": SOUNDS[:1]}, "step")
    np.testing.assert_allclose(answers["logits"], load(path).run({"features": SOUNDS[:1]}, "step")["logits"], atol=1e-5)
    assert verify(path, programs).sqnr_db >= 80


def test_the_runtimes_own_format_is_neither_written_alone_nor_verified(tmp_path: Path) -> None:
    program = program_of(float_net())

    with pytest.raises(InputError, match=r"written beside an \.onnx"):
        convert(program, tmp_path / "net.ort")
    path = convert(program, tmp_path / "net.onnx", details=ONNX(ort=True))
    with pytest.raises(InputError, match=r"made for running: read the \.onnx"):
        verify(path.with_suffix(".ort"), program)
