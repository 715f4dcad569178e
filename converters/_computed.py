"""What a file computes on its way, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ComputedValue"]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class ComputedValue:
    """One float value, or the real values that integers stand for.

    Attributes:
        operator: what computes it, in the format's own words.
        place: the operator's number in the file, from 1 on.
        output: as which output the file returns it; empty for an inner value.
        values: of one sample, in the shape and, unless they were integers, the type that the file gives them.
        reads_finite: whether all that the operator reads is finite, as far as the format's runtime tells.
    """

    operator: str
    place: int
    output: str
    values: NDArray[np.generic]
    reads_finite: bool = True
