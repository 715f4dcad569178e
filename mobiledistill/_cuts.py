"""Students cut out of a trained model: fewer channels, fewer blocks, products of low rank."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mobiledistill._parametrized import make_plain
from mobiledistill._plan import Plan
from mobiledistill._sources import Source
from mobiledistill.factorize import FactorSite, LowRank
from mobiledistill.prune import (
    ChannelGroup,
    FixedGroup,
    Importance,
    LayerShape,
    Run,
    Taylor,
    Trials,
    cut,
    examined_groups,
    importance,
    layer_shapes,
    residual_blocks,
    without_blocks,
)
from mobiledistill.quantize._modules import on_grid
from mobiledistill.search import (
    Amounts,
    Choice,
    CostModel,
    Sensitivity,
    Target,
    Trial,
    allocate,
    amounts,
    sensitivity,
)

__all__ = ["Cuts"]

_TRIED_SHARES = (0.75, 0.5, 0.25)
_LEAST_WEIGHTS = 128  # of a layer that is worth the question how many bits it needs
_LEAST_SCALE = 1e-3  # of what does not hurt at all as far as was measured
_PRODUCT = LowRank()


class Cuts(Source):
    """Students cut out of a trained model.

    Args:
        origin: the trained model; not changed.
        run: runs a model on example inputs.
        run_per_use: runs it as one use of the product does, for what its layers cost.
        losses: a few losses of a model on training batches, for what matters and how much.
        bits: how many bits a weight is stored in.
        known: gives what was measured before, or measures.
        criterion: which channels of a group leave first.
        half_bits: whether half as many bits are another choice for each layer.
    """

    def __init__(
        self,
        origin: nn.Module,
        run: Run,
        run_per_use: Run,
        losses: Callable[[nn.Module], Iterable[Tensor]],
        bits: int,
        known: Callable[[Callable[[], Sensitivity]], Sensitivity] = lambda measure: measure(),
        criterion: Importance = Taylor(),  # noqa: B008  (frozen)
        *,
        half_bits: bool = False,
    ) -> None:
        self._origin = _learning(copy.deepcopy(origin)).eval()
        make_plain(self._origin)  # weights that others make, as weight norm does, cannot be cut
        self._run = run
        self._losses = losses
        self._bits = bits
        self._criterion = criterion
        found = examined_groups(self._origin, run)
        self._groups = tuple(group for group in found if isinstance(group, ChannelGroup))
        self.notes = _told([group for group in found if isinstance(group, FixedGroup)])
        self._blocks = residual_blocks(self._origin, run)
        self.ways = 2 if self._blocks else 1
        # A convolution's product is a second convolution over the whole map; of these only linear layers gained.
        sites = _PRODUCT.sites(self._origin, run)
        self._products = {site.name: site for site in sites if issubclass(site.kind, nn.Linear | nn.Embedding)}
        shapes = layer_shapes(self._origin, run_per_use, self._groups, self._blocks)
        self._layers = [_with_rank(shape, self._products.values(), self._origin) for shape in shapes]
        if half_bits:
            kinds = nn.Linear | nn.Conv1d | nn.Conv2d
            layers = {path for path, part in self._origin.named_modules() if isinstance(part, kinds)}
            self._layers = [_with_bits(shape) if shape.name in layers else shape for shape in self._layers]
        self._halved = {shape.bits: shape.name for shape in self._layers if shape.bits}
        self._importance = importance(self._origin, run, self._groups, losses(self._origin), criterion)
        self._units = _PRODUCT.importance(self._origin, list(self._products.values()), losses(self._origin))
        self._total = {group.name: group.channels for group in self._groups}
        self._whole = {group.name: group.whole_blocks for group in self._groups}
        self.sensitivity = known(lambda: sensitivity(self._origin, self._trials(), losses))
        self._choices = self._all_choices(self.sensitivity.rises)

    def uncut(self) -> Amounts:
        return amounts(self._layers)

    def propose(self, cost: CostModel, limits: Mapping[Target, float], way: int = 0) -> Plan | None:
        """Of the least predicted loss; the first way keeps every block, the second leaves one out at least.

        What a block is worth that is left out untrained says little: in training others take over some of its work.
        """
        kept = allocate(self._choices, self._layers, cost, limits, without_blocks=way > 0)
        return None if kept is None else self._plan(kept)

    def narrow(self, level: int) -> Plan:
        kept = {name: self._whole[name](min(total, 2 * level)) for name, total in self._total.items()}
        return self._plan({**kept, **dict.fromkeys(self._halved, 1)})

    def amounts(self, plan: Plan) -> Amounts:
        return amounts(self._layers, self._kept(plan))

    def build(self, plan: Plan) -> nn.Module:
        smaller = cut(self._origin, self._run, plan.channels, self._importance)
        return self._with_products(without_blocks(smaller, plan.dropped), plan)

    def steps(self, plan: Plan, count: int) -> list[Plan]:
        """Blocks go at once, every group shrinks by the same factor in each step, products come last."""
        if replace(plan, layer_bits={}).cuts_nothing:
            return [plan]
        ways = []
        for step in range(1, count):
            share = step / count
            kept = {n: self._whole[n](self._total[n] ** (1 - share) * k**share) for n, k in plan.channels.items()}
            ways.append(self._plan({**kept, **dict.fromkeys(plan.dropped, 0)}))
        return [*ways, plan]

    def shrink(self, student: nn.Module, plan: Plan) -> nn.Module:
        names = {
            group.name: self._first_left(group, plan.dropped) for group in self._groups if group.name in plan.channels
        }
        groups = [replace(group, name=names[group.name]) for group in self._groups if group.name in names]
        scores = importance(student, self._run, groups, self._losses(student), self._criterion)
        smaller = cut(student, self._run, {names[name]: kept for name, kept in plan.channels.items()}, scores)
        return self._with_products(smaller, plan)

    def layers(self, plan: Plan) -> list[tuple[str, int, int]]:
        kept = self._kept(replace(plan, layer_bits={}))
        return [(layer.name, layer.weights, round(amounts([layer], kept).weights)) for layer in self._layers]

    def _trials(self) -> Iterator[Trial]:
        """Each group at three quarters, a half and a quarter, each block left out, each product at three ranks.

        Then each layer in half the bits.
        """
        whole = Trials(self._origin, self._run)
        for group in self._groups:
            order = self._importance[group.name].argsort(stable=True).tolist()
            for kept in dict.fromkeys(group.whole_blocks(share * group.channels) for share in _TRIED_SHARES):
                if kept < group.channels:
                    gone = sorted(order[: group.channels - kept])
                    yield Trial(group.name, kept, partial(whole.cut, group.name, gone))
        for block in self._blocks:
            yield Trial(block, 0, _for_a_moment(partial(without_blocks, self._origin, [block])))
        for path, site in self._products.items():
            most = _largest_rank(site)
            for rank in dict.fromkeys(max(1, round(share * most)) for share in (1.0, *_TRIED_SHARES[1:])):
                product = partial(_PRODUCT.approximated, self._origin, {path: rank})
                yield Trial(_rank_of(path), rank, _for_a_moment(product))
        for name, path in self._halved.items():
            yield Trial(name, 1, partial(_rounded, self._origin, path, self._bits // 2))

    def _all_choices(self, rises: Mapping[str, Mapping[int, float]]) -> list[Choice]:
        """What a plan sets, each with the loss that is predicted of it."""
        choices = []
        for group in self._groups:
            losses = _losses(self._importance[group.name].sort(descending=True).values, rises.get(group.name, {}))
            inside = tuple(b for b in self._blocks if all(path.startswith(f"{b}.") for path in group.writers))
            choices.append(Choice(group.name, (*losses[:-1], 0.0), group.block, max(2, group.block), inside))
        for block in self._blocks:
            around = tuple(other for other in self._blocks if block.startswith(f"{other}."))
            choices.append(Choice(block, (max(rises[block][0], 0.0), 0.0), 1, 0, around))
        for path, site in self._products.items():
            losses = _losses(self._units[path], rises[_rank_of(path)])[: _largest_rank(site) + 1]
            inside = tuple(b for b in self._blocks if path.startswith(f"{b}."))
            choices.append(Choice(_rank_of(path), (*losses, 0.0), 1, 1, inside, is_rank=True))
        for name, path in self._halved.items():
            inside = tuple(b for b in self._blocks if path.startswith(f"{b}."))
            choices.append(Choice(name, (math.inf, max(rises[name][1], 0.0), 0.0), 1, 1, inside))
        return choices

    def _plan(self, kept: Mapping[str, int]) -> Plan:
        dropped = tuple(block for block in self._blocks if kept.get(block, 1) == 0)
        left = {group.name for group in self._groups if self._first_left(group, dropped)}
        channels = {name: kept[name] for name in self._total if name in left}
        plan = Plan(
            channels=channels,
            original_channels={name: total for name, total in self._total.items() if name in left},
            dropped=dropped,
            bits=self._bits,
            layer_bits={
                path: self._bits // 2
                for name, path in self._halved.items()
                if kept.get(name, 2) == 1 and not any(path.startswith(f"{block}.") for block in dropped)
            },
        )
        ranks = {path: kept.get(_rank_of(path), math.inf) for path in self._products}
        tried = {**self._kept(plan), **{_rank_of(path): rank for path, rank in ranks.items()}}
        smaller = {
            layer.rank for layer in self._layers if amounts([layer], tried).layers == 2  # a product, not the layer
        }  # fmt: skip
        return replace(plan, ranks={p: int(rank) for p, rank in ranks.items() if _rank_of(p) in smaller})

    def _first_left(self, group: ChannelGroup, dropped: Sequence[str]) -> str:
        """The group's name once blocks are dropped, the first layer left that writes it; empty where none is left."""
        left = {path for path in group.writers if not any(path.startswith(f"{block}.") for block in dropped)}
        return next((path for path, _ in self._origin.named_modules() if path in left), "")

    def _kept(self, plan: Plan) -> dict[str, float]:
        """As ``amounts`` wants it."""
        shares = {name: kept / self._total[name] for name, kept in plan.channels.items()}
        ranks = {_rank_of(path): float(rank) for path, rank in plan.ranks.items()}
        halved = {_bits_of(path): bits / plan.bits for path, bits in plan.layer_bits.items()}
        return {**shares, **dict.fromkeys(plan.dropped, 0.0), **ranks, **halved}

    def _with_products(self, module: nn.Module, plan: Plan) -> nn.Module:
        return _PRODUCT.apply(module, plan.ranks) if plan.ranks else module


