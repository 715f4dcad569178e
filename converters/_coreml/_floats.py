"""Which operators of a package of integers compute in floats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters._coreml._integers import _ACTIVATIONS, _MOVERS, _input_grid, _output_grid
from converters._coreml._package import open_package
from converters._coreml._slim import load_program

__all__ = ["on_floats"]

_QUANTIZERS = ("dequantize", "quantize")


def on_floats(path: Path) -> tuple[list[str], int] | None:
    """The operators that do not lie between a dequantize and a quantize, and how many there are in all.

    Quantizers and constants do not count. None for a package that puts nothing on a grid.

    Raises:
        ModelFileError: the folder is no package, damaged, or holds something else than an ML program.
    """
    program = load_program(open_package(path))
    functions = [list(function.operations) for _, function in sorted(program.functions.items())]
    if not any(one.op_type == "quantize" for operations in functions for one in operations):
        return None
    counted = [
        one
        for operations in functions
        for one in operations
        if one.op_type not in (*_QUANTIZERS, "const") and not one.op_type.startswith("constexpr_")
    ]
    return [one.op_type for one in counted if any(_floats(one)) and not _in_integers(one)], len(counted)


def _in_integers(operation: Any) -> bool:
    """Whether all it reads comes off a grid and what it makes goes onto one; activations and moves go with the rest."""
    if operation.op_type in (*_ACTIVATIONS, *_MOVERS):
        return all(
            _input_grid(value) or (value.op is not None and _in_integers(value.op)) for value in _floats(operation)
        )
    return all(_input_grid(value) for value in _floats(operation)) and _output_grid(operation.outputs[0]) is not None


def _floats(operation: Any) -> Iterator[Any]:
    """The float values that an operator reads and that are not constant."""
    from coremltools.converters.mil.mil import types

    for given in operation.inputs.values():
        for value in given if isinstance(given, list | tuple) else [given]:
            stored = value is None or value.val is not None
            if stored or (value.op is not None and value.op.op_type.startswith("constexpr_")):
                continue
            if types.is_float(value.dtype):
                yield value
