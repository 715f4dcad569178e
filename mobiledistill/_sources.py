"""Where students come from: cut out of a trained model, or drawn from a (width, depth) family.

A source proposes plans that should fit, builds the student of a plan, and says how to get there in steps. The
search does not know which source it works with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from converters import InputError
from mobiledistill._plan import Plan
from mobiledistill._student import Family
from mobiledistill.prune import LayerShape, Run, layer_shapes
from mobiledistill.search import Amounts, CostModel, Sensitivity, Target, amounts

__all__ = ["FamilyMembers", "Source"]

_DEPTHS = (1, 2, 3)
_WIDEST = 4096
_TYPICAL_WIDTH = 32


class Source(ABC):
    """Proposes and builds students.

    Attributes:
        ways: how many ways there are to make a student small; which is best only a short training tells.
        sensitivity: how the loss answers to one cut at a time; None where nothing is cut.
        notes: what people should know of it.
    """

    ways: int = 1
    sensitivity: Sensitivity | None = None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def propose(self, cost: CostModel, limits: Mapping[Target, float], way: int = 0) -> Plan | None:
        """The plan of the least predicted loss within the limits; None where nothing is predicted to fit.

        ``way`` is counted from 0; different ones may come to the same plan.
        """

    @abstractmethod
    def narrow(self, level: int) -> Plan:
        """A plan about as narrow as it gets: at most ``2 * level`` channels in every group."""

    @abstractmethod
    def uncut(self) -> Amounts:
        """What the model holds and does before any cut; of a family, the teacher's."""

    @abstractmethod
    def amounts(self, plan: Plan) -> Amounts:
        """What the plan's student holds and does."""

    @abstractmethod
    def build(self, plan: Plan) -> nn.Module:
        """The plan's student before any training of its own."""

    @abstractmethod
    def steps(self, plan: Plan, count: int) -> list[Plan]:
        """The way to a plan, in at most ``count`` plans; the last is the plan itself."""

    @abstractmethod
    def shrink(self, student: nn.Module, plan: Plan) -> nn.Module:
        """The next step's student, cut out of the last one's."""

    @abstractmethod
    def layers(self, plan: Plan) -> list[tuple[str, int, int]]:
        """(layer, weights before, weights after) of every layer."""


class FamilyMembers(Source):
    """Students drawn from a family and trained from scratch; each depth is a way of its own.

    Args:
        family: (width, depth) -> module; wider and deeper members are larger.
        teacher: what its members learn from, where it is a module.
        run_per_use: runs a model on example inputs as one use of the product does.
        seed: of the members' first weights.
    """

    ways = len(_DEPTHS)

    def __init__(
        self,
        family: Family,
        teacher: nn.Module | None,
        run_per_use: Run,
        seed: int,
        bits: int,
    ) -> None:
        self._family = family
        self._teacher = teacher
        self._run_per_use = run_per_use
        self._seed = seed
        self._bits = bits

    def propose(self, cost: CostModel, limits: Mapping[Target, float], way: int = 0) -> Plan | None:
        width = self._widest(_DEPTHS[way], cost, limits)
        return self._plan(width, _DEPTHS[way]) if width else None

    def uncut(self) -> Amounts:
        if self._teacher is None:
            return self.amounts(self._plan(_TYPICAL_WIDTH, _DEPTHS[0]))  # nobody knows what a file computes
        return amounts(layer_shapes(self._teacher, self._run_per_use, ()))

    def narrow(self, level: int) -> Plan:
        return self._plan(2 * level, _DEPTHS[0])

    def amounts(self, plan: Plan) -> Amounts:
        return amounts(self._shapes(plan))

    def build(self, plan: Plan) -> nn.Module:
        if plan.width is None or plan.depth is None:
            raise InputError("This plan has no width and depth, so it is none of a family; cut a model with it.")
        torch.manual_seed(self._seed)
        try:
            return self._family(plan.width, plan.depth).eval()
        except Exception as error:
            raise InputError(
                f"The family made no student of width {plan.width} and depth {plan.depth} ({error});"
                " it must take any width from 1 and any depth from 1."
            ) from error

    def steps(self, plan: Plan, count: int) -> list[Plan]:
        return [plan]

    def shrink(self, student: nn.Module, plan: Plan) -> nn.Module:
        return student  # its one step is the plan itself

    def layers(self, plan: Plan) -> list[tuple[str, int, int]]:
        return [(layer.name, layer.weights, layer.weights) for layer in self._shapes(plan)]

    def _widest(self, depth: int, cost: CostModel, limits: Mapping[Target, float]) -> int:
        """The largest width predicted to keep every limit, 0 for none."""

        def fits(width: int) -> bool:
            network = self.amounts(self._plan(width, depth))
            return all(cost.predict(target, network) <= limit for target, limit in limits.items())

        most = _WIDEST if limits and all(cost.knows(target) for target in limits) else _TYPICAL_WIDTH
        high = 1
        while high < most and fits(high):
            high *= 2
        if high >= most and fits(high):
            return high
        low = 0 if high == 1 else high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def _shapes(self, plan: Plan) -> Sequence[LayerShape]:
        return layer_shapes(self.build(plan), self._run_per_use, ())

    def _plan(self, width: int, depth: int) -> Plan:
        return Plan(width=width, depth=depth, bits=self._bits)
