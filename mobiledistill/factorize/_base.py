"""What every factorization is: which layers it can replace, what that costs and keeps, and the replacing itself."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill.factorize._layers import weight_of
from mobiledistill.prune import Run

__all__ = ["Cost", "FactorSite", "Factorization", "Part", "Units", "Weights"]

Weights = tuple[nn.Parameter, ...]
"""The weights of the layers that replace one, in their order."""

Units = Callable[[Tensor], Tensor]
"""From a tensor of a weight's shape to one number a unit of rank."""

_SAY = 0.03  # of the energy, beside what losses feel
_ROUNDING = 1e-12  # squared changes of a loss below this are none: a millionth of what losses are


@dataclass(frozen=True)
class Cost:
    """What a layer, or what replaces it, holds and does.

    Attributes:
        weights: number of its weights, biases aside.
        channels: output channels of all its layers, each of which has a scale and a bias; none in a table.
        macs: multiply-accumulates of one run of the module (one multiply-add counts as one); none in a table.
    """

    weights: int
    channels: int
    macs: int


@dataclass(frozen=True)
class FactorSite:
    """A layer that a method can replace, and what each rank of the replacement costs.

    Attributes:
        name: the layer's path; of layers that share one weight, the path of the first.
        kind: the layer's type.
        dense: what it costs as it is.
        costs: what its replacement costs at rank 1, 2, ...; the last is the full rank, which loses nothing.
        tied: paths of the other layers that hold the same weight and are replaced with it; they are in the costs.
    """

    name: str
    kind: type[nn.Module]
    dense: Cost
    costs: tuple[Cost, ...]
    tied: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """The full rank."""
        return len(self.costs)

    def cost(self, rank: int) -> Cost:
        """What the replacement costs at a rank from 1 to ``most``."""
        _check_rank(self.name, rank, self.most)
        return self.costs[rank - 1]

    def worthwhile(self, rank: int) -> bool:
        """Whether the replacement has fewer weights than the layer."""
        return self.cost(rank).weights < self.dense.weights

    def largest_rank(self, weights: int) -> int:
        """The largest rank of at most so many weights; 0 where even rank 1 has more."""
        return max((rank for rank, cost in enumerate(self.costs, 1) if cost.weights <= weights), default=0)


@dataclass(frozen=True)
class Part:
    """One of the layers that replace a layer.

    Attributes:
        shape: of its weight.
        reads: how often it is used for each place (pixel, frame, token) that the replaced layer reads.
        writes: likewise for each that it writes; a part of neither is a table, whose rows are looked up.
    """

    shape: tuple[int, ...]
    reads: int = 0
    writes: int = 0


