"""Reads the integers of an .mlpackage back, in the layout of the torch module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._coreml._package import open_package
from converters._coreml._slim import load_program
from converters._integers import Grid, IntegerLayer
from converters._reach import reaches

__all__ = ["read_grids", "read_integers"]

_MOVERS = (
    *("expand_dims", "identity", "max_pool", "pad", "pixel_shuffle", "reshape", "resize_nearest_neighbor"),
    *("slice_by_index", "slice_by_size", "split", "squeeze", "tile", "transpose", "upsample_nearest_neighbor"),
)
"""Operators whose results are some of what they read (or zeros), so they lie on the same grid."""

_ACTIVATIONS = ("relu", "relu6", "clip")


def read_integers(path: Path) -> dict[str, list[IntegerLayer]]:
    """The integer layers of a package by function, in execution order.

    Packages carry no module names, so ``name`` is empty. Biases are in real units, uint8 grids shifted by -128.

    Raises:
        ModelFileError: the folder is no package, damaged, or holds something else than an ML program.
        MissingExtraError: coremltools is not installed.
    """
    program = load_program(open_package(path))
    return {name: _layers(function) for name, function in sorted(program.functions.items())}


def read_grids(path: Path) -> dict[str, list[Grid]]:
    """The grids of 8 bits that a package puts activations on, by function.

    Raises:
        ModelFileError: the folder is no package, damaged, or holds something else than an ML program.
        MissingExtraError: coremltools is not installed.
    """
    program = load_program(open_package(path))
    found = {}
    for name, function in sorted(program.functions.items()):
        ends = [
            (one, one.outputs[0] if one.op_type == "quantize" else one.inputs["input"])
            for one in function.operations
            if one.op_type in ("quantize", "dequantize")
        ]
        grids = [_grid(one, integers) for one, integers in ends if integers.val is None]
        found[name] = [grid for grid in grids if grid is not None]
    return found


def _layers(function: Any) -> list[IntegerLayer]:
    layers = []
    for operation in function.operations:
        if operation.op_type == "gather":
            layers += _tables(operation)
            continue
        weight = _weight(operation)
        if weight is None or not _varies(operation.inputs["x"]):
            continue
        integers, scale = weight
        bias, end = _bias(operation, len(integers))
        layers.append(
            IntegerLayer(
                name="",
                weight=integers,
                weight_scale=scale,
                bias=bias,
                input=_input_grid(operation.inputs["x"]),
                output=_output_grid(end),
            )
        )
    return layers


def _tables(gather: Any) -> list[IntegerLayer]:
    """The stored table that a gather reads rows of, if those are not fixed ones."""
    found = _constant_weight(gather.inputs["x"], out_axis=0)
    if found is None or found[0].ndim != 2 or gather.inputs["indices"].val is not None:
        return []
    return [IntegerLayer("", *found, bias=None, input=None, output=_output_grid(gather.outputs[0]))]


def _bias(operation: Any, channels: int) -> tuple[NDArray[np.float64] | None, Any]:
    """The bias, and the value that it has been added to: coremltools adds that of a matmul apart."""
    end = operation.outputs[0]
    given = operation.inputs.get("bias")
    if operation.op_type == "matmul" and len(end.child_ops) == 1 and end.child_ops[0].op_type == "add":
        (add,) = end.child_ops
        others = [value for value in (add.inputs["x"], add.inputs["y"]) if value is not end]
        if len(others) == 1 and others[0].val is not None and np.size(others[0].val) in (1, channels):
            given, end = others[0], add.outputs[0]
    if given is None:
        return None, end
    return np.broadcast_to(np.asarray(given.val, np.float64).reshape(-1), (channels,)).copy(), end


def _weight(operation: Any) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Integers and scales of a layer, output channels first; None for any other operator."""
    if operation.op_type in ("conv", "linear"):
        found = _constant_weight(operation.inputs["weight"], out_axis=0)
        if found is None or found[0].ndim != 3:
            return found
        return found[0][:, :, None], found[1]  # over one axis; modules write it over images of one row
    if operation.op_type == "matmul":
        transposed = bool(operation.inputs["transpose_y"].val)
        found = _constant_weight(operation.inputs["y"], out_axis=0 if transposed else 1)
        return found if found is None or transposed else (np.ascontiguousarray(found[0].T), found[1])
    return None


def _constant_weight(value: Any, out_axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    operation = value.op
    if operation is None:
        return None
    if operation.op_type == "constexpr_affine_dequantize":
        data, scale = operation.quantized_data.val, np.asarray(operation.scale.val)
        zero_point = np.asarray(operation.zero_point.val)
        shape = [1] * data.ndim
        shape[int(operation.axis.val)] = -1
        zero_point = zero_point.reshape(shape if zero_point.size > 1 else [1] * data.ndim)
    elif operation.op_type == "constexpr_blockwise_shift_scale":
        data, scale = operation.data.val, np.asarray(operation.scale.val)
        zero_point = np.zeros(1) if operation.offset is None else np.asarray(operation.offset.val)
        if any(size > 1 for axis, size in enumerate(scale.shape) if axis != out_axis):
            return None  # several scales in one channel, which no module of ours has
    else:
        return None
    integers = np.asarray(data, np.int64) - zero_point.astype(np.int64)
    if integers.min() < -128 or integers.max() > 127:
        return None
    scales = np.broadcast_to(scale.astype(np.float32).reshape(-1), (data.shape[out_axis],)).copy()
    return integers.astype(np.int8), scales


def _varies(value: Any) -> bool:
    """Whether a value depends on what the function reads."""
    return reaches(value, _sources, lambda one: one.op is None)


def _sources(value: Any) -> list[Any]:
    if value.op is None or value.val is not None:
        return []
    parts = [part if isinstance(part, list | tuple) else (part,) for part in value.op.inputs.values()]
    return [one for part in parts for one in part if one is not None]


def _input_grid(value: Any) -> Grid | None:
    """The grid of the dequantizers that a value comes from, over what only moves values."""
    operation = value.op
    if operation is None:
        return None
    if operation.op_type == "dequantize":
        return _grid(operation, operation.inputs["input"])
    if operation.op_type in _MOVERS:
        return _input_grid(operation.inputs["x"])
    if operation.op_type in ("concat", "stack"):
        grids = {_input_grid(part) for part in operation.inputs["values"]}
        return grids.pop() if len(grids) == 1 else None
    return None


def _output_grid(value: Any) -> Grid | None:
    """The grid of the first quantizer that reads a value, over an activation and what only moves values in between."""
    for reader in value.child_ops:
        if reader.op_type == "quantize":
            return _grid(reader, reader.outputs[0])
        if reader.op_type in (*_ACTIVATIONS, *_MOVERS) and (grid := _output_grid(reader.outputs[0])):
            return grid
    return None


def _grid(operation: Any, integers: Any) -> Grid | None:
    from coremltools.converters.mil.mil import types

    scale = np.asarray(operation.inputs["scale"].val)
    if scale.size != 1:
        return None
    zero_point = operation.inputs.get("zero_point")
    shift = 128 if integers.dtype == types.uint8 else 0
    return Grid(float(scale.item()), (0 if zero_point is None else int(np.asarray(zero_point.val).item())) - shift)
