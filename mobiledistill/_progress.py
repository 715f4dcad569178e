"""What a person watching a long run would like to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Event", "Progress"]


@dataclass(frozen=True)
class Event:
    """Work got done: ``done`` of ``total`` in a phase, with a note for people.

    Attributes:
        training: which training an epoch belongs to; one that was killed and goes on has the same name.
        numbers: what the epoch came to: its ``"loss"``, and the validation score under the metric's name.
    """

    phase: str
    done: int
    total: int
    note: str = ""
    training: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


Progress = Callable[[Event], None]