def _told(fixed: Sequence[FixedGroup]) -> tuple[str, ...]:
    """What could not be cut, in a line for each reason; that outputs stay goes without saying."""
    reasons: dict[str, list[str]] = {}
    for group in fixed:
        if not group.is_plain:
            reasons.setdefault(group.reason, []).append(group.name)
    return tuple(f"The channels of {', '.join(names)} stay: {reason}." for reason, names in reasons.items())


def _learning(module: nn.Module) -> nn.Module:
    """The module; where it was frozen as a whole, as teachers often are, its weights learn again."""
    return module if any(p.requires_grad for p in module.parameters()) else module.requires_grad_(True)


def _losses(units: Tensor, rises: Mapping[int, float]) -> list[float]:
    """The predicted loss of keeping 0, 1, 2, ... of some units, those that matter most first.

    It is ``1 / importance kept - 1``, times what makes that the rise that was measured: measurements say nothing of the
    few channels that small budgets leave, and importance alone does not compare one group with another.
    """
    kept = units.cumsum(0).clamp(max=1.0)
    shape = [math.inf, *(1 / kept - 1).tolist()]
    measured = [(shape[count], max(rise, 0.0)) for count, rise in rises.items() if math.isfinite(rise)]
    scale = sum(x * y for x, y in measured) / max(sum(x * x for x, _ in measured), 1e-12)
    return [max(scale, _LEAST_SCALE) * x for x in shape]


