"""The allocator: the least predicted loss within every limit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mobiledistill.prune import LayerShape
from mobiledistill.search._cost import LATENCIES, TILE, Amounts, CostModel, Target, amounts

__all__ = ["Choice", "allocate"]

_FIRST_RANKS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)  # of the largest that is smaller than the layer
_AT_ONCE = (4, 2, 1)  # steps that a choice offers to give up: one alone often makes no room for any of another's
_EXCHANGES = 20  # times that each choice offers a step


@dataclass(frozen=True)
class Choice:
    """One number that a plan sets: how many channels a group keeps, whether a block stays, a product's rank, bits.

    Attributes:
        name: of the group, the block or the rank.
        losses: the predicted loss of keeping 0, 1, 2, ... of it; the last, keeping all, is 0.
        step: neighbours that leave together.
        least: what must stay.
        within: blocks that it lies in; where one of them is left out, nothing is left to choose.
        is_rank: whether it is the rank of a product that stands for a layer; then the last is the layer itself.
    """

    name: str
    losses: tuple[float, ...]
    step: int = 1
    least: int = 2
    within: tuple[str, ...] = ()
    is_rank: bool = False

    @property
    def most(self) -> int:
        """All there is."""
        return len(self.losses) - 1


def allocate(
    choices: Sequence[Choice],
    layers: Sequence[LayerShape],
    cost: CostModel,
    limits: Mapping[Target, float],
    *,
    without_blocks: bool = False,
) -> dict[str, int] | None:
    """What each choice keeps, or None where even the least of everything is predicted to be over a limit.

    Starting from everything, what goes next is always what costs the least predicted loss for what it brings towards
    the limits that are still broken. Then whatever still fits comes back, and as long as giving up a little of one
    thing makes room for something worth more, the two are exchanged. That is done with and without products, and for
    every block that may be left out first; the best end counts.

    Args:
        choices: what can become smaller.
        layers: the uncut model's layers.
        cost: predicts each limit's quantity.
        limits: upper limits.
        without_blocks: whether blocks are left out, one at least; else all of them stay.
    """
    ends = []
    blocks = {choice.name for choice in choices if choice.most == 1}
    products = {choice.name for choice in choices if choice.is_rank}
    first = [{block} for block in sorted(blocks)] if without_blocks else [set()]
    for gone, whole in itertools.product(first, [set(), products] if products else [set()]):
        state = _State(choices, layers, cost, limits, gone)
        if state.shrink(whole if without_blocks else {*whole, *blocks}):
            state.refill()
            state.exchange()
            state.refill()  # of what an exchange took a step from, it gave nothing back
            ends.append(state)
    return min(ends, key=lambda state: state.loss()).kept if ends else None


class _State:
    """A plan in the making, with what it costs kept up to date."""

    def __init__(
        self,
        choices: Sequence[Choice],
        layers: Sequence[LayerShape],
        cost: CostModel,
        limits: Mapping[Target, float],
        gone: Collection[str],
    ) -> None:
        self.kept = {choice.name: choice.most for choice in choices}
        self._gone = gone
        self._choices = {choice.name: choice for choice in choices}
        self._cost = cost
        self._limits = limits
        self._in_tiles = any(name in LATENCIES for _, name in limits)
        self._network = amounts(layers)
        self._layers = {name: [layer for layer in layers if name in _choices_of(layer)] for name in self._choices}
        self._involved = {
            name: {one for layer in those for one in _choices_of(layer) if one in self._choices}
            for name, those in self._layers.items()
        }
        for name in gone:
            self._set(name, 0)

    def loss(self) -> float:
        """The predicted loss of the plan."""
        return sum(self._choices[name].losses[kept] for name, kept in self.kept.items() if self._is_there(name))

    def shrink(self, fixed: Collection[str]) -> bool:
        """Until every limit holds; whether that could be reached."""
        whole_again: set[str] = set()
        while broken := [target for target, value in self._predicted().items() if value > self._limits[target]]:
            offer = self._cheapest(broken, {*fixed, *whole_again})
            if offer is None:
                return False
            name, kept = offer
            if kept > self.kept[name]:
                whole_again.add(name)  # once, so that this ends
            self._set(name, kept)
        return True

    def refill(self, without: Collection[str] = ()) -> None:
        """Gives back while it fits: the last cut often frees more than was needed."""
        while more := max((one for one in self._fitting() if one[1] not in without), default=None):
            _, name, kept = more
            self._set(name, kept)

    def exchange(self) -> None:
        """Takes from one choice and gives what that frees to the others, while that lowers the loss.

        What is equally wide is taken from together too: for what layers of one width share in a file, each alone may
        have nothing to gain.
        """
        for _ in range(_EXCHANGES):
            equal: dict[int, list[str]] = {}
            for name, kept in self.kept.items():
                if self._choices[name].most > 1 and not self._choices[name].is_rank:
                    equal.setdefault(kept, []).append(name)
            together = [names for names in equal.values() if len(names) > 1]
            if not any([self._exchanged(names) for names in [*([name] for name in self.kept), *together]]):
                return

    def _exchanged(self, names: Sequence[str]) -> bool:
        before, kept, network = self.loss(), dict(self.kept), self._network
        for fewer in zip(*(self._offers(name) for name in names if self._choices[name].most > 1), strict=False):
            for name, count in zip(names, fewer, strict=True):
                self._set(name, count)
            self.refill(without=names)
            if self.loss() < before - 1e-9:
                return True
            self.kept, self._network = dict(kept), network
        return False

    def _cheapest(self, broken: Sequence[Target], fixed: Collection[str]) -> tuple[str, int] | None:
        now = self._predicted()
        best, best_price = None, (True, math.inf)
        offers = [(name, fewer) for name in self._choices if name not in fixed for fewer in self._offers(name)]
        # A product is two operators: as everything around it shrinks, the layer itself may be the smaller one.
        products = [c for c in self._choices.values() if c.is_rank and self._is_there(c.name) and c.name not in fixed]
        for name, fewer in [*offers, *((one.name, one.most) for one in products if self.kept[one.name] < one.most)]:
            after = self._predicted(name, fewer)
            gain = sum((now[target] - after[target]) / (now[target] - self._limits[target]) for target in broken)
            lost = self._loss_of(name, fewer) - self._loss_of(name, self.kept[name])
            # A channel less may cost bytes, where layers share something while they are of one width: several gain.
            price = (False, max(lost, 0.0) / gain) if gain > 0 else (True, lost)
            if price < best_price and (gain > 0 or fewer < self.kept[name]):
                best, best_price = (name, fewer), price
        return best

    def _fitting(self) -> Iterator[tuple[float, str, int]]:
        """What could be given back: the loss regained, the choice, what it would keep."""
        for name, choice in self._choices.items():
            kept = self.kept[name]
            if kept == choice.most or name in self._gone or not self._is_there(name):
                continue
            tile = self._tile(choice)
            for more in dict.fromkeys((min(choice.most, (kept // tile + 1) * tile), kept + choice.step)):
                after = self._predicted(name, more)
                if all(after[target] <= limit for target, limit in self._limits.items()):
                    yield self._loss_of(name, kept) - self._loss_of(name, more), name, more
                    break

    def _offers(self, name: str) -> list[int]:
        """What a choice could keep instead.

        Wide groups shrink several blocks at a time, which changes nothing but the time this takes. A layer offers
        products of several ranks: the largest of them hardly gains a byte. Where time counts, so do whole tiles: up to
        the next one channels come and go for nothing.
        """
        choice, kept = self._choices[name], self.kept[name]
        if not self._is_there(name):
            return []
        if choice.is_rank and kept == choice.most:
            return sorted({max(choice.least, round((kept - 1) * share)) for share in _FIRST_RANKS})
        tile = self._tile(choice)
        unit = tile * max(1, kept // (48 * tile))
        offers = {math.ceil(kept / tile) * tile - steps * unit for steps in _AT_ONCE}
        if tile > choice.step:
            offers.add(kept - choice.step)
        return sorted(fewer for fewer in offers if fewer >= choice.least)

    def _tile(self, choice: Choice) -> int:
        return math.lcm(choice.step, TILE) if self._in_tiles else choice.step

    def _loss_of(self, name: str, kept: int) -> float:
        """What a choice adds to the predicted loss; a block that stays adds what was cut within it."""
        choice = self._choices[name]
        if choice.most > 1 or kept == 0:
            return choice.losses[kept]
        inside = (one for one in self._choices.values() if name in one.within)
        return sum(one.losses[self.kept[one.name]] for one in inside)

    def _is_there(self, name: str) -> bool:
        return all(self.kept.get(block, 1) for block in self._choices[name].within)

    def _predicted(self, name: str | None = None, kept: int = 0) -> dict[Target, float]:
        network = self._network if name is None else self._changed(name, kept)
        return {target: self._cost.predict(target, network) for target in self._limits}

    def _set(self, name: str, kept: int) -> None:
        self._network = self._changed(name, kept)
        self.kept[name] = kept

    def _changed(self, name: str, kept: int) -> Amounts:
        """What the network holds and does where one choice is another one."""
        shares = {one: self._share(one, self.kept[one]) for one in self._involved[name]}
        old = amounts(self._layers[name], shares)
        new = amounts(self._layers[name], {**shares, name: self._share(name, kept)})
        return self._network.plus(new).plus(old, -1.0)

    def _share(self, name: str, kept: int) -> float:
        """As ``amounts`` wants it."""
        choice = self._choices[name]
        if choice.is_rank:
            return math.inf if kept == choice.most else kept
        return kept / choice.most


def _choices_of(layer: LayerShape) -> tuple[str | None, ...]:
    return (layer.writes, layer.reads, layer.rank, layer.bits, *layer.blocks)
