"""Asks a module and its file the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters import Program
from converters._tflite import TFLiteModel


def noise(program: Program, samples: int) -> list[dict[str, torch.Tensor]]:
    """Random inputs of the program's shapes, the same ones every time."""
    generator = torch.Generator().manual_seed(1)
    return [
        {name: torch.randn(value.shape, generator=generator) for name, value in program.inputs.items()}
        for _ in range(samples)
    ]


def module_and_file(
    program: Program, path: Path, *, samples: int = 40, delegate: bool = True
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Answers of the module and of its file to the same noise, one row each."""
    model, questions = TFLiteModel(path, delegate=delegate), noise(program, samples)
    name = program.outputs[0]
    with torch.no_grad():
        batch = {key: torch.cat([question[key] for question in questions]) for key in program.inputs}
        expected = program(**batch)[name].numpy()
    answers = [
        model.run({key: value.numpy() for key, value in question.items()}, program.name)[name] for question in questions
    ]
    return expected, np.concatenate(answers)


def share_within_a_step(expected: NDArray[Any], answers: NDArray[Any], step: float) -> float:
    """Share of the values that lie at most one output step apart."""
    return float(np.mean(np.abs(expected - answers) <= 1.001 * step))


def sqnr_db(expected: NDArray[Any], answers: NDArray[Any]) -> float:
    """Signal to quantization noise in dB, the mean taken off."""
    signal, error = expected.astype(np.float64), answers.astype(np.float64) - expected
    return float(10 * np.log10(np.mean((signal - signal.mean()) ** 2) / np.mean(error**2)))
