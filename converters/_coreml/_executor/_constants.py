"""Constants that are stored smaller than they are: affine, palettized, blockwise, sparse and half-width ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator, named_dtype

__all__ = ["CONSTANTS"]


def _affine_dequantize(arguments: Arguments) -> Tensor:
    data = arguments.tensor("quantized_data")
    shape = [1] * data.dim()
    axis = arguments.integer("axis")
    shape[axis] = data.shape[axis]

    def along_axis(values: Tensor) -> Tensor:
        return values.reshape(shape) if values.dim() == 1 and len(values) > 1 else values.reshape([1] * data.dim())

    scale = along_axis(arguments.tensor("scale"))
    return (data.to(scale.dtype) - along_axis(arguments.tensor("zero_point")).to(scale.dtype)) * scale


def _blockwise_shift_scale(arguments: Arguments) -> Tensor:
    """Each block of ``data`` has one scale and one offset; a scale as large as the data is a block of one."""
    data, scale = arguments.tensor("data"), arguments.tensor("scale")
    offset = arguments.optional("offset")
    shifted = data.to(scale.dtype)
    if offset is not None:
        shifted = shifted - _spread(offset, data).to(scale.dtype)
    return shifted * _spread(scale, data)


def _lut_to_dense(arguments: Arguments) -> Tensor:
    """Replaces indices by what stands in a table; ``shape`` marks the packed spelling of iOS 16."""
    indices, table = arguments.tensor("indices"), arguments.tensor("lut")
    if "shape" in arguments:
        shape = arguments.integers("shape")
        bits = max(1, math.ceil(math.log2(len(table))))
        return table[_unpack(indices, bits, math.prod(shape)).long()].reshape(shape)
    return _grouped_lut(indices, table, arguments.integer("vector_axis", 0))


def _grouped_lut(indices: Tensor, tables: Tensor, vector_axis: int) -> Tensor:
    """Tables of ``(groups of each axis..., entries, length of a vector)``, each for its own part of the indices."""
    entries, length = tables.shape[-2:]
    groups = tables.shape[:-2]
    which = torch.zeros(indices.shape, dtype=torch.int64)
    for axis, count in enumerate(groups):
        place = torch.arange(indices.shape[axis]) // (indices.shape[axis] // count)
        which = which * count + place.reshape([-1 if i == axis else 1 for i in range(indices.dim())])
    found = tables.reshape(-1, length)[which * entries + indices.long()]
    if length == 1:
        return found.squeeze(-1)
    axis = vector_axis % indices.dim()
    return found.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _sparse_to_dense(arguments: Arguments) -> Tensor:
    """Puts values where the mask is 1, zeros elsewhere; ``shape`` marks the packed spelling of iOS 16."""
    values, mask = arguments.tensor("nonzero_data"), arguments.tensor("mask")
    if "shape" in arguments:
        shape = arguments.integers("shape")
        mask = _unpack(mask, 1, math.prod(shape)).reshape(shape)
    dense = torch.zeros(mask.shape, dtype=values.dtype)
    dense[mask.bool()] = values
    return dense


def _cast(arguments: Arguments) -> Tensor:
    return arguments.tensor("source_val").to(named_dtype(arguments.word("output_dtype")))


def _spread(values: Tensor, data: Tensor) -> Tensor:
    """Repeats per-block values until they have the shape of the data."""
    for axis in range(data.dim()):
        values = values.repeat_interleave(data.shape[axis] // values.shape[axis], dim=axis)
    return values


def _unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Numbers of ``bits`` bits, lowest bit first, that lie back to back in bytes."""
    stream = (packed.to(torch.int64)[:, None] >> torch.arange(8)) & 1
    grouped = stream.flatten()[: count * bits].reshape(count, bits)
    return (grouped << torch.arange(bits)).sum(1)


CONSTANTS: dict[str, Operator] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
