"""Packages of a few MIL operators, written by coremltools alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters import Program
from converters._coreml._library import coremltools
from converters._quiet import quiet


def save_mil(
    path: Path, shape: tuple[int, ...], body: Callable[[Any, Any], Any], *, target: str = "iOS17", half: bool = False
) -> Path:
    """Writes what ``body(builder, x)`` returns as output ``y``, for an input ``x`` of a shape."""
    ct = coremltools()
    from coremltools.converters.mil import Builder as mb

    opset = getattr(ct.target, target)
    with quiet():

        @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=opset)
        def program(x: Any) -> Any:
            return mb.identity(x=body(mb, x), name="y")

        ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=opset,
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            skip_model_load=True,
            package_dir=str(path),
        )
    return path


def noise(program: Program, samples: int) -> dict[str, np.ndarray]:
    """Random inputs of a program's shapes, stacked along axis 0."""
    random = np.random.default_rng(1)
    return {
        name: random.normal(size=(samples, *value.shape[1:])).astype(np.float32)
        for name, value in program.inputs.items()
    }
