"""A module as a graph of layers, for what ``torch.fx`` cannot follow or cannot look into.

``torch.export`` follows almost anything at fixed shapes, but returns bare operators on bare weights. Here the
weighted ones become modules again, under the paths that their weights had, so that everything behind
(folding, swapping, placing grids) reads both kinds of graph alike::

    before: linear = torch.ops.aten.linear.default(x, encoder_layers_0_fc1_weight, encoder_layers_0_fc1_bias)
    after:  encoder_layers_0_fc1 = self.encoder.layers.0.fc1(x)

Recurrent layers are taken apart into the linear layers of their gates, one step of the sequence after the other.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from converters import ConversionError, Program
from mobiledistill.quantize._recurrent import take_apart

__all__ = ["graph_of_layers"]

_aten = torch.ops.aten


def graph_of_layers(program: Program) -> fx.GraphModule:
    """The program's module as a graph of layers with plain positional inputs, at the shapes of its example inputs.

    Raises:
        ConversionError: ``torch.export`` cannot trace the module.
    """
    module = take_apart(copy.deepcopy(program.module).eval())
    inputs = tuple(value.contiguous() for value in program.inputs.values())
    try:
        with warnings.catch_warnings(), torch.no_grad():  # else a module's own no_grad stays a graph in the graph
            warnings.simplefilter("ignore")
            traced = torch.export.export(module, inputs).module(check_guards=False)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConversionError(
            f"{type(program.module).__name__} cannot be traced by torch.export ({reason[:300]});"
            " quantization needs a forward pass without data-dependent control flow."
        ) from error
    return _with_layers(traced)


def _with_layers(traced: fx.GraphModule) -> fx.GraphModule:
    layers: dict[tuple[Any, ...], str] = {}
    root = nn.Module()
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}

    def copied(node: fx.Node) -> fx.Node:
        if node not in made:  # a tensor that is no layer's weight
            path = str(node.target)
            if not _has(root, path):
                _put(root, path, _attribute(traced, path).detach())
            made[node] = graph.get_attr(path)
        return made[node]

    for node in traced.graph.nodes:
        if node.op in ("get_attr", "call_module"):  # the former are copied where they are read; the latter are guards
            continue
        if node.op == "call_function" and (layer := _layer(traced, node)) is not None:
            weight = str(node.args[_WEIGHTED[node.target][0]].target)
            key = (weight, str(node.target), str(node.args[2:]), str(node.kwargs))
            if key not in layers:
                layers[key] = _free_path(root, weight.removesuffix(".weight"))
                _put(root, layers[key], layer)
            (read,) = (node.args[_WEIGHTED[node.target][1]],)
            made[node] = graph.call_module(layers[key], (copied(read),))
            made[node].meta = {"val": node.meta.get("val")}
        elif node.op == "output":
            made[node] = graph.output(tuple(copied(one) for one in _flat(node.args[0])))
        else:
            made[node] = graph.node_copy(node, copied)
        made[node].meta.pop("nn_module_stack", None)
    result = fx.GraphModule(root, graph, type(traced).__name__)
    result.graph.eliminate_dead_code()
    result.delete_all_unused_submodules()
    result.recompile()
    return result.eval()


_WEIGHTED: dict[Any, tuple[int, int]] = {
    _aten.linear.default: (1, 0),
    _aten.conv1d.default: (1, 0),
    _aten.conv1d.padding: (1, 0),
    _aten.conv2d.default: (1, 0),
    _aten.conv2d.padding: (1, 0),
    _aten.embedding.default: (0, 1),
    _aten.batch_norm.default: (1, 0),
}
"""Operators that become layers: at which places they take their weight, and what they read."""


def _layer(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that an operator computes; None where its weights are no constants, or it has none."""
    if node.target not in _WEIGHTED:
        return None
    arguments = _named_arguments(node)
    values = {name: _constant(traced, value) for name, value in arguments.items()}
    weight = values.get("weight")
    if not isinstance(weight, Tensor) or any(
        isinstance(value, fx.Node) and name not in ("input", "indices") for name, value in values.items()
    ):
        return None
    build: Callable[[Tensor, dict[str, Any]], nn.Module] = _BUILDERS[node.target]
    with torch.no_grad():
        return build(weight.detach(), values).eval()


