"""Attention in one operator, as packages for iOS 18 have it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator

__all__ = ["ATTENTION"]


def _attention(arguments: Arguments) -> Tensor:
    """A mask of flags says where to look; one of numbers is added to the scores."""
    query, key, value = (arguments.tensor(name) for name in ("query", "key", "value"))
    return F.scaled_dot_product_attention(query, key, value, arguments.optional("attn_mask"))


ATTENTION: dict[str, Operator] = {"scaled_dot_product_attention": _attention}
