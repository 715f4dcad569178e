"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator

__all__ = ["LINEAR"]


def _linear(arguments: Arguments) -> Tensor:
    return F.linear(arguments.tensor("x"), arguments.tensor("weight"), arguments.optional("bias"))


def _matmul(arguments: Arguments) -> Tensor:
    x, y = arguments.tensor("x"), arguments.tensor("y")
    if arguments.flag("transpose_x"):
        x = x.transpose(-1, -2)
    if arguments.flag("transpose_y"):
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


LINEAR: dict[str, Operator] = {"linear": _linear, "matmul": _matmul}
