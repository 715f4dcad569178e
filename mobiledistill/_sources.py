"""Where students come from: cut out of a trained model, or drawn from a (width, depth) family.

A source proposes plans that should fit, builds the student of a plan, and says how to get there in steps. The
search does not know which source it works with.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._plan import Plan
from mobiledistill._student import Family
from mobiledistill.prune import (
    ChannelGroup,
    LayerShape,
    Run,
    channel_groups,
    cut,
    importance,
    layer_shapes,
    residual_blocks,
    without_blocks,
)
from mobiledistill.search import Amounts, Choice, CostModel, Sensitivity, Target, allocate, amounts, sensitivity

__all__ = ["Cuts", "FamilyMembers", "Source"]

_DEPTHS = (1, 2, 3)
_WIDEST = 4096
_TYPICAL_WIDTH = 32
_LEAST_SCALE = 1e-3  # of a group whose cuts do not hurt at all as far as was measured


class Source(ABC):
    """Proposes and builds students.

    Attributes:
        sensitivity: how the loss answers to one cut at a time; None where nothing is cut.
    """

    sensitivity: Sensitivity | None = None

    @abstractmethod
    def propose(self, cost: CostModel, limits: Mapping[Target, float]) -> Plan | None:
        """The plan of the least predicted loss within the limits; None where nothing is predicted to fit."""

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


class Cuts(Source):
    """Students cut out of a trained model.

    Args:
        origin: the trained model; not changed.
        run: runs a model on example inputs.
        run_per_use: runs it as one use of the product does, for what its layers cost.
        losses: a few losses of a model on training batches, for the importance of channels.
        bits: how many bits a weight is stored in.
    """

    def __init__(
        self,
        origin: nn.Module,
        run: Run,
        run_per_use: Run,
        losses: Callable[[nn.Module], Iterable[Tensor]],
        bits: int,
    ) -> None:
        self._origin = copy.deepcopy(origin).eval()
        self._run = run
        self._losses = losses
        self._bits = bits
        self._groups = channel_groups(self._origin, run)
        self._blocks = residual_blocks(self._origin, run)
        self._layers = layer_shapes(self._origin, run_per_use, self._groups, self._blocks)
        self._importance = importance(self._origin, run, self._groups, losses(self._origin))
        self._total = {group.name: group.channels for group in self._groups}
        self._whole = {group.name: group.whole_blocks for group in self._groups}
        self.sensitivity = sensitivity(self._origin, run, self._groups, self._importance, self._blocks, losses)
        self._choices = self._all_choices(self.sensitivity.rises)

    def uncut(self) -> Amounts:
        return amounts(self._layers)

    def propose(self, cost: CostModel, limits: Mapping[Target, float]) -> Plan | None:
        kept = allocate(self._choices, self._layers, cost, limits)
        return None if kept is None else self._plan(kept)

    def narrow(self, level: int) -> Plan:
        return self._plan({name: self._whole[name](min(total, 2 * level)) for name, total in self._total.items()})

    def amounts(self, plan: Plan) -> Amounts:
        return amounts(self._layers, self._shares(plan))

    def build(self, plan: Plan) -> nn.Module:
        return without_blocks(cut(self._origin, self._run, plan.channels, self._importance), plan.dropped)

    def steps(self, plan: Plan, count: int) -> list[Plan]:
        """Blocks go at once, and every group shrinks by the same factor in each step."""
        if plan.cuts_nothing:
            return [plan]
        ways = []
        for step in range(1, count):
            share = step / count
            kept = {n: self._whole[n](self._total[n] ** (1 - share) * k**share) for n, k in plan.channels.items()}
            ways.append(self._plan({**kept, **dict.fromkeys(plan.dropped, 0)}))
        return [*ways, plan]

    def shrink(self, student: nn.Module, plan: Plan) -> nn.Module:
        names = {group.name: _first_left(group, plan.dropped) for group in self._groups if group.name in plan.channels}
        groups = [replace(group, name=names[group.name]) for group in self._groups if group.name in names]
        scores = importance(student, self._run, groups, self._losses(student))
        return cut(student, self._run, {names[name]: kept for name, kept in plan.channels.items()}, scores)

    def layers(self, plan: Plan) -> list[tuple[str, int, int]]:
        shares = self._shares(plan)
        return [(layer.name, layer.weights, round(amounts([layer], shares).weights)) for layer in self._layers]

    def _all_choices(self, rises: Mapping[str, Mapping[int, float]]) -> list[Choice]:
        """What a plan sets, each with the loss that is predicted of it.

        Of channels ``-log(importance kept)``, times what makes that the rise that was measured: the measured ones say
        nothing of the few channels that small budgets leave, and importance alone does not compare groups.
        """
        choices = []
        for group in self._groups:
            kept = self._importance[group.name].sort(descending=True).values.cumsum(0).clamp(max=1.0)
            shape = [math.inf, *(-kept.log()).tolist()]
            measured = [(shape[channels], max(rise, 0.0)) for channels, rise in rises.get(group.name, {}).items()]
            scale = sum(x * y for x, y in measured) / max(sum(x * x for x, _ in measured), 1e-12)
            losses = [math.inf, *(max(scale, _LEAST_SCALE) * x for x in shape[1:-1]), 0.0]
            inside = tuple(b for b in self._blocks if all(path.startswith(f"{b}.") for path in group.writers))
            choices.append(Choice(group.name, tuple(losses), group.block, max(2, group.block), inside))
        for block in self._blocks:
            around = tuple(other for other in self._blocks if block.startswith(f"{other}."))
            choices.append(Choice(block, (max(rises[block][0], 0.0), 0.0), 1, 0, around))
        return choices

    def _plan(self, kept: Mapping[str, int]) -> Plan:
        dropped = tuple(block for block in self._blocks if kept.get(block, 1) == 0)
        left = {group.name for group in self._groups if _first_left(group, dropped)}
        return Plan(
            channels={name: kept[name] for name in self._total if name in left},
            original_channels={name: total for name, total in self._total.items() if name in left},
            dropped=dropped,
            bits=self._bits,
        )

    def _shares(self, plan: Plan) -> dict[str, float]:
        shares = {name: kept / self._total[name] for name, kept in plan.channels.items()}
        return {**shares, **dict.fromkeys(plan.dropped, 0.0)}


def _first_left(group: ChannelGroup, dropped: Iterable[str]) -> str:
    """The first layer that writes the group's channels once blocks are dropped; empty where all of them are gone."""
    left = [path for path in group.writers if not any(path.startswith(f"{block}.") for block in dropped)]
    return group.name if group.name in left else next(iter(left), "")