def _for_a_moment(make: Callable[[], nn.Module]) -> Callable[[], AbstractContextManager[nn.Module]]:
    return lambda: nullcontext(make())


def _rank_of(path: str) -> str:
    return f"rank of {path}"


def _bits_of(path: str) -> str:
    return f"bits of {path}"


def _largest_rank(site: FactorSite) -> int:
    """The largest rank at which the product is the smaller one."""
    return site.largest_rank(site.dense.weights - 1)


def _with_rank(shape: LayerShape, products: Iterable[FactorSite], module: nn.Module) -> LayerShape:
    """The layer with what the product that may stand for it would hold."""
    for site in products:
        if shape.name in (site.name, *site.tied):
            layer = module.get_submodule(shape.name)
            rows, columns = layer.get_parameter("weight").shape
            reduced, expanded = (rows, columns) if isinstance(layer, nn.Embedding) else (columns, rows)
            return replace(shape, rank=_rank_of(site.name), reduced=reduced, expanded=expanded)
    return shape


def _with_bits(shape: LayerShape) -> LayerShape:
    """The layer with a choice of bits; tables and small layers have none."""
    worth_it = shape.channels > 0 and shape.weights >= _LEAST_WEIGHTS
    return replace(shape, bits=_bits_of(shape.name)) if worth_it else shape


@contextmanager
def _rounded(module: nn.Module, path: str, bits: int) -> Iterator[nn.Module]:
    """The module with one layer's weight in few bits; afterwards it is as it was."""
    weight = module.get_submodule(path).get_parameter("weight")
    whole = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(on_grid(whole, bits))
        try:
            yield module
        finally:
            weight.copy_(whole)
