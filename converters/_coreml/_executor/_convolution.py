"""Convolutions over one, two or three axes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator
from converters._coreml._executor._windows import pad_window, window_padding
from converters._errors import ModelFileError

__all__ = ["CONVOLUTION"]


def _conv(arguments: Arguments) -> Tensor:
    x, weight, bias = arguments.tensor("x"), arguments.tensor("weight"), arguments.optional("bias")
    axes = x.dim() - 2
    strides = arguments.integers("strides", [1] * axes)
    dilations = arguments.integers("dilations", [1] * axes)
    groups = arguments.integer("groups", 1)
    pairs = window_padding(arguments, x.shape[2:], weight.shape[2:], strides, dilations)
    padding = [0] * axes
    if all(before == after for before, after in pairs):
        padding = [before for before, _ in pairs]  # torch's own padding adds up in the order that torch's users see
    else:
        x = pad_window(x, pairs)
    if axes == 1:
        return F.conv1d(x, weight, bias, strides, padding, dilations, groups)
    if axes == 2:
        return F.conv2d(x, weight, bias, strides, padding, dilations, groups)
    if axes == 3:
        return F.conv3d(x, weight, bias, strides, padding, dilations, groups)
    raise ModelFileError(f"Operator conv reads an input of {x.dim()} axes; 3, 4 or 5 are possible.")


def _conv_transpose(arguments: Arguments) -> Tensor:
    """``pad`` is cut off; where an output shape is given, rows that are missing behind are zeros and the bias."""
    x, weight, bias = arguments.tensor("x"), arguments.tensor("weight"), arguments.optional("bias")
    axes = x.dim() - 2
    strides = arguments.integers("strides", [1] * axes)
    dilations = arguments.integers("dilations", [1] * axes)
    if (kind := arguments.word("pad_type", "valid")) not in ("valid", "custom"):
        raise ModelFileError(f"Padding {kind!r} of conv_transpose is not one that the Core ML executor runs.")
    pad = arguments.integers("pad", [0] * 2 * axes) if kind == "custom" else [0] * 2 * axes
    given = arguments.integers("output_shape", [])
    lengths = [
        (size - 1) * stride + (kernel - 1) * dilation + 1 - before - after
        for size, stride, kernel, dilation, before, after in zip(
            x.shape[2:], strides, weight.shape[2:], dilations, pad[::2], pad[1::2], strict=True
        )
    ]
    transposed = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}.get(axes)
    if transposed is None:
        raise ModelFileError(f"Operator conv_transpose reads an input of {x.dim()} axes; 3, 4 or 5 are possible.")
    groups = arguments.integer("groups", 1)
    y: Tensor = transposed(x, weight, None, strides, 0, 0, groups, dilations)
    for axis, (before, length) in enumerate(zip(pad[::2], given[2:] or lengths, strict=True), start=2):
        y = y.narrow(axis, before, min(length, y.shape[axis] - before))
        y = F.pad(y, [0, 0] * (y.dim() - 1 - axis) + [0, length - y.shape[axis]])
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


CONVOLUTION: dict[str, Operator] = {"conv": _conv, "conv_transpose": _conv_transpose}