class Factorization(ABC):
    """A way to write layers of a trained module as products of smaller ones.

    Paths of all other layers stay; the replaced layer's own path leads to the small module in its place, which has the
    layer's bias, device, type of numbers and mode.
    """

    def sites(self, module: nn.Module, run: Run) -> tuple[FactorSite, ...]:
        """The layers that can be replaced and are smaller then, at rank 1 at least, in the module's own order.

        All others are left out: ``apply`` tells of any of them why. So are layers that no run calls, and those whose
        weight the module reads without calling them, which no product can stand in for.

        Args:
            module: a float module; not changed.
            run: runs it on example inputs at batch 1.
        """
        found = _Layers(module)
        free = [path for path in found.by_path if self._refusal(found, path) is None]
        places, shapes = _watched(module, run, [path for first in free for path in found.tied(first)])
        free = [first for first in free if places.keys() >= set(found.tied(first))]
        # Most modules survive the loss of all their dense weights at once; only then one by one.
        if not self._survives(module, run, shapes, free):
            free = [path for path in free if self._survives(module, run, shapes, [path])]
        return tuple(self._site(found, path, places) for path in free)

    def importance(
        self, module: nn.Module, sites: Sequence[FactorSite], losses: Iterable[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """How much each rank of each site keeps: one score a unit of rank, descending; each site's sum to 1.

        Without losses a unit's score is its share of the weight's energy, the sum of squares. With losses it is nearly
        the share of the mean square of what each of them would change without the unit, to first order: the losses on
        single batches differ, while their mean hardly changes where training has converged.

        Args:
            module: what ``sites`` was asked about; with losses its gradients are cleared afterwards.
            sites: what to score.
            losses: a few scalar losses of ``module`` with their graphs, computed lazily one after the other.
        """
        layers = {site.name: module.get_submodule(site.name) for site in sites}
        units = {name: self._units(part) for name, part in layers.items()}
        scores = {name: _shares(units[name](weight_of(part).detach())) for name, part in layers.items()}
        felt = {name: torch.zeros_like(score) for name, score in scores.items()}
        for loss in losses or ():
            module.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for name, part in layers.items():
                if (gradient := weight_of(part).grad) is not None:
                    felt[name] += units[name](gradient.to_dense()).square()
        if losses is not None:
            module.zero_grad()
        # Energy does not know what the task needs: networks cut by what losses feel keep far more of their accuracy
        # before any training. But few batches feel nothing of what they lack; there the little energy decides.
        return {
            name: _descending(torch.lerp(_shares(felt[name]), score, _SAY) if felt[name].sum() > _ROUNDING else score)
            for name, score in scores.items()
        }

    def rank_for(self, module: nn.Module, site: FactorSite, energy: float = 0.9) -> int:
        """The smallest rank that keeps a share of the weight's energy, the sum of squares.

        Args:
            module: what ``sites`` was asked about.
            site: one of its sites.
            energy: above 0 and at most 1; the rest is the squared error of the weight, relative to its squares.
        """
        if not 0 < energy <= 1:
            raise InputError(f"energy must be above 0 and at most 1, but got {energy!r}.")
        layer = module.get_submodule(site.name)
        kept = _shares(self._units(layer)(weight_of(layer).detach())).cumsum(0)
        return min(int((kept < energy - 1e-6).sum()) + 1, site.most)

    def apply(self, module: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
        """A copy in which the layers at these paths are products of smaller layers.

        Args:
            module: a float module; not changed.
            ranks: by path, 1 to the full rank.

        Raises:
            InputError: a layer is not there, cannot be replaced or has no such rank; the message says which and why.
        """
        found = _Layers(module)
        replacements = {}
        for path, rank in ranks.items():
            self._check(found, path, rank)
            shared: nn.Parameter | None = None
            for name in found.tied(path):
                layer = found.by_path[name]
                factors = _as_parameters(layer, self._factors(layer, rank))
                if (place := self._shared(layer)) is not None:
                    shared = factors[place] if shared is None else shared
                    factors = (*factors[:place], shared, *factors[place + 1 :])
                replacements[name] = self._module(layer, factors).train(layer.training)
        return _swapped(module, found, replacements)

    def approximated(self, module: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
        """A copy with the same layers, their weights replaced by the products: it computes what ``apply``'s does."""
        same = copy.deepcopy(module)
        found = _Layers(same)
        for path, rank in ranks.items():
            self._check(found, path, rank)
            layer = found.by_path[path]
            with torch.no_grad():
                weight_of(layer).copy_(self._product(layer, self._factors(layer, rank)))
        return same

    @abstractmethod
    def _cannot(self, layer: nn.Module) -> str | None:
        """Why the method has nothing for a layer, as the end of a sentence; None: it has."""

    @abstractmethod
    def _most(self, layer: nn.Module) -> int:
        """The full rank."""

    @abstractmethod
    def _parts(self, layer: nn.Module, rank: int) -> tuple[Part, ...]:
        """The layers that stand for a layer, in the order in which they compute."""

    @abstractmethod
    def _factors(self, layer: nn.Module, rank: int) -> tuple[Tensor, ...]:
        """The weights of the parts, whose product comes nearest to the layer's weight."""

    @abstractmethod
    def _product(self, layer: nn.Module, factors: tuple[Tensor, ...]) -> Tensor:
        """The weight that they make together, in the layer's shape."""

    @abstractmethod
    def _units(self, layer: nn.Module) -> Units:
        """The inner product of what each unit of rank adds to the layer's weight with tensors of the weight's shape.

        With the weight itself that is the unit's energy, with a gradient the loss's change to first order.
        """

    @abstractmethod
    def _module(self, layer: nn.Module, weights: Weights) -> nn.Module:
        """The parts in a module that answers as the layer does."""

    def _shared(self, layer: nn.Module) -> int | None:
        """Which part stays one where layers hold one weight; None: such layers are not replaced."""
        return None

    def _check(self, found: _Layers, path: str, rank: int) -> None:
        if (reason := self._refusal(found, path)) is not None:
            raise InputError(
                f"{type(self).__name__} cannot replace layer {path!r}, which {reason}; sites() lists what it can."
            )
        _check_rank(path, rank, self._most(found.by_path[path]))

    def _refusal(self, found: _Layers, path: str) -> str | None:
        layer = found.by_path.get(path)
        if layer is None:
            return found.absence(path)
        if (reason := self._cannot(layer)) is not None:
            return reason
        if layer._parameters.get("weight") is None:
            return "computes its weight from other parameters"
        if not bool(torch.isfinite(weight_of(layer)).all()):
            return "holds weights that are no finite numbers"
        first, *others = found.tied(path)
        if others and any(self._shared(found.by_path[name]) is None for name in (first, *others)):
            return f"shares its weight with {next(name for name in (first, *others) if name != path)!r}"
        if first != path:
            return f"shares its weight with {first!r} and is replaced where that is"
        gains = self._site(found, path, {}).worthwhile(1)
        return None if gains else "is too small to gain: even rank 1 has no fewer weights"

    def _site(self, found: _Layers, path: str, places: Mapping[str, tuple[int, int]]) -> FactorSite:
        names = found.tied(path)
        layers = {name: found.by_path[name] for name in names}
        weight = weight_of(layers[path])
        computing = [name for name, layer in layers.items() if not isinstance(layer, nn.Embedding)]
        return FactorSite(
            name=path,
            kind=type(layers[path]),
            dense=Cost(
                weights=weight.numel(),
                channels=len(weight) * len(computing),
                macs=weight.numel() * sum(places[name][1] for name in computing if name in places),
            ),
            costs=tuple(self._cost(layers, rank, places) for rank in range(1, self._most(layers[path]) + 1)),
            tied=tuple(names[1:]),
        )

    def _cost(self, layers: Mapping[str, nn.Module], rank: int, places: Mapping[str, tuple[int, int]]) -> Cost:
        weights = channels = macs = 0
        for place, (name, layer) in enumerate(layers.items()):
            read, written = places.get(name, (0, 0))
            for index, part in enumerate(self._parts(layer, rank)):
                size = math.prod(part.shape)
                weights += 0 if place and index == self._shared(layer) else size
                channels += part.shape[0] if part.reads or part.writes else 0
                macs += size * (part.reads * read + part.writes * written)
        return Cost(weights, channels, macs)

    def _survives(self, module: nn.Module, run: Run, shapes: list[torch.Size], paths: Sequence[str]) -> bool:
        """Whether the module still runs with these layers replaced; what the replacements hold does not matter."""
        found = _Layers(module)
        replacements = {}
        for name in (name for path in paths for name in found.tied(path)):
            layer = found.by_path[name]
            blank = tuple(weight_of(layer).new_zeros(part.shape) for part in self._parts(layer, 1))
            replacements[name] = self._module(layer, _as_parameters(layer, blank))
        try:
            with torch.no_grad():
                return [output.shape for output in run(_swapped(module, found, replacements).eval())] == shapes
        except Exception:  # whatever breaks without the dense weight: the layer is left alone
            return False


class _Layers:
    """All parts of a module by their first path, and which of them hold one weight."""

    def __init__(self, module: nn.Module) -> None:
        self.by_path = dict(module.named_modules())
        self._everywhere = list(module.named_modules(remove_duplicate=False))
        self._holders: dict[int, list[str]] = {}
        for path, part in self.by_path.items():
            for parameter in {id(value) for value in part.parameters(recurse=False)}:
                self._holders.setdefault(parameter, []).append(path)

    def tied(self, path: str) -> list[str]:
        """First paths of all layers that hold the weight of this one, itself included."""
        return self._holders[id(weight_of(self.by_path[path]))]

    def absence(self, path: str) -> str:
        """Why there is no first path like this one."""
        part = dict(self._everywhere).get(path)
        if part is None:
            return "is not there"
        return f"is the same as {next(name for name, other in self.by_path.items() if other is part)!r}"


def _as_parameters(layer: nn.Module, factors: tuple[Tensor, ...]) -> Weights:
    weight = weight_of(layer)
    return tuple(nn.Parameter(part.to(weight.dtype).contiguous(), weight.requires_grad) for part in factors)


def _swapped(module: nn.Module, found: _Layers, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of the module with others in the places of some layers."""
    # To the copying, each old layer is copied already, into its replacement: so it is found wherever it is held.
    return copy.deepcopy(module, {id(found.by_path[path]): replacement for path, replacement in replacements.items()})


def _watched(module: nn.Module, run: Run, paths: Sequence[str]) -> tuple[dict[str, tuple[int, int]], list[torch.Size]]:
    """How many places each of the layers reads and writes in one run, and the shapes of the run's outputs."""
    watched = copy.deepcopy(module).eval()
    places: dict[str, tuple[int, int]] = {}

    def hook_for(path: str, layer: nn.Module) -> Any:
        rows = weight_of(layer).shape

        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            before = places.get(path, (0, 0))
            if isinstance(layer, nn.Embedding):
                read = written = output[0].numel() // rows[1]
            else:
                read, written = inputs[0][0].numel() // rows[1], output[0].numel() // rows[0]
            places[path] = (before[0] + read, before[1] + written)

        return hook

    for path in paths:
        layer = watched.get_submodule(path)
        layer.register_forward_hook(hook_for(path, layer))
    with torch.no_grad():
        return places, [output.shape for output in run(watched)]


def _shares(values: Tensor) -> Tensor:
    """Values that sum to 1; those of a weight of zeros are equal."""
    values = values.clamp_min(0)
    values = values + 1e-9 * values.sum() + 1e-30
    return values / values.sum()


def _descending(scores: Tensor) -> Tensor:
    """The nearest scores that never rise: units leave from the end, so one of less worth than a later one holds it."""
    blocks: list[tuple[float, int]] = []
    for score in scores.tolist():
        total, count = score, 1
        while blocks and blocks[-1][0] * count < total * blocks[-1][1]:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    return torch.cat([scores.new_full((count,), total / count) for total, count in blocks])


def _check_rank(path: str, rank: int, most: int) -> None:
    if type(rank) is not int or not 1 <= rank <= most:
        raise InputError(f"Layer {path!r} has ranks 1 to {most}, but got {rank!r}.")
