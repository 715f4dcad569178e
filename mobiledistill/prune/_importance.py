"""How much each channel of a group matters: what leaves first when the group is cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill.prune._graph import Run, coupled, dependency_graph, learning, scorable
from mobiledistill.prune._groups import ChannelGroup
from mobiledistill.prune._recurrent import RECURRENT, Units

__all__ = ["Activation", "BatchNormScale", "Fisher", "Importance", "Magnitude", "Taylor", "importance"]

_Items = Sequence[Any]  # of a group, as Torch-Pruning has them: a layer, an end of it, places there, channels here
_LEAST = 1e-12  # of the mean importance: what a channel has that does nothing at all


class Importance(ABC):
    """A criterion: which channels matter, and which can leave.

    ``Schedule(importance=...)`` takes one for ``compress``. All of them sum over everything that is coupled, and say
    nothing of one group beside another: that is what the search measures.
    """

    def __repr__(self) -> str:
        """Class and attributes: a work folder tells one criterion from another by this."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @abstractmethod
    def rate(self, module: nn.Module, groups: Mapping[str, _Items], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        """One number of 0 or more a channel, by group; only their ratios within a group count.

        Args:
            module: a float module; what this leaves in its gradients is cleared.
            groups: what is coupled, by name.
            losses: a few scalar losses of ``module`` with their graphs, computed lazily one after the other.
        """


@dataclass(frozen=True)
class Taylor(Importance):
    """How much the loss would change without a channel, to first order: the sum of ``|weight * gradient|``.

    You gain a ranking under the loss that the student will be trained with, for one backward pass a batch. You lose
    what the first order does not see: channels that replace each other both look dispensable. Rescaling a channel and
    what reads it changes nothing. Molchanov et al. 2019, https://arxiv.org/abs/1906.10771.

    Example:
        >>> from mobiledistill import Schedule
        >>> Schedule(importance=Taylor()) == Schedule()  # the default
        True
    """

    def rate(self, module: nn.Module, groups: Mapping[str, _Items], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        import torch_pruning as tp

        module.zero_grad()
        for loss in losses:
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return _by(tp.importance.GroupTaylorImportance(normalizer=None), module, groups)


@dataclass(frozen=True)
class Fisher(Importance):
    """How much the loss would rise without a channel, to second order: the sum of ``weight^2 * gradient^2``.

    The mean of the squared gradients stands for the curvature, as it does where the model is right. You gain a
    criterion that gradients of changing signs do not cancel in; you lose a little where batches are large, since it
    is the gradient of a batch's mean loss that is squared. Theis et al. 2018, https://arxiv.org/abs/1801.05787, after
    LeCun et al. 1989.

    Example:
        >>> Fisher() == Fisher()
        True
    """

    def rate(self, module: nn.Module, groups: Mapping[str, _Items], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        import torch_pruning as tp

        squares = [torch.zeros_like(parameter) for parameter in module.parameters()]
        for loss in losses:
            module.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for square, parameter in zip(squares, module.parameters(), strict=True):
                if parameter.grad is not None:
                    square += parameter.grad.square()
        # Torch-Pruning's own accumulate_grad forgets all batches but the last.
        for square, parameter in zip(squares, module.parameters(), strict=True):
            parameter.grad = square
        return _by(tp.importance.GroupHessianImportance(normalizer=None), module, groups)


@dataclass(frozen=True)
class Magnitude(Importance):
    """How large a channel's weights are, those that write it and those that read it: the sum of their squares.

    You gain a ranking without data, in no time. You lose everything that data shows: a channel of large weights that
    is always zero behind its ReLU stays. Li et al. 2017, https://arxiv.org/abs/1608.08710.

    Example:
        >>> Magnitude() == Magnitude()
        True
    """

    def rate(self, module: nn.Module, groups: Mapping[str, _Items], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        import torch_pruning as tp

        return _by(tp.importance.GroupMagnitudeImportance(normalizer=None), module, groups)


@dataclass(frozen=True)
class BatchNormScale(Importance):
    """How far a channel's batch norms scale it: the sum of ``|scale|``; groups without one are ranked by magnitude.

    You gain a ranking without data, good where the training held scales small (an L1 penalty on them, as the paper
    does); after any other training scales say little. Liu et al. 2017, https://arxiv.org/abs/1708.06519.

    Example:
        >>> BatchNormScale() == BatchNormScale()
        True
    """

    def rate(self, module: nn.Module, groups: Mapping[str, _Items], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        import torch_pruning as tp

        scaled = {
            name: items for name, items in groups.items() if any(_scales(item.dep.target.module) for item in items)
        }
        others = {name: items for name, items in groups.items() if name not in scaled}
        scales = _by(tp.importance.BNScaleImportance(normalizer=None), module, scaled)
        return {**scales, **Magnitude().rate(module, others, losses)}


@dataclass(frozen=True)
class Activation(Importance):
    """How strongly a channel answers: the root of its mean square, where it is read, over the batches.

    You gain a ranking of what the data really uses, without a backward pass. You lose what becomes of it: a loud
    channel that nothing listens to stays. Molchanov et al. 2017 compare it, https://arxiv.org/abs/1611.06440.

    Example:
        >>> Activation() == Activation()
        True
    """

    def rate(self, module: nn.Module, groups: Mapping[str, _Items], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad(), _listening(module) as read:
            for _ in losses:  # computing a loss runs the module
                pass
        return {name: _loudness(items, read) for name, items in groups.items()}


def importance(
    module: nn.Module,
    run: Run,
    groups: Iterable[ChannelGroup],
    losses: Iterable[Tensor],
    criterion: Importance = Taylor(),
) -> dict[str, Tensor]:
    """How much each channel matters.

    Args:
        module: a float module; its gradients are cleared afterwards.
        run: runs the module on example inputs.
        groups: the groups to score.
        losses: a few scalar losses of ``module`` with their graphs, computed lazily one after the other.
        criterion: what makes a channel matter.

    Returns:
        One score above 0 a channel, by group name; each group's scores sum to 1. Channels of one block have the same.
    """
    blocks = {group.name: group.block for group in groups}
    if not blocks:
        return {}
    found = coupled(module, dependency_graph(module, run))
    with learning(module):
        try:
            rated = criterion.rate(module, {name: found[name] for name in found if name in blocks}, losses)
        finally:
            module.zero_grad()
    widths = {name: len(found[name][0].idxs) for name in blocks}
    for name, width in widths.items():
        if name not in rated or rated[name].shape != (width,):
            given = tuple(rated[name].shape) if name in rated else "nothing"
            raise InputError(f"{criterion!r} rated {given} for group {name!r}; it must rate each of {width} channels.")
    return {name: _shares(rated[name], blocks[name]) for name in widths}


def _shares(raw: Tensor, block: int) -> Tensor:
    """Scores that sum to 1; where nothing is known, equal ones."""
    raw = raw.detach().double().nan_to_num().clamp_min(0)
    raw = raw / raw.mean() if bool(raw.any()) else torch.ones_like(raw)
    raw = (raw + _LEAST).reshape(-1, block).mean(1).repeat_interleave(block)
    return (raw / raw.sum()).float()


def _scales(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine


def _by(scorer: Any, module: nn.Module, groups: Mapping[str, _Items]) -> dict[str, Tensor]:
    """What one of Torch-Pruning's criteria says; a weight that no loss reached has a gradient of zero."""
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return {name: scorer(scorable(items)) for name, items in groups.items()}


@contextmanager
def _listening(module: nn.Module) -> Iterator[dict[nn.Module, Tensor]]:
    """Sums the squares of what each layer reads, by channel."""
    read: dict[nn.Module, Tensor] = {}

    def hear(layer: nn.Module, inputs: tuple[Any, ...], _: object) -> None:
        given = inputs[0].data.detach()  # of packed sequences too
        maps = isinstance(layer, nn.modules.conv._ConvNd)
        axis = given.dim() + 1 - layer.get_parameter("weight").dim() if maps else -1
        squares = given.square().movedim(axis, -1)
        read[layer] = read.get(layer, 0) + squares.reshape(-1, squares.shape[-1]).mean(0)

    layers = [part for part in module.modules() if isinstance(part, (nn.modules.conv._ConvNd, nn.Linear, *RECURRENT))]
    handles = [layer.register_forward_hook(hear) for layer in layers]
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()


def _loudness(items: _Items, read: Mapping[nn.Module, Tensor]) -> Tensor:
    """Over all layers that read a group, each of them counting as much as the others."""
    total = torch.zeros(len(items[0].idxs), dtype=torch.float64)
    for item in items:
        layer = item.dep.target.module
        if isinstance(layer, Units) and layer.is_first:
            layer = layer.layer
        if "in_channels" in item.dep.handler.__name__ and layer in read:
            loud = read[layer].sqrt().double()[item.idxs]
            total.scatter_add_(0, torch.tensor(item.root_idxs), loud / loud.mean().clamp_min(1e-30))
    return total
