"""Weights that ``torch.nn.utils.parametrize`` makes of others, as plain ones again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

__all__ = ["make_plain"]


def make_plain(module: nn.Module, wanted: Callable[[nn.Module], bool] = lambda _: True) -> None:
    """Weights become what their parametrizations make of them, in place, with no effect on copies of the module.

    Args:
        module: what holds them.
        wanted: which parametrizations are taken off.
    """
    for part in list(module.modules()):
        if not parametrize.is_parametrized(part):
            continue
        parametrizations: Any = part.parametrizations
        names = [name for name, chain in parametrizations.items() if any(wanted(one) for one in chain)]
        if names:
            own = type(part)  # copies share the class, and torch takes the weight's property from it
            part.__class__ = type(own.__name__, own.__bases__, dict(own.__dict__))
        for name in names:
            parametrize.remove_parametrizations(part, name)
