"""Which channels hang together, and how to cut them.

Torch-Pruning finds what is coupled with what: the channels that a residual sum joins leave together or not at all.
A group is named by the first layer that writes its channels, so the name survives the cutting.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from converters import InputError
from mobiledistill.prune._graph import (
    LAYERS,
    WRITERS,
    Run,
    coupled,
    dependency_graph,
    ends,
    forward,
    is_depthwise,
    prune,
)

__all__ = ["ChannelGroup", "LayerShape", "Trials", "channel_groups", "cut", "layer_shapes"]

_OF_LAYERS = ("weight", "bias")
_BLOCKS = (1, 4, 8, 16, 24, 32, 48, 64, 96, 128)  # channels that can only leave together, tried in this order


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that leave together.

    Attributes:
        name: path of the first layer that writes them.
        channels: how many there are.
        writers: paths of all layers whose outputs they are.
        readers: paths of all layers that read them.
        block: neighbours that leave together: 1, or the width of an attention head.
    """

    name: str
    channels: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    block: int = 1

    def whole_blocks(self, channels: float) -> int:
        """The nearest number of channels that is a whole number of blocks, one at least."""
        return self.block * min(max(1, round(channels / self.block)), self.channels // self.block)


@dataclass(frozen=True)
class LayerShape:
    """What a layer costs, and which groups it shrinks with.

    Attributes:
        weights: number of its weights.
        macs: multiply-accumulates of one pass at batch 1 (one multiply-add counts as one); none in an embedding.
        channels: its output channels, each of which has a scale and a bias; none in an embedding.
        writes: name of the group its outputs belong to, None where they cannot be cut.
        reads: likewise of its inputs; None too for a depthwise layer, whose weights shrink with its outputs alone.
        blocks: the blocks that can be left out and that it lies in.
        rank: what a plan calls the rank of the product that may stand for it; None where none may.
        reduced: weights of that product for each rank that shrink with its inputs.
        expanded: likewise with its outputs.
        bits: what a plan calls the choice between more and fewer bits for its weights; None where there is none.
    """

    name: str
    weights: int
    macs: int
    channels: int
    writes: str | None
    reads: str | None
    blocks: tuple[str, ...] = ()
    rank: str | None = None
    reduced: int = 0
    expanded: int = 0
    bits: str | None = None


def channel_groups(module: nn.Module, run: Run) -> tuple[ChannelGroup, ...]:
    """The groups of channels that can be cut without changing the module's outputs' shapes.

    Every group is tried on a copy (one channel cut, one forward pass). Where that breaks the module, larger blocks of
    neighbours are tried, so that attention heads leave as a whole; what cannot be cut in any way is left alone. The
    module must count its heads by the width it finds, not by a number it was made with.

    Args:
        module: a float module; not changed.
        run: runs the module on example inputs.
    """
    expected = _output_shapes(module, run)
    found = []
    for name, group in coupled(module, dependency_graph(module, run)).items():
        width = len(group[0].idxs)
        blocks = [block for block in _BLOCKS if block < width and width % block == 0]
        block = next((block for block in blocks if _survives_cut(module, name, run, expected, block)), None)
        if block is not None:
            writers, readers = ends(module, group)
            found.append(ChannelGroup(name, width, tuple(writers), tuple(readers), block))
    return tuple(found)


def layer_shapes(
    module: nn.Module, run: Run, groups: Iterable[ChannelGroup], blocks: Iterable[str] = ()
) -> tuple[LayerShape, ...]:
    """Weights and multiply-accumulates of every layer and embedding, with the groups and blocks they shrink with."""
    blocks = tuple(blocks)
    positions: dict[str, int] = {}
    layers = {path: part for path, part in module.named_modules() if isinstance(part, WRITERS)}

    def hook_for(path: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            passes = output[0].numel() // layers[path].weight.shape[0]
            positions[path] = positions.get(path, 0) + (passes if isinstance(layers[path], LAYERS) else 0)

        return hook

    hooks = [part.register_forward_hook(hook_for(path)) for path, part in layers.items()]
    forward(module, run)
    for handle in hooks:
        handle.remove()
    writes = {path: group.name for group in groups for path in group.writers}
    reads = {path: group.name for group in groups for path in group.readers}
    return tuple(
        LayerShape(
            name=path,
            weights=part.weight.numel(),
            macs=part.weight.numel() * positions.get(path, 0),
            channels=part.weight.shape[0] if isinstance(part, LAYERS) else 0,
            writes=writes.get(path),
            reads=None if is_depthwise(part) else reads.get(path),
            blocks=tuple(block for block in blocks if path.startswith(f"{block}.")),
        )
        for path, part in layers.items()
    )


def cut(module: nn.Module, run: Run, channels: Mapping[str, int], scores: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``module`` in which each group keeps its ``channels`` most important channels.

    Where channels leave in blocks, ``channels`` counts whole ones and ``scores`` are equal within each.
    """
    smaller = copy.deepcopy(module)
    graph = dependency_graph(smaller, run)  # follows every cut by itself
    widths = {name: len(group[0].idxs) for name, group in coupled(smaller, graph).items()}
    for name, kept in channels.items():
        width = widths[name]
        if not 1 <= kept <= width:
            raise InputError(f"Group {name!r} has {width} channels, so it cannot keep {kept}; keep 1 to {width}.")
        if kept < width:
            gone = scores[name].argsort(stable=True)[: width - kept].tolist()
            prune(smaller, graph, name, sorted(gone))
    return smaller


class Trials:
    """Cuts a copy of a module for a moment, in one group at a time: what is coupled is found once for all of them.

    Args:
        module: a float module; not changed.
        run: runs the module on example inputs.
    """

    def __init__(self, module: nn.Module, run: Run) -> None:
        self._module = copy.deepcopy(module)
        self._run = run
        self._graph = dependency_graph(self._module, run)

    @contextmanager
    def cut(self, name: str, gone: list[int]) -> Iterator[nn.Module]:
        """The module without the channels ``gone`` of the group ``name``; afterwards it is whole again."""
        parts = list(self._module.modules())
        before = [(part, dict(part._parameters), dict(part._buffers), dict(part.__dict__)) for part in parts]
        prune(self._module, self._graph, name, gone)
        try:
            yield self._module
        finally:
            for part, parameters, buffers, attributes in before:
                part.__dict__.update(attributes)
                part._parameters.update(parameters)
                part._buffers.update(buffers)
            if any(name for _, parameters, _, _ in before for name in parameters if not name.endswith(_OF_LAYERS)):
                self._graph = dependency_graph(self._module, self._run)  # it follows free parameters by identity


def _survives_cut(module: nn.Module, name: str, run: Run, expected: list[tuple[int, ...]], block: int) -> bool:
    trial = copy.deepcopy(module)
    try:
        prune(trial, dependency_graph(trial, run), name, list(range(block)))
        return _output_shapes(trial, run) == expected
    except Exception:  # whatever breaks when a channel leaves: the group is left alone
        return False


def _output_shapes(module: nn.Module, run: Run) -> list[tuple[int, ...]]:
    return [tuple(output.shape) for output in forward(module, run)]
