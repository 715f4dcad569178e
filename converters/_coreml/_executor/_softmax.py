"""Softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from converters._coreml._executor._arguments import Arguments, Operator

__all__ = ["SOFTMAX"]


def _softmax(arguments: Arguments) -> Tensor:
    return torch.softmax(arguments.tensor("x"), arguments.integer("axis", -1))


SOFTMAX: dict[str, Operator] = {"softmax": _softmax}