class FamilyMembers(Source):
    """Students drawn from a family and trained from scratch.

    Args:
        family: (width, depth) -> module; wider and deeper members are larger.
        teacher: what its members learn from, where it is a module.
        run_per_use: runs a model on example inputs as one use of the product does.
        quality: how well a member does after a short training, higher is better; decides between depths.
        seed: of the members' first weights.
    """

    def __init__(
        self,
        family: Family,
        teacher: nn.Module | None,
        run_per_use: Run,
        quality: Callable[[nn.Module], float],
        seed: int,
        bits: int,
    ) -> None:
        self._family = family
        self._teacher = teacher
        self._run_per_use = run_per_use
        self._quality = quality
        self._seed = seed
        self._bits = bits
        self._qualities: dict[tuple[int, int], float] = {}

    def propose(self, cost: CostModel, limits: Mapping[Target, float]) -> Plan | None:
        fitting = [(width, depth) for depth in _DEPTHS if (width := self._widest(depth, cost, limits))]
        if not fitting:
            return None
        return self._plan(*max(fitting, key=self._quality_of) if len(fitting) > 1 else fitting[0])

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

        high = 1
        while high < _WIDEST and fits(high):
            high *= 2
        low = 0 if high == 1 else high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def _quality_of(self, member: tuple[int, int]) -> float:
        if member not in self._qualities:
            self._qualities[member] = self._quality(self.build(self._plan(*member)))
        return self._qualities[member]

    def _shapes(self, plan: Plan) -> Sequence[LayerShape]:
        return layer_shapes(self.build(plan), self._run_per_use, ())

    def _plan(self, width: int, depth: int) -> Plan:
        return Plan(width=width, depth=depth, bits=self._bits)
