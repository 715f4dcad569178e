"""Sensitivity: how much the loss rises with each cut, measured one cut at a time on a few batches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice

import torch
from torch import Tensor, nn

__all__ = ["Sensitivity", "Trial", "sensitivity"]

_BATCHES = 4


@dataclass(frozen=True)
class Trial:
    """One cut that is tried.

    Attributes:
        name: of what is cut.
        kept: how much of it stays.
        made: gives the cut module for a moment.
    """

    name: str
    kept: int
    made: Callable[[], AbstractContextManager[nn.Module]]


@dataclass(frozen=True)
class Sensitivity:
    """How the loss answers to one cut at a time.

    Attributes:
        loss: of the uncut module.
        rises: by what was cut: how much of it stays, and by how much the loss then rises.
        seconds: what finding out took.
    """

    loss: float
    rises: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Sensitivity:
        """Reads what ``to_json`` wrote."""
        found = json.loads(text)
        rises = {name: {int(kept): rise for kept, rise in points.items()} for name, points in found["rises"].items()}
        return cls(found["loss"], rises, found["seconds"])


def sensitivity(
    module: nn.Module,
    trials: Iterable[Trial],
    losses: Callable[[nn.Module], Iterable[Tensor]],
    *,
    batches: int = _BATCHES,
) -> Sensitivity:
    """Tries one cut after the other and watches the loss.

    Args:
        module: the uncut module.
        trials: the cuts.
        losses: the losses of a module on some training batches, one after the other.
        batches: how many of these batches are looked at.
    """
    began = time.perf_counter()

    @torch.no_grad()
    def mean_loss(smaller: nn.Module) -> float:
        values = [float(loss) for loss in islice(losses(smaller.eval()), batches)]
        mean = sum(values) / len(values)
        return mean if math.isfinite(mean) else math.inf

    whole = mean_loss(module)
    rises: dict[str, dict[int, float]] = {}
    for trial in trials:
        with trial.made() as smaller:
            rises.setdefault(trial.name, {})[trial.kept] = mean_loss(smaller) - whole
    return Sensitivity(whole, rises, time.perf_counter() - began)
