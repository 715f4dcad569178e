"""Which channels hang together, and how to cut them.

Torch-Pruning finds what is coupled with what: the channels that a residual sum joins leave together or not at all.
A group is named by the first layer that writes its channels, so the name survives the cutting.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

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
from mobiledistill.prune._proof import MIXED_UP, OF_OUTPUTS, first_line, objection
from mobiledistill.prune._recurrent import RECURRENT, matrices

__all__ = [
    "ChannelGroup",
    "FixedGroup",
    "LayerShape",
    "Trials",
    "channel_groups",
    "cut",
    "examined_groups",
    "fixed_groups",
    "layer_shapes",
]

_ALONE = "there is one of them"
_OF_LAYERS = ("weight", "bias")
_OF_INPUTS = ("weight_ih", "weight_ih_l0", "weight_ih_l0_reverse")  # of recurrent layers: those that units do not read
_UNCUT = (nn.modules.conv._ConvTransposeNd, nn.MultiheadAttention)  # layers that keep their width
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
        channels_in: how many channels one of its output channels reads: 1 where a layer is depthwise.
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
    channels_in: int
    writes: str | None
    reads: str | None
    blocks: tuple[str, ...] = ()
    rank: str | None = None
    reduced: int = 0
    expanded: int = 0
    bits: str | None = None


@dataclass(frozen=True)
class FixedGroup:
    """Channels that stay, and why.

    Attributes:
        name: path of the first layer that writes them.
        reason: why they cannot be cut.
    """

    name: str
    reason: str

    @property
    def is_plain(self) -> bool:
        """Whether nobody would expect otherwise: the model's outputs, or a single channel."""
        return self.reason in (OF_OUTPUTS, _ALONE)


def channel_groups(module: nn.Module, run: Run) -> tuple[ChannelGroup, ...]:
    """The groups of channels that can be cut, so that what is left computes what it did before.

    Every group is tried on a copy: cut, the module must answer as it does when nothing reads these channels any more.
    Where it does not, larger blocks of neighbours are tried, so that attention heads leave as a whole; what cannot be
    cut in any way is left alone. The module must count its heads by the width it finds, not by a number it was made
    with.

    Args:
        module: a float module; not changed.
        run: runs the module on example inputs.
    """
    return tuple(group for group in examined_groups(module, run) if isinstance(group, ChannelGroup))


def fixed_groups(module: nn.Module, run: Run) -> tuple[FixedGroup, ...]:
    """The groups of channels that cannot be cut, with the reasons."""
    return tuple(group for group in examined_groups(module, run) if isinstance(group, FixedGroup))


def examined_groups(module: nn.Module, run: Run) -> tuple[ChannelGroup | FixedGroup, ...]:
    """All groups of channels, those that can be cut and those that cannot."""
    expected = forward(module, run)
    try:
        found = coupled(module, dependency_graph(module, run))
    except Exception as error:  # whatever Torch-Pruning does not understand
        reason = f"what is coupled cannot be found out ({first_line(error)})"
        return tuple(FixedGroup(path, reason) for path, part in module.named_modules() if isinstance(part, LAYERS))
    return tuple(_examined(module, run, name, group, expected) for name, group in found.items())


