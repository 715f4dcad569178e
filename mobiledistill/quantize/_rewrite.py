"""From a trained float module to one that holds integers: prepare, calibrate, (train,) freeze.

The module is traced by ``torch.fx``, so its layers keep their paths. Batch norm is folded into the layer before
it, or becomes a 1x1 depthwise convolution where there is none. Then every value that an integer kernel reads or
writes gets a grid (``_grids``). What comes behind a float operator stays float until a layer reads it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from converters import ConversionError
from mobiledistill._parametrized import make_plain
from mobiledistill.quantize._grids import place_grids
from mobiledistill.quantize._layers import fold_batch_norms, part_transposed, swap_layers, trace
from mobiledistill.quantize._modules import ActivationQuantizer, QuantEmbedding, QuantizedLayer
from mobiledistill.quantize._operators import main_operand, role_of
from mobiledistill.quantize._schemes import Int8, LayerScheme, Mixed
from mobiledistill.quantize._weights import CodedLayer

__all__ = ["calibrate", "correct_biases", "freeze", "prepare"]

_INT8 = Int8()


def prepare(signatures: Mapping[str, nn.Module], scheme: LayerScheme | Mixed = _INT8) -> nn.ModuleDict:
    """Trainable copies that round as the integers will; the modules given are not touched.

    Layers keep their paths, and what several signatures share they go on sharing, its grids included. Weights that
    ``torch.nn.utils.parametrize`` makes of others (masks, norms) become plain ones. Sizes may
    change from call to call. Call ``calibrate`` next: until then grids are arbitrary.

    Args:
        signatures: the module behind each signature; one that only training calls may be among them.
        scheme: what layers become; ``Int8()`` by default. Where it leaves all activations float, nothing is left to
            calibrate.

    Raises:
        ConversionError: a module cannot be traced by ``torch.fx``, or a signature has a name that torch modules use.
    """
    if taken := [name for name in signatures if hasattr(nn.ModuleDict(), name)]:
        raise ConversionError(f"Signature {taken[0]!r} has the name of an attribute of torch modules; choose another.")
    copies = copy.deepcopy(dict(signatures))
    make_plain(nn.ModuleList(copies.values()))
    traced = {name: trace(part_transposed(module)) for name, module in copies.items()}
    fold_batch_norms(traced)
    mixed = scheme if isinstance(scheme, Mixed) else Mixed(scheme)
    swap_layers(traced, mixed)
    if mixed.has_integer_activations:
        place_grids(traced, copies)
    for graph in traced.values():
        graph.graph.lint()
        graph.recompile()
    return nn.ModuleDict(traced)


def calibrate(
    prepared: nn.ModuleDict,
    inputs: Mapping[str, Mapping[str, Tensor]],
    percentile: float | None,
    batch_size: int | None = None,
) -> None:
    """Sets every activation grid from real inputs, given by signature (in place).

    Whole numbers among the inputs (tokens, positions) turn out here, and are not rounded from then on.

    Args:
        prepared: what ``prepare`` returned.
        inputs: by signature, then by name; together they must reach every grid.
        percentile: of the values seen, how much a grid covers; None: where their rounding errs least.
        batch_size: samples to ask with at once; None asks with all of them.

    Raises:
        ConversionError: no input reached some grid.
    """
    quantizers = {m: name for name, m in prepared.named_modules() if isinstance(m, ActivationQuantizer)}
    for quantizer in quantizers:
        quantizer.observe()
    prepared.eval()
    with torch.no_grad():
        for name, values in inputs.items():
            for batch in zip(*(torch.split(value, batch_size or len(value)) for value in values.values()), strict=True):
                prepared[name](*batch)
    for module in prepared.values():
        _drop_whole_numbers(module)
    for quantizer, name in quantizers.items():
        if not quantizer.reads_whole_numbers:
            if not quantizer.observed:
                raise ConversionError(
                    f"No calibration input reached {name}; signatures {sorted(inputs)} were given inputs of"
                    f" {sorted(prepared)}: give those that are missing."
                )
            quantizer.settle(percentile)


def correct_biases(
    prepared: nn.ModuleDict, inputs: Mapping[str, Mapping[str, Tensor]], batch_size: int | None = None
) -> None:
    """Takes the mean shift that rounded weights bring to each layer's output out of its bias, in place.

    Small networks gain most, depthwise layers above all (Nagel et al. 2019, "Data-free quantization through weight
    equalization and bias correction"). Training with rounding does the same by itself.

    Args:
        prepared: calibrated modules.
        inputs: as for ``calibrate``.
        batch_size: likewise.
    """
    shifts: dict[QuantizedLayer, list[Tensor]] = {m: [] for m in prepared.modules() if isinstance(m, QuantizedLayer)}

    def gather(layer: nn.Module, read: tuple[Tensor, ...], answer: Tensor) -> None:
        if isinstance(layer, QuantizedLayer):
            shift = answer - layer.compute(read[0], layer.weight)
            shifts[layer].append(shift.movedim(layer.channel_axis, 0).flatten(1).mean(1))

    hooks = [layer.register_forward_hook(gather) for layer in shifts]
    prepared.eval()
    with torch.no_grad():
        for name, values in inputs.items():
            for batch in zip(*(torch.split(value, batch_size or len(value)) for value in values.values()), strict=True):
                prepared[name](*batch)
        for hook in hooks:
            hook.remove()
        for layer, seen in shifts.items():
            if seen:
                layer.bias.sub_(torch.stack(seen).mean(0))


def freeze(prepared: nn.ModuleDict) -> nn.ModuleDict:
    """A copy whose integers are final and whose forward pass emits ``quantized_decomposed`` operators.

    Biases move to whole steps of the accumulator (input scale times weight scale), where integer kernels keep them:
    what is left between the module and a runtime is then the rounding of exact ties.
    """
    frozen = copy.deepcopy(prepared).eval()
    make_plain(frozen)
    for quantizer in {m for m in frozen.modules() if isinstance(m, ActivationQuantizer)}:
        quantizer.freeze()
    scales = _input_scales(frozen)
    for layer in {m for m in frozen.modules() if isinstance(m, QuantizedLayer)}:
        layer.freeze(scales[layer])
    for stored in {m for m in frozen.modules() if isinstance(m, QuantEmbedding | CodedLayer)}:
        stored.freeze()
    return frozen


def _drop_whole_numbers(module: nn.Module) -> None:
    """Takes out the quantizers that read whole numbers: those are values, not activations."""
    if not isinstance(module, fx.GraphModule):
        return
    for node in list(module.graph.nodes):
        quantizer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(quantizer, ActivationQuantizer) and quantizer.reads_whole_numbers:
            node.replace_all_uses_with(node.all_input_nodes[0])
            module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    module.recompile()


def _input_scales(frozen: nn.ModuleDict) -> dict[nn.Module, float]:
    """The scale of the grid that each layer reads, the same one wherever it is called."""
    scales: dict[nn.Module, float] = {}
    for traced in frozen.values():
        if not isinstance(traced, fx.GraphModule):
            raise ConversionError("freeze needs what prepare returned; prepare and calibrate the modules first.")
        for node in traced.graph.nodes:
            layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, QuantizedLayer):
                quantizer = _grid_behind(traced, node.all_input_nodes[0])
                if quantizer is None:
                    raise ConversionError(f"Layer {node.target} reads no grid; calibrate with floats as its input.")
                scales.setdefault(layer, quantizer.scale_value)
    return scales


def _grid_behind(traced: fx.GraphModule, node: fx.Node) -> ActivationQuantizer | None:
    """The quantizer whose grid a value lies on, over what only moves values."""
    source: fx.Node | None = node
    while source is not None:
        module = traced.get_submodule(str(source.target)) if source.op == "call_module" else None
        if isinstance(module, ActivationQuantizer):
            return module
        role = role_of(traced, source)
        source = source.all_input_nodes[0] if role == "join" else main_operand(source) if role == "keep" else None
    return None
