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


CONVOLUTION: dict[str, Operator] = {"conv": _conv}
