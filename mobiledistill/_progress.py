"""What a person watching a long run would like to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Event", "Progress"]


@dataclass(frozen=True)
class Event:
    """Work got done: ``done`` of ``total`` in a phase, with a note for people."""

    phase: str
    done: int
    total: int
    note: str = ""


Progress = Callable[[Event], None]