def _linear(weight: Tensor, values: dict[str, Any]) -> nn.Module:
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias=values.get("bias") is not None), weight, values)


def _convolution(weight: Tensor, values: dict[str, Any]) -> nn.Module:
    kind: type[nn.Conv1d | nn.Conv2d] = nn.Conv1d if weight.dim() == 3 else nn.Conv2d
    kernel: Any = tuple(weight.shape[2:])  # as many numbers as the kind has axes
    groups = values.get("groups", 1)
    layer: nn.Conv1d | nn.Conv2d = kind(
        weight.shape[1] * groups, weight.shape[0], kernel, groups=groups, bias=values.get("bias") is not None
    )
    layer.stride, layer.dilation = (_per_axis(values.get(name, 1), kernel) for name in ("stride", "dilation"))
    padding = values.get("padding", 0)
    layer.padding = padding if isinstance(padding, str) else _per_axis(padding, kernel)
    return _filled(layer, weight, values)


def _per_axis(value: int | list[int], kernel: tuple[int, ...]) -> tuple[int, ...]:
    numbers = [value] if isinstance(value, int) else value
    return tuple(numbers * len(kernel) if len(numbers) == 1 else numbers)


def _embedding(weight: Tensor, values: dict[str, Any]) -> nn.Module:
    return _filled(nn.Embedding(*weight.shape), weight, {})


def _batch_norm(weight: Tensor, values: dict[str, Any]) -> nn.Module:
    norm = (nn.BatchNorm2d if values["rank"] == 4 else nn.BatchNorm1d)(len(weight), eps=values["eps"])
    norm.running_mean, norm.running_var = values["running_mean"].clone(), values["running_var"].clone()
    return _filled(norm, weight, values)


def _filled(layer: nn.Module, weight: Tensor, values: dict[str, Any]) -> nn.Module:
    layer.weight = nn.Parameter(weight.clone())
    if isinstance(bias := values.get("bias"), Tensor):
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


_BUILDERS: dict[Any, Callable[[Tensor, dict[str, Any]], nn.Module]] = {
    _aten.linear.default: _linear,
    _aten.conv1d.default: _convolution,
    _aten.conv1d.padding: _convolution,
    _aten.conv2d.default: _convolution,
    _aten.conv2d.padding: _convolution,
    _aten.embedding.default: _embedding,
    _aten.batch_norm.default: _batch_norm,
}


def _named_arguments(node: fx.Node) -> dict[str, Any]:
    schema = node.target._schema.arguments  # type: ignore[union-attr]  # an operator of aten has one
    named = {argument.name: value for argument, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)
    value = node.args[0].meta.get("val") if isinstance(node.args[0], fx.Node) else None
    return named | {"rank": value.dim() if isinstance(value, Tensor) else 0}


def _constant(traced: fx.GraphModule, value: Any) -> Any:
    return _attribute(traced, str(value.target)) if isinstance(value, fx.Node) and value.op == "get_attr" else value


def _attribute(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part)
    return root


def _has(root: nn.Module, path: str) -> bool:
    try:
        _attribute(root, path)
    except AttributeError:
        return False
    return True


def _put(root: nn.Module, path: str, value: nn.Module | Tensor) -> None:
    """Puts a layer or a tensor at a path, with the modules in between that it needs."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    if isinstance(value, nn.Module):
        root.add_module(name, value)
    else:
        root.register_buffer(name, value)


def _free_path(root: nn.Module, wanted: str) -> str:
    path, number = wanted, 1
    while _has(root, path):
        path, number = f"{wanted}_{number}", number + 1
    return path


def _flat(value: Any) -> list[fx.Node]:
    if isinstance(value, fx.Node):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [node for part in parts for node in _flat(part)]
