"""Operators that move values and compute none."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator
from converters._errors import ModelFileError

__all__ = ["SHAPE"]


def _concat(arguments: Arguments) -> Tensor:
    values, axis = arguments.tensors("values"), arguments.integer("axis")
    if arguments.flag("interleave"):
        axis %= values[0].dim()
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


def _crop(arguments: Arguments) -> Tensor:
    """How much to take off both ends of the last two axes."""
    x = arguments.tensor("x")
    (top, bottom), (left, right) = arguments.integers("crop_height"), arguments.integers("crop_width")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _expand_dims(arguments: Arguments) -> Tensor:
    x, axes = arguments.tensor("x"), arguments.integers("axes")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _flatten2d(arguments: Arguments) -> Tensor:
    x, axis = arguments.tensor("x"), arguments.integer("axis", 1)
    return x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


def _gather(arguments: Arguments) -> Tensor:
    """Along one axis; negative indices count from the end."""
    x, indices = arguments.tensor("x"), arguments.tensor("indices").long()
    if arguments.integer("batch_dims", 0):
        raise ModelFileError("Operator gather has batch axes, which the Core ML executor does not run.")
    axis = arguments.integer("axis", 0) % x.dim()
    taken = x.index_select(axis, indices.flatten() % x.shape[axis])
    return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _pad(arguments: Arguments) -> Tensor:
    """``pad`` holds a pair for each of the last axes, in their order."""
    x, pad, mode = arguments.tensor("x"), arguments.integers("pad"), arguments.word("mode", "constant")
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        flat = [rows for pair in reversed(pairs) for rows in pair]
        return F.pad(x, flat, value=arguments.number("constant_val", 0.0))
    for axis, (before, after) in enumerate(pairs, start=x.dim() - len(pairs)):
        size = x.shape[axis]
        places = torch.arange(-before, size + after)
        mirrored = (size - 1) - ((size - 1) - places.abs()).abs()
        x = x.index_select(axis, mirrored if mode == "reflect" else places.clamp(0, size - 1))
    return x


def _pixel_shuffle(arguments: Arguments) -> Tensor:
    return F.pixel_shuffle(arguments.tensor("x"), arguments.integer("upscale_factor"))


def _pixel_unshuffle(arguments: Arguments) -> Tensor:
    return F.pixel_unshuffle(arguments.tensor("x"), arguments.integer("downscale_factor"))


def _depth_to_space(arguments: Arguments) -> Tensor:
    """The block's place comes before the channel; ``pixel_shuffle`` has it the other way round."""
    x, size = arguments.tensor("x"), arguments.integer("block_size")
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, size, size, channels // size**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // size**2, height * size, width * size)


def _space_to_depth(arguments: Arguments) -> Tensor:
    x, size = arguments.tensor("x"), arguments.integer("block_size")
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // size, size, width // size, size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * size**2, height // size, width // size)


def _reshape(arguments: Arguments) -> Tensor:
    """A 0 takes over the axis of the input, a -1 is what remains."""
    x, shape = arguments.tensor("x"), arguments.integers("shape")
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _reverse(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    return x.flip(arguments.integers("axes", range(x.dim())))


def _slice_by_index(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    rank = x.dim()
    begins, ends = arguments.integers("begin"), arguments.integers("end")
    strides = arguments.integers("stride", [1] * rank)
    no_begin, no_end = arguments.flags("begin_mask", rank), arguments.flags("end_mask", rank)
    single = arguments.flags("squeeze_mask", rank)
    for axis in range(rank):
        begin, end = begins[axis], ends[axis]
        if single[axis]:
            places = [begin % x.shape[axis]]
        else:
            part = slice(None if no_begin[axis] else begin, None if no_end[axis] else end, strides[axis])
            places = list(range(*part.indices(x.shape[axis])))
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64))
    return x.squeeze([axis for axis in range(rank) if single[axis]])


def _slice_by_size(arguments: Arguments) -> Tensor:
    """A size of -1 takes all that follows."""
    x = arguments.tensor("x")
    for axis, (begin, size) in enumerate(zip(arguments.integers("begin"), arguments.integers("size"), strict=True)):
        begin %= x.shape[axis]
        x = x.narrow(axis, begin, x.shape[axis] - begin if size == -1 else size)
    return x


def _split(arguments: Arguments) -> tuple[Tensor, ...]:
    x, axis = arguments.tensor("x"), arguments.integer("axis")
    if "split_sizes" in arguments:
        return torch.split(x, arguments.integers("split_sizes"), axis)
    count = arguments.integer("num_splits")
    ends = list(accumulate([x.shape[axis] // count] * count))
    return torch.tensor_split(x, ends[:-1], axis)


def _squeeze(arguments: Arguments) -> Tensor:
    x = arguments.tensor("x")
    return x.squeeze(arguments.integers("axes")) if "axes" in arguments else x.squeeze()


def _stack(arguments: Arguments) -> Tensor:
    return torch.stack(arguments.tensors("values"), arguments.integer("axis"))


def _tile(arguments: Arguments) -> Tensor:
    return arguments.tensor("x").repeat(arguments.integers("reps"))


def _transpose(arguments: Arguments) -> Tensor:
    return arguments.tensor("x").permute(arguments.integers("perm"))


SHAPE: dict[str, Operator] = {
    "concat": _concat,
    "crop": _crop,
    "depth_to_space": _depth_to_space,
    "expand_dims": _expand_dims,
    "flatten2d": _flatten2d,
    "gather": _gather,
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reshape": _reshape,
    "reverse": _reverse,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
