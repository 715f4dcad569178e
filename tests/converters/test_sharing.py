"""Weights that several signatures share are in a .tflite and an .mlpackage once, and in each of their .onnx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import FORMATS, Format, Precision, Program, convert, suffix_of, verify


class Model(nn.Module):
    """A body that both signatures run, and a head of its own for each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 120))
        self.first, self.second = nn.Linear(120, 30), nn.Linear(120, 20)


class Signature(nn.Module):
    def __init__(self, model: Model, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = model.body, head

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.body(x))
        return answer


def programs() -> tuple[Model, list[Program]]:
    torch.manual_seed(0)
    model = Model().eval()
    inputs = {"x": torch.randn(1, 40)}
    heads = {"main": model.first, "again": model.second}
    return model, [Program(Signature(model, head), inputs, ("y",), name) for name, head in heads.items()]


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("format", FORMATS)
def test_how_often_a_shared_weight_is_stored(format: Format, precision: Precision, tmp_path: Path) -> None:
    model, wanted = programs()

    path = convert(wanted, tmp_path / f"net{suffix_of(format)}", precision=precision)

    content = [part.read_bytes() for part in ([path] if path.is_file() else path.rglob("*")) if part.is_file()]
    times = {name: sum(file.count(stored(weight, precision)) for file in content) for name, weight in weights(model)}
    shared = 2 if format == "onnx" else 1
    assert times == {"body.0": shared, "body.2": shared, "first": 1, "second": 1}
    assert verify(path, wanted, precision=precision).sqnr_db >= (80 if precision == "float32" else 45)


def weights(model: Model) -> list[tuple[str, Tensor]]:
    return [(name, part.weight) for name, part in model.named_modules() if isinstance(part, nn.Linear)]


def stored(weight: Tensor, precision: Precision) -> bytes:
    """A row of the weight as it lies in the file."""
    row = weight.detach().numpy()[3]
    return bytes(row.astype(np.float16 if precision == "float16" else np.float32).tobytes())
