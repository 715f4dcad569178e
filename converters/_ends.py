"""Integer inputs and outputs of a file: what their integers mean, and which ends of a module can be integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._errors import InputError
from converters._integers import inspect_module
from converters._program import Program

__all__ = ["IntegerEnd", "check_integer_ends"]


@dataclass(frozen=True)
class IntegerEnd:
    """An input or output of a file that is an integer: ``real = scale * (integer - zero_point)``.

    Example:
        >>> IntegerEnd(0.5, 10, np.dtype(np.int8)).integers(np.array([0.0, 1.3, 1e9]))
        array([ 10,  13, 127], dtype=int8)

    Attributes:
        scale: the step of its grid.
        zero_point: the integer that stands for 0.
        dtype: of the file's own numbers: int8 in TFLite, uint8 in ONNX.
    """

    scale: float
    zero_point: int
    dtype: np.dtype[np.integer[Any]]

    def integers(self, values: NDArray[np.generic]) -> NDArray[np.integer[Any]]:
        """The nearest integers to real values."""
        limits = np.iinfo(self.dtype)
        steps = np.round(values.astype(np.float32) * np.float32(1 / self.scale)) + self.zero_point  # as torch rounds
        return steps.clip(limits.min, limits.max).astype(self.dtype)

    def values(self, integers: NDArray[np.generic]) -> NDArray[np.float32]:
        """The real values that integers stand for."""
        shifted = integers.astype(np.float32) - np.float32(self.zero_point)
        return shifted * np.float32(self.scale)


def check_integer_ends(program: Program, *, inputs: bool, outputs: bool) -> None:
    """Refuses integer ends where the module reads or answers floats that lie on no grid.

    Raises:
        InputError: names the ends.
    """
    seen = inspect_module(program)
    wanted = {**(seen.input_grids if inputs else {}), **(seen.output_grids if outputs else {})}
    floats = [name for name, grid in wanted.items() if grid is None]
    if floats:
        raise InputError(
            f"{floats} of signature {program.name!r} cannot be integers, since the module does not quantize them"
            " right there: quantize them, or leave integer_inputs and integer_outputs out."
        )
