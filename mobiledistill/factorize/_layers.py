"""Ordinary layers around given weights.

They are built on the device "meta", where nothing random is drawn: that would change the training which follows.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["bias_of", "in_turn", "linear", "numbers_of", "pointwise", "table", "weight_of", "windowed"]

Layer = TypeVar("Layer", bound=nn.Module)


def weight_of(layer: nn.Module) -> nn.Parameter:
    """The layer's weight, as it is trained."""
    return layer.get_parameter("weight")


def bias_of(layer: nn.Module) -> Tensor | None:
    """The layer's bias, None where it has none."""
    return layer._parameters.get("bias")


def numbers_of(layer: nn.Module) -> Tensor:
    """The weight's numbers alone, in 32 bits or more: decompositions know no fewer."""
    weight = weight_of(layer).detach()
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def linear(weight: nn.Parameter, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer."""
    outputs, inputs = weight.shape
    return _holding(nn.Linear(inputs, outputs, bias=bias is not None, device="meta"), weight, bias)


def pointwise(weight: nn.Parameter, bias: Tensor | None = None) -> nn.Conv2d:
    """A 1 x 1 convolution."""
    outputs, inputs = weight.shape[:2]
    return _holding(nn.Conv2d(inputs, outputs, 1, bias=bias is not None, device="meta"), weight, bias)


def windowed(like: nn.Conv2d, weight: nn.Parameter, groups: int = 1) -> nn.Conv2d:
    """A convolution without a bias over the windows of another one."""
    outputs, inputs, height, width = weight.shape
    options: dict[str, Any] = {name: getattr(like, name) for name in ("stride", "padding", "dilation", "padding_mode")}
    conv = nn.Conv2d(groups * inputs, outputs, (height, width), groups=groups, bias=False, device="meta", **options)
    return _holding(conv, weight)


def table(like: nn.Embedding, weight: nn.Parameter) -> nn.Embedding:
    """An embedding of the same rows, of another width."""
    rows, width = weight.shape
    rare: dict[str, Any] = {"scale_grad_by_freq": like.scale_grad_by_freq, "sparse": like.sparse}
    # Drawing weights on "meta" would load torch's compiler, which takes seconds; a table can be given empty ones.
    empty = torch.empty(rows, width, device="meta")
    return _holding(nn.Embedding(rows, width, like.padding_idx, **rare, _weight=empty), weight)


def in_turn(**layers: nn.Module) -> nn.Sequential:
    """The layers one after the other, by name."""
    return nn.Sequential(OrderedDict(layers))


def _holding(layer: Layer, weight: nn.Parameter, bias: Tensor | None = None) -> Layer:
    layer.register_parameter("weight", weight)
    if bias is not None:
        layer.register_parameter("bias", nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad))
    return layer
