"""Which residual blocks can be left out, and a module without them."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._parametrized import make_plain
from mobiledistill.prune._graph import Run, forward
from mobiledistill.prune._recurrent import RECURRENT

__all__ = ["Skip", "residual_blocks", "without_blocks"]


class Skip(nn.Module):
    """Stands where a block was left out, and hands on what the block was given first."""

    def forward(self, given: Tensor, *_: Any, **__: Any) -> Tensor:
        """The input itself."""
        return given


def residual_blocks(module: nn.Module, run: Run) -> tuple[str, ...]:
    """Paths of the blocks that can be left out: they add to what they are given, in a tensor of the same shape.

    A block is a part with layers of its own whose answer still depends on its input once all its layers are silenced:
    then something leads past them. Blocks may lie within others. Residual blocks of a CNN are found, layers of a
    Transformer and their halves, gates that multiply what they are given. Parts that share weights with others, or
    that are called in several places, stay: nothing would become smaller without one of them.

    Args:
        module: a float module; not changed.
        run: runs the module on example inputs.
    """
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    fitting: dict[str, bool] = {}

    def note(path: str) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], returned: Any) -> None:
            first = given[0] if given else None
            calls.setdefault(path, (given, named))
            fitting[path] = fitting.get(path, True) and _alike(first, returned)

        return hook

    handles = [
        part.register_forward_hook(note(path), with_kwargs=True)
        for path, part in module.named_modules()
        if path and any(True for _ in part.children()) and _layers(part) and _owns_its_weights(module, path)
    ]
    forward(module, run)
    for handle in handles:
        handle.remove()
    return tuple(
        path for path, fits in fitting.items() if fits and _leads_past(module.get_submodule(path), *calls[path])
    )


def without_blocks(module: nn.Module, blocks: Collection[str]) -> nn.Module:
    """A copy of ``module`` in which the blocks at these paths hand on what they are given.

    Raises:
        InputError: the module has no such part.
    """
    smaller = copy.deepcopy(module)
    outermost = [path for path in blocks if not any(path.startswith(f"{other}.") for other in blocks)]
    for path in outermost:
        parent, _, name = path.rpartition(".")
        try:
            smaller.get_submodule(path)
        except AttributeError:
            raise InputError(f"There is no block {path!r} that could be left out.") from None
        setattr(smaller.get_submodule(parent), name, Skip().train(smaller.training))
    return smaller


def _alike(given: Any, returned: Any) -> bool:
    return (
        isinstance(given, Tensor)
        and isinstance(returned, Tensor)
        and given.is_floating_point()
        and (given.shape, given.dtype) == (returned.shape, returned.dtype)
    )


def _owns_its_weights(module: nn.Module, block: str) -> bool:
    paths: dict[int, list[str]] = defaultdict(list)
    for path, parameter in module.named_parameters(remove_duplicate=False):
        paths[id(parameter)].append(path)
    inside = [[path.startswith(f"{block}.") for path in those] for those in paths.values()]
    return all(all(those) for those in inside if any(those))


def _layers(part: nn.Module) -> list[nn.Module]:
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention, *RECURRENT)
    return [layer for layer in part.modules() if isinstance(layer, kinds)]


def _leads_past(block: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    silent = copy.deepcopy(block).eval()
    make_plain(silent)
    first, *rest = given
    with torch.no_grad():
        for layer in _layers(silent):
            for parameter in layer.parameters(recurse=isinstance(layer, nn.MultiheadAttention)):
                parameter.zero_()
        noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0)).to(first)
        one, other = (silent(value, *rest, **named) for value in (noise, noise.roll(1, 0).flip(-1) + 1))
    return not torch.allclose(one, other, equal_nan=True)  # nothing divided by nothing leads nowhere
