"""From a module to a graph of layers that hold integers: traced, batch norms folded, layers swapped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from converters import ConversionError
from mobiledistill.quantize._modules import KeepFloat, QuantConv1d, QuantConv2d, QuantEmbedding, QuantLinear
from mobiledistill.quantize._schemes import Int4, LayerScheme, Mixed, Palette, WeightOnly
from mobiledistill.quantize._weights import coded

__all__ = ["KNOWN_LAYERS", "fold_batch_norms", "part_transposed", "swap_layers", "trace"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

KNOWN_LAYERS = (
    *(nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear, nn.Embedding, *_NORMS),
    *(nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.PReLU, KeepFloat),
)
"""Modules with weights that are quantized, folded, or meant to stay float; others are looked into."""


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # so that sizes of inputs may slice a buffer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, KeepFloat) or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> fx.GraphModule:
    """The module's graph, as it is if it has one; its layers keep their paths, and parts that stay float stay whole.

    Raises:
        ConversionError: the module cannot be traced by ``torch.fx``.
    """
    if isinstance(module, fx.GraphModule):
        return module
    tracer = _Tracer()
    try:
        graph = tracer.trace(module.eval())
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConversionError(
            f"{type(module).__name__} cannot be traced by torch.fx ({reason});"
            " quantization needs a forward pass without data-dependent control flow."
        ) from error
    return fx.GraphModule(tracer.root, graph, type(module).__name__)


def fold_batch_norms(traced: Mapping[str, fx.GraphModule]) -> None:
    """Folds each batch norm into the layer before it, in place, or makes it a 1x1 depthwise convolution.

    A layer that is called several times takes a norm in only if that very norm follows every call.
    """
    followers: dict[int, set[int | None]] = defaultdict(set)
    for graph in traced.values():
        for node in graph.graph.nodes:
            if node.op == "call_module":
                followers[id(graph.get_submodule(str(node.target)))].add(_norm_behind(graph, node))
    made: dict[tuple[int, ...], nn.Module] = {}
    for graph in traced.values():
        _fold(graph, {layer for layer, norms in followers.items() if len(norms) == 1}, made)


def _norm_behind(graph: fx.GraphModule, node: fx.Node) -> int | None:
    """The norm that alone reads what a node returns."""
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    norm = graph.get_submodule(str(users[0].target))
    return id(norm) if isinstance(norm, _NORMS) else None


def _fold(graph: fx.GraphModule, foldable: set[int], made: dict[tuple[int, ...], nn.Module]) -> None:
    modules: dict[str, nn.Module] = dict(graph.named_modules(remove_duplicate=False))
    for node in list(graph.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        source = node.args[0]
        before = modules.get(str(source.target)) if source.op == "call_module" else None
        folded = _folded(before, norm) if id(before) in foldable and len(source.users) == 1 else None
        if folded is not None:
            graph.set_submodule(str(source.target), made.setdefault((id(before), id(norm)), folded))
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
        elif isinstance(norm, nn.BatchNorm2d):
            graph.set_submodule(str(node.target), made.setdefault((id(norm),), _as_depthwise(norm)))
    graph.delete_all_unused_submodules()


def _folded(layer: nn.Module | None, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module | None:
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return fuse_conv_bn_eval(layer, norm)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return None


def _as_depthwise(norm: nn.BatchNorm2d) -> nn.Conv2d:
    channels = norm.num_features
    identity = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
    nn.init.ones_(identity.weight)
    return fuse_conv_bn_eval(identity.eval(), norm)


def part_transposed(module: nn.Module) -> nn.Module:
    """Writes transposed convolutions whose kernels do not overlap as a 1x1 convolution and a shuffle (in place).

    Every runtime computes those in integers, and shuffles exactly::

        before: ConvTranspose2d(48, 32, kernel_size=2, stride=2)
        after:  Conv2d(48, 128, 1), PixelShuffle(2)
    """
    for name, part in list(module.named_children()):
        if isinstance(part, nn.ConvTranspose2d) and _tiles(part):
            setattr(module, name, _as_shuffle(part))
        else:
            part_transposed(part)
    return module


def _tiles(layer: nn.ConvTranspose2d) -> bool:
    square = len({*layer.kernel_size, *layer.stride}) == 1
    return square and layer.groups == 1 and {*layer.padding, *layer.output_padding} == {0} and layer.dilation == (1, 1)


def _as_shuffle(layer: nn.ConvTranspose2d) -> nn.Sequential:
    size = layer.stride[0]
    conv = nn.Conv2d(layer.in_channels, layer.out_channels * size**2, 1, bias=layer.bias is not None)
    with torch.no_grad():
        conv.weight.copy_(layer.weight.permute(1, 2, 3, 0).reshape(-1, layer.in_channels, 1, 1))
        if conv.bias is not None and layer.bias is not None:
            conv.bias.copy_(layer.bias.repeat_interleave(size**2))
    return nn.Sequential(conv, nn.PixelShuffle(size))


def swap_layers(traced: Mapping[str, fx.GraphModule], scheme: Mixed) -> None:
    """Puts layers that hold integers in the places of the float ones that a graph calls, in place."""
    made: dict[int, nn.Module | None] = {}
    originals: list[Any] = []  # keeps the modules alive whose identities are used as keys
    for graph in traced.values():
        for node in graph.graph.nodes:
            if node.op != "call_module":
                continue
            part = graph.get_submodule(str(node.target))
            if id(part) not in made:
                originals.append(part)
                made[id(part)] = _swapped(part, scheme.of(str(node.target)))
                if (twin := made[id(part)]) is not None:
                    made[id(twin)] = None
            if (twin := made[id(part)]) is not None:
                graph.set_submodule(str(node.target), twin)


def _swapped(part: nn.Module, scheme: LayerScheme) -> nn.Module | None:
    if isinstance(scheme, WeightOnly | Palette):
        return coded(part, scheme)
    if scheme is None:
        return None
    bits = 4 if isinstance(scheme, Int4) else 8
    match part:
        case nn.Conv1d():
            return QuantConv1d(part, bits)
        case nn.Conv2d():
            return QuantConv2d(part, bits)
        case nn.Linear():
            return QuantLinear(part, bits)
        case nn.Embedding():
            return QuantEmbedding(part)
    return None
