"""A sample of the zoo: cells that must work, the smallest file of a keyword network, and the page."""

from __future__ import annotations

import pytest
import torch

import mobiledistill as md
from benchmarks.zoo import ZOO
from benchmarks.zoo._cell import _is_static, run_cell
from benchmarks.zoo._page import page
from converters import FORMATS, Format

LARGEST = {"tflite": 35_000, "coreml": 44_000, "onnx": 34_000}


@pytest.mark.parametrize("format", FORMATS)
def test_a_keyword_network_is_as_small_in_integers_as_was_promised(format: Format) -> None:
    found = run_cell("ds-cnn", format, "int8")
    assert found["outcome"] == "works", found
    assert found["static"]
    assert found["size_bytes"] <= LARGEST[format]


@pytest.mark.parametrize(
    ("network", "format", "precision"),
    [
        ("voice-activity", "onnx", "int8"),
        ("electra", "onnx", "int8"),
        ("squeezebert", "coreml", "int8"),
        ("keyword-resnet8", "tflite", "int8"),
        ("super-resolution", "coreml", "fp16"),
        ("gru", "onnx", "fp32"),
    ],
)
def test_cells_work(network: str, format: Format, precision: str) -> None:
    found = run_cell(network, format, precision)  # type: ignore[arg-type]  # one of Precision
    assert found["outcome"] == "works", found


@pytest.mark.parametrize("name", ["ds-cnn", "fcos", "voice-activity", "decoder-only-step", "keyword-transformer"])
@torch.no_grad()
def test_networks_answer_otherwise_to_other_inputs(name: str) -> None:
    network = ZOO[name]
    answers = network.program().module(*network.samples(8, seed=5).values())
    for answer in (answers,) if isinstance(answers, torch.Tensor) else answers:
        assert answer.std(0).mean() > 0.05 * answer.std()


def test_a_layer_that_was_left_float_is_not_static() -> None:
    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.up = torch.nn.Conv2d(2, 4, 3), torch.nn.ConvTranspose2d(4, 2, 3, 2)  # kernels overlap

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.up(self.first(x))

    pictures = torch.randn(4, 2, 8, 8)
    program = md.Program(Half().eval(), {"x": pictures[:1]}, ("y",))
    (quantized,) = md.quantize.post_training(program, {"x": pictures})
    assert not _is_static(quantized)


def test_the_zoo_is_large_and_its_names_tell_apart() -> None:
    assert len(ZOO) >= 40


def test_a_failure_is_told_on_the_page() -> None:
    works = {
        "network": "ds-cnn",
        "format": "onnx",
        "precision": "int8",
        "outcome": "works",
        "size_bytes": 1234,
        "sqnr_db": 50.4,
        "static": True,
        "latency_ms": 0.1234,
    }
    wrong = {"network": "ds-cnn", "format": "tflite", "precision": "fp16", "outcome": "wrong", "reason": "it departs."}
    text = page({"ds-cnn/onnx/int8": works, "ds-cnn/tflite/fp16": wrong})
    assert "**1 of 2 cells work** (50.0 %)" in text
    assert "Of 2 cells of networks that phones run on every frame 1 work." in text
    assert "| ds-cnn |  | **wrong** |" in text
    assert "| 1, 50, 0.12 |" in text
    assert "- ds-cnn, TFLite fp16: it departs." in text
