"""Apps call files by name and, through older interfaces, by position: both are the program's own in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import FORMATS, Format, InputError, Program, convert, suffix_of, verify


class Detector(nn.Module):
    """An image and a number; boxes, scores and a count, in no order that an alphabet knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, image: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.conv(image).flatten(2).transpose(1, 2)
        scores = torch.sigmoid(x[..., 4:]) - threshold[:, :, None]
        return x[..., :4], scores, scores.mean((1, 2))[:, None]


class Stream(nn.Module):
    """One step of a recurrent network: a frame and two states in, an answer and two states out."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(5, 4), nn.Linear(4, 3)

    def forward(self, frame: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, cell = self.cell(frame, (hidden, cell))
        return self.head(hidden), hidden, cell


class Words(nn.Module):
    """Whole numbers and floats in; an input that nothing reads, and an output that is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, words: Tensor, unread: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return self.table(words) * weights[..., None], weights * 2


def programs() -> dict[str, Program]:
    torch.manual_seed(0)
    image, number = torch.rand(1, 3, 9, 11), torch.tensor([[0.5]])
    frame, state = torch.randn(1, 5), torch.randn(1, 4)
    words, weights = torch.tensor([[3, 0, 8]]), torch.randn(1, 3)
    return {
        "detector": Program(
            Detector().eval(), {"image": image, "Threshold": number}, ("scores_and_boxes", "Scores", "count")
        ),
        "stream": Program(Stream().eval(), {"x": frame, "h": state, "c": state}, ("y", "h_next", "c_next")),
        "words": Program(Words().eval(), {"words": words, "unread": weights, "add": weights}, ("mul", "_b")),
        "names that are other things": Program(
            Stream().eval(), {"module": frame, "forward": state, "args": state}, ("kwargs", "main", "Inputs")
        ),
    }


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", sorted(programs()))
def test_names_and_their_order_are_the_programs(kind: str, format: Format, tmp_path: Path) -> None:
    program = programs()[kind]

    path = convert(program, tmp_path / f"net{suffix_of(format)}")

    assert ends(path, format) == (list(program.inputs), list(program.outputs))
    scales = np.linspace(0.5, 1.5, 6).tolist()  # an input or output in another's place would mean something else
    samples = {
        name: np.concatenate([scaled(value, scale) for scale in scales]) for name, value in program.inputs.items()
    }
    assert verify(path, program, samples).sqnr_db >= 80


def scaled(value: Tensor, scale: float) -> np.ndarray:
    return (value * scale if value.is_floating_point() else value).numpy()


def ends(path: Path, format: Format) -> tuple[list[str], list[str]]:
    """Inputs and outputs in the order in which the format's own library counts them."""
    if format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        runner = interpreter.get_signature_runner("main")
        read = [detail["name"] for detail in interpreter.get_input_details()]
        answered = [detail["name"] for detail in interpreter.get_output_details()]
        assert set(runner.get_input_details()) == set(read)
        assert set(runner.get_output_details()) == set(answered)
        return read, answered
    if format == "onnx":
        from onnxruntime import InferenceSession

        session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()]
    from converters._coreml._package import open_package

    description = open_package(path).spec.description
    return [end.name for end in description.input], [end.name for end in description.output]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("class", "b", "y", "z", "main"), r"names \['class'\] are words of Python"),
        (("self", "b", "y", "z", "main"), r"names \['self'\]"),
        (("a", "b", "tensor", "int32", "main"), r"names \['int32', 'tensor'\] are words of Python or of Core ML"),
        (("a.b", "1st", "out/put", "my sound", "main"), r"can spell the names \['1st', 'a\.b', 'my sound', 'out/"),
        (("à", "b", "y", "z", "my-model"), r"spell the names \['my-model', 'à'\]"),
        (("a", "b", "y", "y", "main"), r"'main' has \['y'\] twice"),
        (("a", "b", "a", "y", "main"), r"'main' has \['a'\] twice"),
    ],
)
def test_names_that_one_format_cannot_keep_are_refused_by_all(
    names: tuple[str, ...], message: str, format: Format, tmp_path: Path
) -> None:
    first, second, *outputs, signature = names
    module = programs()["stream"].module
    inputs = {first: torch.zeros(1, 5), second: torch.zeros(1, 4)}

    with pytest.raises(InputError, match=message) as raised:
        convert(Program(module, inputs, tuple(outputs), signature), tmp_path / f"net{suffix_of(format)}")

    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_positions_are_those_of_the_program(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    program = programs()["stream"]
    path = convert(program, tmp_path / "net.tflite")

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), program.inputs.values(), strict=True):
        interpreter.set_tensor(detail["index"], value.numpy())
    interpreter.invoke()

    answers = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    with torch.no_grad():
        expected = program(**program.inputs)
    for answer, name in zip(answers, program.outputs, strict=True):
        np.testing.assert_allclose(answer, expected[name].numpy(), rtol=1e-4, atol=1e-5)
