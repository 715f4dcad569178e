"""Whether a group can be cut: the cut module must compute what the whole one does whose channels are masked.

That is tried on a copy. Its channels are made twins first: those that leave are given the weights of those that stay,
and then nothing reads them any more. A norm over the channels, which no mask can stand for, takes the same mean and
variance over twins as over one of each, so it is compared as well. What does not come out the same is mixed up by the
cut: heads that a module counts by itself, groups of a convolution, channels that a reshape deals out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill.prune._graph import Run, dependency_graph, forward, group_of, is_depthwise, prune
from mobiledistill.prune._recurrent import Units

__all__ = ["MIXED_UP", "OF_OUTPUTS", "first_line", "objection"]

OF_OUTPUTS = "they are outputs of the model"
MIXED_UP = "the model fixes how they lie (heads, groups or a reshape), so that a cut would mix them up"

_TOLERANCE = 1e-3  # of the largest output


def objection(module: nn.Module, name: str, width: int, block: int, run: Run, expected: Sequence[Tensor]) -> str | None:
    """Why a group of so many channels cannot be cut in blocks of neighbours; None: it can.

    Args:
        module: the uncut module; not changed.
        name: of the group.
        width: how many channels it has.
        block: how many of them leave together.
        run: runs the module on example inputs.
        expected: what the uncut module answers.
    """
    trial = copy.deepcopy(module)
    kept = width // _least_factor(width // block)
    graph = dependency_graph(trial, run)
    group = group_of(trial, graph, name, list(range(width)))
    if any(_convolves_in_groups(item.dep.target.module) for item in group):
        return "a convolution in groups writes or reads them"
    try:
        _make_twins(group, kept)
    except (IndexError, RuntimeError):
        return "what is coupled with them cannot be followed (channels that a reshape or a shuffle moves)"
    try:
        masked = forward(trial, run)
        prune(trial, graph, name, list(range(width - block, width)))
        if [answer.shape for answer in forward(trial, run)] != [answer.shape for answer in expected]:
            return OF_OUTPUTS
        if kept < width - block:
            prune(trial, graph, name, list(range(kept, width - block)))
        answers = forward(trial, run)
    except InputError:
        return "a layer that they belong to shares its weight with one that they do not belong to"
    except Exception as error:  # whatever breaks when channels leave
        return f"without some of them the model breaks ({first_line(error)})"
    if not all(_close(answer, mask) for answer, mask in zip(answers, masked, strict=True)):
        return MIXED_UP
    return None


@torch.no_grad()
def _make_twins(group: Any, kept: int) -> None:
    """Makes channel ``i`` the twin of channel ``i % kept``, and lets nothing read those from ``kept`` on."""
    for item in group:
        twins, gone = [], []
        first: dict[tuple[int, int], int] = {}  # where a kept channel lies, and the how manieth time
        seen: dict[int, int] = {}
        for place, channel in sorted(zip(item.idxs, item.root_idxs, strict=True)):
            time = seen[channel] = seen.get(channel, -1) + 1
            if channel < kept:
                first[channel, time] = place
            else:
                gone.append(place)
                twins.append((place, channel % kept, time))
        pairs = [(place, first[channel, time]) for place, channel, time in twins if (channel, time) in first]
        places, sources = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        for tensor, axis in _written(item):
            tensor.index_copy_(axis, places, tensor.index_select(axis, sources))
        for tensor, axis in _read(item):
            tensor.index_fill_(axis, torch.tensor(gone, dtype=torch.long), 0.0)


def _written(item: Any) -> Iterator[tuple[Tensor, int]]:
    """Every tensor that has an entry for each channel of what an item of a group writes, and the axis of these."""
    part = item.dep.target.module
    if isinstance(part, nn.Parameter):
        yield part.data, item.dep.target.pruning_dim
    elif not isinstance(part, nn.Module) or isinstance(part, Units) or "out_channels" not in item.dep.handler.__name__:
        return  # what units remember matters to nobody once nothing reads them
    elif isinstance(part, nn.Embedding):
        yield part.weight.data, 1
    elif isinstance(part, nn.modules.conv._ConvTransposeNd):
        yield part.weight.data, 1
        yield from _of(part, "bias")
    else:
        yield from _of(part, "weight", "bias", "running_mean", "running_var")


def _read(item: Any) -> Iterator[tuple[Tensor, int]]:
    """Likewise of what it reads."""
    part, handler = item.dep.target.module, item.dep.handler.__name__
    if isinstance(part, Units):
        yield (part.tensor("weight_ih" if "in_channels" in handler else "weight_hh").data, 1)
    elif "in_channels" in handler and isinstance(part, nn.Linear | nn.modules.conv._ConvNd) and not is_depthwise(part):
        yield part.weight.data, 0 if isinstance(part, nn.modules.conv._ConvTransposeNd) else 1


def _of(part: nn.Module, *names: str) -> Iterator[tuple[Tensor, int]]:
    for name in names:
        tensor = getattr(part, name, None)
        if isinstance(tensor, Tensor) and tensor.numel() > 1:
            # A layer's channels come first, those of a norm over several axes last.
            yield tensor.data, -1 if isinstance(part, nn.LayerNorm) else 0


def _convolves_in_groups(part: object) -> bool:
    return isinstance(part, nn.modules.conv._ConvNd) and part.groups > 1 and not is_depthwise(part)


def _close(answer: Tensor, masked: Tensor) -> bool:
    if not masked.is_floating_point():
        return answer.shape == masked.shape
    largest = float(masked.abs().nan_to_num().max()) if masked.numel() else 0.0
    return torch.allclose(answer, masked, rtol=_TOLERANCE, atol=_TOLERANCE * largest, equal_nan=True)


def _least_factor(number: int) -> int:
    return next(factor for factor in range(2, number + 1) if number % factor == 0)


def first_line(error: Exception) -> str:
    """What went wrong, shortly."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]
