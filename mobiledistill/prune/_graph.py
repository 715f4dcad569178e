"""What is coupled with what: Torch-Pruning's dependency graph of a module, its groups by our names, one cut in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_map_only

from converters import InputError
from mobiledistill.prune._recurrent import RECURRENT, Units, standing_in, units_pruner
from mobiledistill.quantize import KeepFloat

__all__ = [
    "LAYERS",
    "WRITERS",
    "Run",
    "check_layers_called",
    "coupled",
    "dependency_graph",
    "ends",
    "evaluating",
    "forward",
    "group_of",
    "is_depthwise",
    "learning",
    "prune",
    "scorable",
]

Run = Callable[[nn.Module], tuple[Tensor, ...]]
"""Runs a module on example inputs, every signature of it, and returns all outputs."""

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
WRITERS = (*LAYERS, nn.Embedding)


def coupled(module: nn.Module, graph: Any) -> dict[str, Any]:
    """Torch-Pruning's groups by our names, in the module's own order."""
    order = {path: place for place, (path, _) in enumerate(module.named_modules())}
    named = {}
    for group in graph.get_all_groups(root_module_types=[*LAYERS, Units]):
        writers, _ = ends(module, group)
        if writers:
            named[min(writers, key=order.__getitem__)] = group
    return dict(sorted(named.items(), key=lambda item: order[item[0]]))


def dependency_graph(module: nn.Module, run: Run) -> Any:
    import torch_pruning as tp

    run = _without_last_islands(module, run)
    # The graph is read off the gradients' one.
    with warnings.catch_warnings(), evaluating(module), learning(module), standing_in(module) as stood_for:
        warnings.simplefilter("ignore")
        # ignored_params: the constructor's own default is a list shared between all graphs of the process.
        return tp.DependencyGraph().build_dependency(
            module,
            example_inputs=(),
            forward_fn=lambda model, _: run(model),
            customized_pruners={Units: units_pruner()},
            ignored_layers=stood_for,
            ignored_params=[],
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


def check_layers_called(module: nn.Module, run: Run, losses: Callable[[nn.Module], Iterable[Tensor]]) -> None:
    """Refuses a module that calls other layers on data than on the example inputs.

    Raises:
        InputError: the first such layer, by name.
    """
    paths = {part: path for path, part in module.named_modules() if isinstance(part, (*WRITERS, *RECURRENT))}
    called: set[nn.Module] = set()

    def note(part: nn.Module, *_: Any) -> None:
        called.add(part)

    with torch.no_grad(), evaluating(module), _hooked(note):
        run(module)
        known = set(called)
        for _ in losses(module):
            pass
    if strange := [path for part, path in paths.items() if part in called - known]:
        raise InputError(
            f"Layer {strange[0]!r} answers on training batches but not on the example inputs, so what hangs together"
            " with it cannot be known: which layers run may not depend on the data. Give a student, a module without"
            " such branches."
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """While this lasts, the module is in evaluation mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


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
    """Cuts channels of a group out of the module, in place; what was frozen or shared stays so.

    Raises:
        InputError: a weight that layers share would not be the same in all of them any more.
    """
    frozen = [path for path, parameter in module.named_parameters() if not parameter.requires_grad]
    shared = _shared_weights(module)
    group_of(module, graph, name, gone).prune(record_history=False)
    for paths in shared:
        _share_again(module, paths)
    for path in frozen:
        module.get_parameter(path).requires_grad_(False)


def _shared_weights(module: nn.Module) -> list[list[str]]:
    """The paths of every weight that has several."""
    paths: dict[int, list[str]] = {}
    for path, parameter in module.named_parameters(remove_duplicate=False):
        paths.setdefault(id(parameter), []).append(path)
    return [those for those in paths.values() if len(those) > 1]


def _share_again(module: nn.Module, paths: list[str]) -> None:
    first = module.get_parameter(paths[0])
    for path in paths[1:]:
        other = module.get_parameter(path)
        if not torch.equal(other, first):
            raise InputError(f"{path!r} and {paths[0]!r} are one weight, which cannot be cut in one of them alone.")
        owner, _, kind = path.rpartition(".")
        setattr(module.get_submodule(owner), kind, first)


def group_of(module: nn.Module, graph: Any, name: str, channels: list[int]) -> Any:
    """Some channels of a group, with everything that is coupled with them."""
    import torch_pruning as tp

    root = module.get_submodule(name)
    writing = tp.prune_linear_out_channels
    if isinstance(root, RECURRENT):
        root = next(part for part in graph.module2node if isinstance(part, Units) and part.layer is root)
        writing = graph.get_pruner_of_module(root).prune_out_channels
    elif isinstance(root, nn.Embedding):
        writing = tp.prune_embedding_out_channels
    elif isinstance(root, nn.Conv1d | nn.Conv2d):
        writing = tp.prune_depthwise_conv_out_channels if is_depthwise(root) else tp.prune_conv_out_channels
    return graph.get_pruning_group(root, writing, idxs=channels)


def ends(module: nn.Module, group: Any) -> tuple[list[str], list[str]]:
    """Paths of the layers that write a group, and of those that read it."""
    paths = {id(part): path for path, part in module.named_modules() if isinstance(part, (*WRITERS, *RECURRENT))}
    writers: list[str] = []
    readers: list[str] = []
    for item in group:
        part = item.dep.target.module
        path = paths.get(id(part.layer if isinstance(part, Units) else part))
        found = writers if "out_channels" in item.dep.handler.__name__ else readers
        if path is not None and path not in found:
            found.append(path)
    return writers, readers


def scorable(group: Any) -> list[Any]:
    """A group as Torch-Pruning's criteria read it.

    They sort places, but not the channels that these belong to. And they know nothing of recurrent layers, whose gates
    look like linear layers to them.
    """
    from torch_pruning._helpers import GroupItem

    items = []
    for item in group:
        order = sorted(range(len(item.idxs)), key=item.idxs.__getitem__)
        for dep in _linears(item.dep):
            one = GroupItem(dep, [item.idxs[place] for place in order])
            one.root_idxs = [item.root_idxs[place] for place in order]
            items.append(one)
    return items


def _linears(dep: Any) -> list[Any]:
    """What a dependency on units is to a criterion: on a linear layer for each matrix that has a row or column each."""
    import torch_pruning as tp
    from torch_pruning.dependency.dependency import Dependency
    from torch_pruning.dependency.node import Node

    units = dep.target.module
    if not isinstance(units, Units):
        return [dep]

    def one(kind: str, writes: bool) -> Any:
        weight = units.tensor(kind)
        linear = nn.Linear(1, 1, bias=False)
        linear.weight = nn.Parameter(_by_unit(weight.detach(), units.size) if writes else weight.detach())
        if weight.grad is not None:
            linear.weight.grad = _by_unit(weight.grad, units.size) if writes else weight.grad
        handler = tp.prune_linear_out_channels if writes else tp.prune_linear_in_channels
        node = Node(linear, None)
        return Dependency(handler, handler, node, node)

    if "in_channels" in dep.handler.__name__:
        return [one("weight_ih", writes=False)]
    return [one("weight_ih", writes=True), one("weight_hh", writes=True), one("weight_hh", writes=False)]


def _by_unit(gates: Tensor, size: int) -> Tensor:
    """A row for each unit, from a row for each of its gates."""
    return gates.reshape(-1, size, gates.shape[1]).transpose(0, 1).flatten(1)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether every channel has a filter of its own."""
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == layer.in_channels and layer.groups > 1


def forward(module: nn.Module, run: Run) -> tuple[Tensor, ...]:
    with torch.no_grad(), evaluating(module):
        return run(module)
