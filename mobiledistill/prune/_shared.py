"""Blocks of the same shape with one set of weights between them, as in ALBERT."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from converters import InputError
from mobiledistill.prune._graph import WRITERS
from mobiledistill.prune._recurrent import RECURRENT

__all__ = ["share_layers"]

_KINDS = (*WRITERS, nn.modules.conv._ConvTransposeNd, nn.MultiheadAttention, *RECURRENT)


def share_layers(module: nn.Module, blocks: Sequence[str], *, start: Literal["first", "mean"] = "first") -> nn.Module:
    """A copy of a module in which blocks of the same shape call the same layers.

    You gain the bytes of all blocks but one, in .tflite, .mlpackage and .onnx files alike, and nothing in time: every
    block is still computed. You lose what the blocks did differently; train afterwards. Norms and what else is no layer
    stay each block's own, so that batch norms keep the statistics of their place. Cut before or after: channels of a
    shared layer leave in all blocks at once. Lan et al. 2020, https://arxiv.org/abs/1909.11942.

    Example:
        >>> layers = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(3)]
        >>> shared = share_layers(nn.Sequential(*layers), ["0", "1", "2"])
        >>> shared[2][1] is shared[0][1], shared[2][0] is shared[0][0]
        (True, False)
        >>> sum(p.numel() for p in shared.parameters() if p.dim() == 2)
        64

    Args:
        module: not changed.
        blocks: paths of the blocks, two or more.
        start: the weights that they begin with, those of the first block or the mean of all. Hidden units of blocks
            that were trained apart do not lie in the same order, and then a mean of them is worth little.

    Raises:
        InputError: a block is not there, is within another one, or differs in its layers, which are named.
    """
    if len(set(blocks)) < 2 or len(set(blocks)) < len(blocks):
        raise InputError(f"Sharing needs two or more different blocks, but got {list(blocks)!r}.")
    if start not in ("first", "mean"):
        raise InputError(f"start must be 'first' or 'mean', but got {start!r}.")
    shared = copy.deepcopy(module)
    first, *others = (_layers(shared, path, blocks) for path in blocks)
    for path, layers in zip(blocks[1:], others, strict=True):
        _check_alike(blocks[0], first, path, layers)
    with torch.no_grad():
        for name, layer in first.items() if start == "mean" else ():
            for kind, parameter in layer.named_parameters():
                every: list[torch.Tensor] = [parameter, *(layers[name].get_parameter(kind) for layers in others)]
                parameter.copy_(torch.stack(every).mean(0))
    for path, layers in zip(blocks[1:], others, strict=True):
        for name in layers:
            owner, _, last = f"{path}.{name}".rstrip(".").rpartition(".")
            setattr(shared.get_submodule(owner), last, first[name])
    return shared


def _layers(module: nn.Module, path: str, blocks: Sequence[str]) -> dict[str, nn.Module]:
    """The layers of a block by their paths within it."""
    for other in blocks:
        if path.startswith(f"{other}.") or not path:
            raise InputError(f"Block {path!r} lies within {other!r}; name blocks beside each other.")
    try:
        block = module.get_submodule(path)
    except AttributeError:
        raise InputError(f"There is no block {path!r} that could share its layers.") from None
    found: dict[str, nn.Module] = {}
    for name, part in block.named_modules():
        if isinstance(part, _KINDS) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = part
    if not found:
        raise InputError(f"Block {path!r} has no layers that could be shared.")
    return found


def _check_alike(one: str, layers: dict[str, nn.Module], other: str, others: dict[str, nn.Module]) -> None:
    if alone := sorted(layers.keys() ^ others.keys()):
        where = one if alone[0] in layers else other
        raise InputError(f"Blocks {one!r} and {other!r} differ: {alone[0]!r} is in {where!r} alone.")
    for name, layer in layers.items():
        if repr(layer) != repr(others[name]):
            raise InputError(
                f"Blocks {one!r} and {other!r} differ: layer {name!r} is {layer!r} in one and {others[name]!r} in the"
                " other."
            )