def layer_shapes(
    module: nn.Module, run: Run, groups: Iterable[ChannelGroup], blocks: Iterable[str] = ()
) -> tuple[LayerShape, ...]:
    """Weights and multiply-accumulates of layers and embeddings, with the groups and blocks they shrink with.

    Listed are linear layers, convolutions of one and two axes, recurrent layers and embeddings, which can be cut, and
    what stays as it is: transposed convolutions and what ``nn.MultiheadAttention`` makes of its inputs.
    """
    blocks = tuple(blocks)
    positions: dict[str, float] = {}
    kinds = (*WRITERS, *RECURRENT, *_UNCUT)
    layers = {path: part for path, part in module.named_modules() if isinstance(part, kinds)}

    def hook_for(path: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            for weight, passes in _passes(layer, inputs, named, output).items():
                at = f"{path}.{weight}"
                positions[at] = positions.get(at, 0) + passes

        return hook

    hooks = [part.register_forward_hook(hook_for(path, part), with_kwargs=True) for path, part in layers.items()]
    forward(module, run)
    for handle in hooks:
        handle.remove()
    writes = {path: group.name for group in groups for path in group.writers}
    # A recurrent layer hears its own units too; here it is what it is given that counts.
    reads = {path: group.name for group in groups for path in group.readers if path in group.writers}
    reads.update({path: group.name for group in groups for path in group.readers if path not in group.writers})
    shapes = []
    for path, part in layers.items():
        for name, weight in _weights(part):
            by_units = isinstance(part, RECURRENT) and name not in _OF_INPUTS
            shapes.append(
                LayerShape(
                    name=path if name == "weight" else f"{path}.{name}",
                    weights=weight.numel(),
                    macs=round(weight.numel() * positions.get(f"{path}.{name}", 0)),
                    channels=_channels(part, weight),
                    channels_in=weight.shape[1],
                    writes=writes.get(path),
                    reads=None if is_depthwise(part) else (writes if by_units else reads).get(path),
                    blocks=tuple(block for block in blocks if path.startswith(f"{block}.")),
                )
            )
    return tuple(shapes)


def cut(module: nn.Module, run: Run, channels: Mapping[str, int], scores: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``module`` in which each group keeps its ``channels`` most important channels.

    Where channels leave in blocks, ``channels`` counts whole ones and ``scores`` are equal within each.
    """
    smaller = copy.deepcopy(module)
    if not channels:
        return smaller
    graph = dependency_graph(smaller, run)  # follows every cut by itself
    widths = {name: len(group[0].idxs) for name, group in coupled(smaller, graph).items()}
    for name, kept in channels.items():
        if name not in widths:
            raise InputError(f"There is no group of channels {name!r}; there are {', '.join(widths)}.")
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
        if self._graph is None:
            self._graph = dependency_graph(self._module, self._run)
        prune(self._module, self._graph, name, gone)
        try:
            yield self._module
        finally:
            for part, parameters, buffers, attributes in before:
                part.__dict__.update(attributes)
                part._parameters.update(parameters)
                part._buffers.update(buffers)
            layers = [parameters for part, parameters, _, _ in before if not isinstance(part, RECURRENT)]
            if any(name for parameters in layers for name in parameters if not name.endswith(_OF_LAYERS)):
                self._graph = None  # it follows free parameters by identity


def _weights(layer: nn.Module) -> list[tuple[str, Tensor]]:
    if isinstance(layer, RECURRENT):
        return list(matrices(layer).items())
    if isinstance(layer, nn.MultiheadAttention):
        return [(name, value) for name, value in layer.named_parameters(recurse=False) if value.ndim == 2]
    return [("weight", cast(Tensor, layer.weight))]


def _channels(layer: nn.Module, weight: Tensor) -> int:
    if isinstance(layer, nn.Embedding):
        return 0
    return layer.out_channels if isinstance(layer, nn.modules.conv._ConvTransposeNd) else weight.shape[0]


def _passes(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> dict[str, float]:
    """How often a call multiplies by each of a layer's weights."""
    if isinstance(layer, nn.Embedding):
        return {}
    if isinstance(layer, RECURRENT):
        steps = getattr(inputs[0], "data", inputs[0]).numel() // layer.input_size
        return dict.fromkeys(matrices(layer), steps)
    if isinstance(layer, nn.MultiheadAttention):
        asked, keys, values = (*inputs, *(named[name] for name in ("query", "key", "value") if name in named))[:3]
        of_each = asked.numel() / layer.embed_dim, keys.numel() / layer.kdim, values.numel() / layer.vdim
        apart = dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), of_each, strict=True))
        return {**apart, "in_proj_weight": sum(of_each) / 3, "out_proj.weight": of_each[0]}
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return {"weight": inputs[0].numel() / layer.in_channels}
    return {"weight": output.numel() / cast(Tensor, layer.weight).shape[0]}


def _examined(
    module: nn.Module, run: Run, name: str, group: Any, expected: tuple[Tensor, ...]
) -> ChannelGroup | FixedGroup:
    width = len(group[0].idxs)
    reasons = []
    for block in (block for block in _BLOCKS if block < width and width % block == 0):
        reason = objection(module, name, width, block, run, expected)
        if reason is None:
            writers, readers = ends(module, group)
            return ChannelGroup(name, width, tuple(writers), tuple(readers), block)
        reasons.append(reason)
    plain = reasons[0] if reasons else _ALONE
    return FixedGroup(name, MIXED_UP if MIXED_UP in reasons else plain)
