"""From a trained float module to one that holds integers: prepare, calibrate, (train,) freeze.

The module is traced by ``torch.fx``, so its layers keep their paths. Batch norm is folded into the layer before
it, or becomes a 1x1 depthwise convolution where there is none. Then every value that an integer kernel reads or
writes gets a grid: inputs, layers (behind a ReLU that follows), sums and products. Averages keep the grid they
read, because mobile kernels do.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from converters import ConversionError
from mobiledistill.quantize._modules import ActivationQuantizer, QuantConv2d, QuantizedLayer, QuantLinear

__all__ = ["calibrate", "freeze", "prepare"]

_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
_ACTIVATION_CALLS = ("relu", "relu_", torch.relu, F.relu, F.relu6)
_ARITHMETIC = (operator.add, operator.iadd, torch.add, operator.mul, torch.mul)
_AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_AVERAGE_CALLS = ("mean", torch.mean, F.avg_pool2d, F.adaptive_avg_pool2d)
_GRID_KEEPERS = (nn.Flatten, nn.MaxPool2d, nn.Identity, nn.Dropout)
_GRID_KEEPING_CALLS = ("flatten", "view", "reshape", torch.flatten, torch.reshape, F.max_pool2d)


def prepare(signatures: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Trainable copies that round as the integers will; the modules given are not touched.

    Layers keep their paths, and what several signatures share they go on sharing. Call ``calibrate`` next: until
    then grids are arbitrary.

    Args:
        signatures: the module behind each signature.

    Raises:
        ConversionError: a module cannot be traced by ``torch.fx``.
    """
    copies = copy.deepcopy(dict(signatures))
    shared: dict[tuple[int, ...], nn.Module] = {}
    prepared = nn.ModuleDict()
    for name, module in copies.items():
        traced = _trace(module)
        _fold_batch_norms(traced, shared)
        _swap_layers(traced, shared)
        _insert_quantizers(traced)
        traced.graph.lint()
        traced.recompile()
        prepared[name] = traced
    return prepared


def calibrate(prepared: nn.ModuleDict, inputs: Mapping[str, Mapping[str, Tensor]], percentile: float) -> None:
    """Sets every activation grid from real inputs, given by signature (in place)."""
    quantizers = [m for m in prepared.modules() if isinstance(m, ActivationQuantizer)]
    for quantizer in quantizers:
        quantizer.observed = []
    prepared.eval()
    with torch.no_grad():
        for name, module in prepared.items():
            module(*inputs[name].values())
    for quantizer in quantizers:
        quantizer.settle(percentile)


def freeze(prepared: nn.ModuleDict) -> nn.ModuleDict:
    """A copy whose integers are final and whose forward pass emits ``quantized_decomposed`` operators.

    Biases move to whole steps of the accumulator (input scale times weight scale), where integer kernels keep them:
    what is left between the module and a runtime is then the rounding of exact ties.
    """
    frozen = copy.deepcopy(prepared).eval()
    for quantizer in {m for m in frozen.modules() if isinstance(m, ActivationQuantizer)}:
        quantizer.freeze()
    scales = _input_scales(frozen)
    for layer in {m for m in frozen.modules() if isinstance(m, QuantizedLayer)}:
        layer.freeze(scales[layer])
    return frozen


def _input_scales(frozen: nn.ModuleDict) -> dict[nn.Module, float]:
    """The scale of the grid that each layer reads; a layer of several signatures reads the first one's."""
    scales: dict[nn.Module, float] = {}
    for traced in frozen.values():
        if not isinstance(traced, fx.GraphModule):
            raise ConversionError("freeze needs what prepare returned; prepare and calibrate the modules first.")
        modules = dict(traced.named_modules())
        for node in traced.graph.nodes:
            layer = modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, QuantizedLayer):
                source = node.all_input_nodes[0]
                while not isinstance(modules.get(str(source.target)), ActivationQuantizer):
                    source = source.all_input_nodes[0]
                scales.setdefault(layer, modules[str(source.target)].scale_value)
    return scales


