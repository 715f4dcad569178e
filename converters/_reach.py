"""Whether a value of a graph depends on what the graph reads, in whichever format the graph is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

__all__ = ["reaches"]

T = TypeVar("T", bound=Hashable)


def reaches(start: T, sources: Callable[[T], Iterable[T]], is_end: Callable[[T], bool]) -> bool:
    """Whether an end lies behind ``start``; it may be one itself.

    Args:
        start: where to begin.
        sources: what a value is computed from.
        is_end: what is looked for.
    """
    waiting, seen = [start], {start}
    while waiting:
        value = waiting.pop()
        if is_end(value):
            return True
        new = [source for source in sources(value) if source not in seen]
        seen.update(new)
        waiting.extend(new)
    return False
