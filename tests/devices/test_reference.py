from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


def convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A 3x3 convolution with zeros around, NHWC, in float64."""
    padded = np.pad(image.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = image.shape[1:3]
    return sum(
        padded[:, row : row + height, column : column + width] @ kernel[:, row, column].T.astype(np.float64)
        for row in range(3)
        for column in range(3)
    )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 64, 64, 4)).astype(np.float32)


def test_the_tflite_reference_computes_its_convolution(maker: ModuleType, tflite: Path, image: np.ndarray) -> None:
    from ai_edge_litert.interpreter import Interpreter

    answer = Interpreter(str(tflite), num_threads=1).get_signature_runner("main")(x=image)["y"]
    np.testing.assert_allclose(answer, convolved(image, maker.weights()), atol=1e-4)


def test_the_onnx_reference_computes_its_convolution(maker: ModuleType, onnx: Path, image: np.ndarray) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(answer.transpose(0, 2, 3, 1), convolved(image, maker.weights()), atol=1e-4)


def test_the_script_makes_the_committed_bytes(maker: ModuleType, tflite: Path, onnx: Path) -> None:
    assert maker.tflite_bytes() == tflite.read_bytes()
    assert maker.onnx_bytes() == onnx.read_bytes()
    assert max(len(tflite.read_bytes()), len(onnx.read_bytes())) <= 2000