def _trace(module: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(module.eval())
    except Exception as error:
        raise ConversionError(
            f"{type(module).__name__} cannot be traced by torch.fx ({str(error).splitlines()[0]});"
            " quantization needs a forward pass without data-dependent control flow."
        ) from error


def _fold_batch_norms(traced: fx.GraphModule, shared: dict[tuple[int, ...], nn.Module]) -> None:
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        source = node.args[0]
        before = modules.get(str(source.target)) if source.op == "call_module" else None
        folded = _folded(before, norm) if len(source.users) == 1 else None
        if folded is not None:
            traced.set_submodule(str(source.target), shared.setdefault((id(before), id(norm)), folded))
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
        elif isinstance(norm, nn.BatchNorm2d):
            traced.set_submodule(str(node.target), shared.setdefault((id(norm),), _as_depthwise(norm)))
    traced.delete_all_unused_submodules()


def _folded(layer: nn.Module | None, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module | None:
    if isinstance(layer, nn.Conv2d):
        return fuse_conv_bn_eval(layer, norm)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return None


def _as_depthwise(norm: nn.BatchNorm2d) -> nn.Conv2d:
    channels = norm.num_features
    identity = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
    nn.init.ones_(identity.weight)
    return fuse_conv_bn_eval(identity.eval(), norm)


def _swap_layers(traced: fx.GraphModule, shared: dict[tuple[int, ...], nn.Module]) -> None:
    for path, part in list(traced.named_modules()):
        if isinstance(part, nn.Conv2d):
            traced.set_submodule(path, shared.setdefault((id(part), 0), QuantConv2d(part)))
        elif isinstance(part, nn.Linear):
            traced.set_submodule(path, shared.setdefault((id(part), 0), QuantLinear(part)))


def _insert_quantizers(traced: fx.GraphModule) -> None:
    """Gives every value that an integer kernel reads or writes a grid.

    ``grids`` maps a node to the path of the quantizer whose grid its value lies on.
    """
    grids: dict[fx.Node, str] = {}
    for node in list(traced.graph.nodes):
        if _is_layer(traced, node) or _is_call(node, _ARITHMETIC):
            for source in node.all_input_nodes:
                if source not in grids:
                    _quantize_after(traced, source, _path_of(source), grids)
            if not _feeds_one_activation(traced, node):
                _quantize_after(traced, node, _path_of(node), grids)
        elif _is_activation(traced, node):
            _quantize_after(traced, node, _path_of(node), grids)
        elif node.all_input_nodes and (path := grids.get(node.all_input_nodes[0])) is not None:
            if _is_module(traced, node, _AVERAGES) or _is_call(node, _AVERAGE_CALLS):
                _quantize_after(traced, node, path, grids)
            elif _is_module(traced, node, _GRID_KEEPERS) or _is_call(node, _GRID_KEEPING_CALLS):
                grids[node] = path


def _quantize_after(traced: fx.GraphModule, node: fx.Node, path: str, grids: dict[fx.Node, str]) -> None:
    if path not in dict(traced.named_modules()):
        traced.add_submodule(path, ActivationQuantizer())
    with traced.graph.inserting_after(node):
        quantized = traced.graph.call_module(path, (node,))
    node.replace_all_uses_with(quantized, delete_user_cb=lambda user: user is not quantized)
    grids[quantized] = path
    grids[node] = path


def _path_of(node: fx.Node) -> str:
    return f"grid_{node.name}"


def _is_layer(traced: fx.GraphModule, node: fx.Node) -> bool:
    return _is_module(traced, node, (QuantizedLayer,))


def _is_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    return _is_module(traced, node, _ACTIVATIONS) or _is_call(node, _ACTIVATION_CALLS)


def _feeds_one_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    users = list(node.users)
    return len(users) == 1 and _is_activation(traced, users[0])


def _is_module(traced: fx.GraphModule, node: fx.Node, types: tuple[type[nn.Module], ...]) -> bool:
    return node.op == "call_module" and isinstance(traced.get_submodule(str(node.target)), types)


def _is_call(node: fx.Node, targets: tuple[object, ...]) -> bool:
    return node.op in ("call_function", "call_method") and node.target in targets
