"""What is coupled with what: Torch-Pruning's dependency graph of a module, its groups by our names, one cut in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_map_only

from mobiledistill.quantize import KeepFloat

__all__ = [
    "LAYERS",
    "WRITERS",
    "Run",
    "coupled",
    "dependency_graph",
    "ends",
    "forward",
    "is_depthwise",
    "learning",
    "prune",
    "scorable",
]

Run = Callable[[nn.Module], tuple[Tensor, ...]]
"""Runs a module on example inputs, every signature of it, and returns all outputs."""

LAYERS = (nn.Conv2d, nn.Linear)
WRITERS = (*LAYERS, nn.Embedding)


def coupled(module: nn.Module, graph: Any) -> dict[str, Any]:
    """Torch-Pruning's groups by our names, in the module's own order."""
    order = {path: place for place, (path, _) in enumerate(module.named_modules())}
    named = {}
    for group in graph.get_all_groups(root_module_types=list(LAYERS)):
        writers, _ = ends(module, group)
        if writers:
            named[min(writers, key=order.__getitem__)] = group
    return dict(sorted(named.items(), key=lambda item: order[item[0]]))


def dependency_graph(module: nn.Module, run: Run) -> Any:
    import torch_pruning as tp

    run = _without_last_islands(module, run)
    with warnings.catch_warnings(), learning(module):  # the graph is read off the gradients' one
        warnings.simplefilter("ignore")
        # ignored_params: the constructor's own default is a list shared between all graphs of the process.
        return tp.DependencyGraph().build_dependency(
            module.eval(), example_inputs=(), forward_fn=lambda model, _: run(model), ignored_params=[]
        )


def _without_last_islands(module: nn.Module, run: Run) -> Run:
    """A run whose graph ends where float islands begin that no layer follows: they have no channels to cut.

    Torch-Pruning follows a channel into every entry of what it is flattened to, which takes minutes where such an
    island lays out thousands of boxes.
    """
    islands: list[bool] = []  # for each island called, in order: whether none of the layers came after it

    def note(part: nn.Module, *_: Any) -> None:
        if isinstance(part, KeepFloat):
            islands.append(True)
        elif isinstance(part, WRITERS):
            islands[:] = [False] * len(islands)

    with _hooked(note):
        forward(module, run)
    if not any(islands):
        return run

    def cut_short(model: nn.Module) -> tuple[Tensor, ...]:
        ends: list[Tensor] = []
        last = iter(islands)

        def end_here(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if not isinstance(part, KeepFloat) or not next(last):
                return None
            ends.extend(value for value in inputs if isinstance(value, Tensor))
            return tree_map_only(Tensor, Tensor.detach, output)

        with _hooked(end_here):
            outputs = run(model)
        return (*(output for output in outputs if output.grad_fn is not None), *ends)

    return cut_short


@contextmanager
def learning(module: nn.Module) -> Iterator[None]:
    """While this lasts, gradients reach every weight, frozen ones too."""
    frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def _hooked(hook: Callable[..., Any]) -> Iterator[None]:
    """Calls ``hook`` after every module, those too that a run makes for itself."""
    handle = register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def prune(module: nn.Module, graph: Any, name: str, gone: list[int]) -> None:
    """Cuts channels of a group out of the module, in place; what was frozen stays frozen."""
    import torch_pruning as tp

    frozen = [path for path, parameter in module.named_parameters() if not parameter.requires_grad]
    layer = module.get_submodule(name)
    by_type = tp.prune_linear_out_channels
    if isinstance(layer, nn.Embedding):
        by_type = tp.prune_embedding_out_channels
    elif isinstance(layer, nn.Conv2d):
        by_type = tp.prune_depthwise_conv_out_channels if is_depthwise(layer) else tp.prune_conv_out_channels
    graph.get_pruning_group(layer, by_type, idxs=gone).prune()
    for path in frozen:
        module.get_parameter(path).requires_grad_(False)


def ends(module: nn.Module, group: Any) -> tuple[list[str], list[str]]:
    paths = {id(part): path for path, part in module.named_modules() if isinstance(part, WRITERS)}
    writers: list[str] = []
    readers: list[str] = []
    for item in group:
        path = paths.get(id(item.dep.target.module))
        if path is None:
            continue
        is_writer = "out_channels" in item.dep.handler.__name__
        (writers if is_writer else readers).append(path)
    return writers, readers


def scorable(group: Any) -> list[Any]:
    """A group as Torch-Pruning's criteria read it: they sort places, but not the channels that these belong to."""
    from torch_pruning._helpers import GroupItem

    items = []
    for item in group:
        order = sorted(range(len(item.idxs)), key=item.idxs.__getitem__)
        one = GroupItem(item.dep, [item.idxs[place] for place in order])
        one.root_idxs = [item.root_idxs[place] for place in order]
        items.append(one)
    return items


def is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels and layer.groups > 1


def forward(module: nn.Module, run: Run) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return run(module.eval())
