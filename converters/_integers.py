"""The integers of a quantized network, read from a module or from a file, and compared.

A quantized layer is a weight of int8 integers with one scale per output channel, a bias, and the affine grids
its input and output lie on. Whoever wrote the file, after undoing layout these must be the module's own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from converters._codes import Codes, fold_codes
from converters._names import layer_name, path_of
from converters._narrow import narrow_weights
from converters._program import Program, export_program
from converters._reach import reaches

__all__ = [
    "Grid",
    "Inspection",
    "IntegerLayer",
    "grid_differences",
    "inspect_module",
    "integer_differences",
    "module_integers",
]

_SCALE_TOLERANCE = 2.0**-10  # formats may store scales in float16
_BIAS_TOLERANCE = 0.5 + 1e-3  # in steps of the accumulator, whose own rounding is half a step

_MOVERS = {
    *("alias", "chunk", "clone", "constant_pad_nd", "contiguous", "detach", "dropout", "expand", "flatten", "flip"),
    *("max_pool2d", "movedim", "narrow", "numpy_T", "pad", "permute", "pixel_shuffle", "repeat", "reshape", "select"),
    *("slice", "split", "split_with_sizes", "squeeze", "swapaxes", "t", "tile", "transpose", "unbind", "unflatten"),
    *("unsqueeze", "upsample_nearest2d", "view", "_unsafe_view", "_upsample_nearest_exact2d"),
}
"""Operators of aten whose results are some of what they read (or zeros), so they lie on the same grid."""

_SUMS = {
    *("adaptive_avg_pool2d", "add", "add_", "avg_pool2d", "cat", "conv2d", "linear", "mean", "mul"),
    "upsample_bilinear2d",
}
"""Operators of aten that integer kernels compute, and that float ones compute to the last bit or nearly so."""

_ACTIVATIONS = (
    torch.ops.aten.relu.default,
    torch.ops.aten.relu_.default,
    torch.ops.aten.relu6.default,
    torch.ops.aten.hardtanh.default,
    torch.ops.aten.clamp.default,
)


@dataclass(frozen=True)
class Grid:
    """An affine int8 grid of one activation: ``real = scale * (integer - zero_point)``, integers in -128..127.

    Files that store uint8 are shifted by -128 when they are read, so that grids compare directly.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)  # arrays have no single truth value; integer_differences compares
class IntegerLayer:
    """One convolution or linear layer in integers, or a table whose rows are looked up.

    Attributes:
        name: the module path of the weight's owner (``"blocks.0.conv1"``); empty where a file carries no names.
        weight: int8, in torch's layout: ``(out, in / groups, kh, kw)``, ``(out, in)`` or ``(rows, width)``.
        weight_scale: float32 ``(out,)``; a table's only scale, once for each row.
        bias: float64 ``(out,)`` in real units, or None where the layer has no bias.
        input: the grid of what it reads, None where that is float.
        output: the grid of what it writes (after a fused activation), None where that is float.
    """

    name: str
    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.float64] | None
    input: Grid | None
    output: Grid | None


@dataclass(frozen=True, eq=False)
class Inspection:
    """What one look at a module tells.

    Attributes:
        layers: its integers, in execution order; empty for a float module.
        output_steps: the step of the grid that each output lies on, by name; None for a float output.
        quantized: whether anything in it is rounded onto a grid.
        rounds_float_arithmetic: whether it rounds what float operators return (norms, softmax ...), beside sums of
            integers. Those operators differ in their last bits from runtime to runtime, and then some of their values
            round otherwise.
        stored_alone: integer weights of layers that compute in floats; files may unpack them on loading.
        grids: all grids of one scale that values are put on, each behind what tells the name of what is put there.
        input_grids: the grid that each float input is put on right where it is read, by name; None where it is not.
        output_grids: the grid that each output lies on, by name; None for a float output.
        narrow: whether any weight that integer kernels read is of 4 bits.
    """

    layers: list[IntegerLayer]
    output_steps: dict[str, float | None]
    quantized: bool
    rounds_float_arithmetic: bool
    stored_alone: Sequence[IntegerLayer] = ()
    grids: Sequence[tuple[Callable[[], str], Grid]] = ()
    input_grids: dict[str, Grid | None] = field(default_factory=dict)
    output_grids: dict[str, Grid | None] = field(default_factory=dict)
    narrow: bool = False


def inspect_module(program: Program) -> Inspection:
    """Traces a module and reads off where its integers are."""
    import torch.ao.quantization.fx._decomposed

    exported = export_program(program)
    constants = _constants(exported)
    nodes = list(exported.graph.nodes)
    found = [_module_layer(node, constants) for node in nodes]
    grids = [_grid(node) for node in nodes[-1].args[0][-len(program.outputs) :]]
    quantizers = [node for node in nodes if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default]
    return Inspection(
        layers=[layer for layer in found if layer is not None],
        output_steps={name: grid.scale if grid else None for name, grid in zip(program.outputs, grids, strict=True)},
        quantized=any("quantized_decomposed" in str(node.target) for node in nodes),
        rounds_float_arithmetic=any(not _is_integer_arithmetic(node.all_input_nodes[0]) for node in quantizers),
        input_grids=_input_grids(program, exported),
        output_grids=dict(zip(program.outputs, grids, strict=True)),
        narrow=bool(narrow_weights(exported)),
        stored_alone=[_alone(codes) for codes in fold_codes(exported) if codes.scale is not None],
        grids=[
            (partial(_quantized_name, node.all_input_nodes[0], constants), Grid(float(node.args[1]), int(node.args[2])))
            for node in quantizers
        ],
    )


def module_integers(program: Program) -> list[IntegerLayer]:
    """The integers that a module holds, in execution order; empty for a float module."""
    return inspect_module(program).layers


def _alone(codes: Codes) -> IntegerLayer:
    scale = codes.scale if codes.scale is not None else np.ones(1, np.float32)
    return IntegerLayer(codes.name, codes.integers.astype(np.int8), scale.reshape(-1), None, None, None)


def _input_grids(program: Program, exported: torch.export.ExportedProgram) -> dict[str, Grid | None]:
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    grids = {}
    for name, place in zip(program.inputs, exported.graph_signature.user_inputs, strict=True):
        if program.inputs[name].is_floating_point():
            found = _grids_behind(nodes[str(place)])
            grids[name] = found.pop() if len(found) == 1 else None
    return grids


def _grids_behind(node: fx.Node) -> set[Grid | None]:
    """The grids that a value is put on, over what only moves values; None for each other use."""
    found: set[Grid | None] = set()
    for user in node.users:
        if user.target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
            found.add(Grid(float(user.args[1]), int(user.args[2])))  # type: ignore[arg-type]  # numbers by the schema
        else:
            found |= _grids_behind(user) if _aten_name(user) in _MOVERS else {None}
    return found


def _module_layer(node: fx.Node, constants: dict[str, tuple[str, torch.Tensor]]) -> IntegerLayer | None:
    """The layer that a node computes; None for any other node, and for what always answers the same."""
    if node.target is torch.ops.aten.embedding.default:
        table, ids = node.args[:2]
        quantized = table.target is torch.ops.quantized_decomposed.dequantize_per_tensor.default  # type: ignore[union-attr]  # a table is a node
        return _table(node, constants) if quantized and _varies(ids, constants) else None
    if node.target not in (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default):
        return None
    read, weight = node.all_input_nodes[:2]
    if weight.target is not torch.ops.quantized_decomposed.dequantize_per_channel.default:
        return None
    if not _varies(read, constants):
        return None
    name, integers, scale = _weight(weight, constants)
    bias = node.args[2] if len(node.args) > 2 else None
    return IntegerLayer(
        name=name,
        weight=integers,
        weight_scale=scale,
        bias=constants[bias.name][1].double().numpy() if isinstance(bias, fx.Node) else None,
        input=_grid(read),
        output=_output_grid(node),
    )


def _table(node: fx.Node, constants: dict[str, tuple[str, torch.Tensor]]) -> IntegerLayer:
    (quantize,) = node.all_input_nodes[0].all_input_nodes
    path, values = constants[quantize.all_input_nodes[0].name]
    integers = torch.ops.quantized_decomposed.quantize_per_tensor.default(values, *quantize.args[1:])
    scale = np.full(len(integers), quantize.args[1], np.float32)
    name = path.rpartition(".")[0]
    return IntegerLayer(name, integers.numpy(), scale, bias=None, input=None, output=_output_grid(node))


def _quantized_name(node: fx.Node, constants: dict[str, tuple[str, torch.Tensor]]) -> str:
    """What a quantizer puts on its grid."""
    return layer_name(node, lambda one: constants[one.name][0] if one.name in constants else None)


def _varies(value: Any, constants: dict[str, tuple[str, torch.Tensor]]) -> bool:
    """Whether a value depends on what the module reads."""
    return isinstance(value, fx.Node) and reaches(
        value, lambda node: node.all_input_nodes, lambda node: node.op == "placeholder" and node.name not in constants
    )


def _is_integer_arithmetic(node: fx.Node) -> bool:
    if node.op == "placeholder" or node.target is torch.ops.aten.embedding.default:
        return True
    if node.target in _ACTIVATIONS or _aten_name(node) in _MOVERS:
        return _is_integer_arithmetic(node.all_input_nodes[0])
    return node.target is torch.ops.quantized_decomposed.dequantize_per_tensor.default or _aten_name(node) in _SUMS


def integer_differences(
    module: Sequence[IntegerLayer], file: Sequence[IntegerLayer], stored_alone: Sequence[IntegerLayer] = ()
) -> list[str]:
    """What differs between a module's integers and a file's, in the module's order; empty when nothing does.

    Layers are matched by their weights, since files carry no names; a layer without an equal weight is reported. What
    is ``stored_alone`` in the module a file need not hold as a layer, but may. Libraries merge equal calls, and
    copy a layer for a reader that they fuse with it: one of the file may stand for several calls, several for one.
    """
    waiting = [layer for layer in file if not any(_same_integers(layer, other) for other in stored_alone)]
    differences = []
    matched: list[tuple[IntegerLayer, IntegerLayer]] = []
    for layer in module:
        match = next((other for other in waiting if _same_weight(layer, other)), None)
        if match is None:
            if not any(earlier.name == layer.name and _is_copy(layer, of) for earlier, of in matched):
                differences.append(f"{layer.name}: no layer of the file holds its weight's integers")
            continue
        waiting.remove(match)
        matched.append((layer, match))
        differences.extend(f"{layer.name}: {difference}" for difference in _layer_differences(layer, match))
    waiting = [copy for copy in waiting if not any(_is_copy(copy, of) for _, of in matched)]
    if not differences and waiting:
        differences.append(f"the file holds {len(waiting)} quantized layers that the module does not")
    return differences


def _is_copy(layer: IntegerLayer, other: IntegerLayer) -> bool:
    """Whether two layers compute the same; what they write may be fused with different readers."""
    return _same_weight(layer, other) and not _layer_differences(replace(layer, output=other.output), other)


def grid_differences(module: Sequence[tuple[Callable[[], str], Grid]], file: Iterable[Grid]) -> list[str]:
    """Grids of a file that are none of the module's, each with the nearest that is; empty where there is none."""
    found = []
    if not module:
        return ["the file puts values on grids, its module on none"] if list(file) else []
    for grid in dict.fromkeys(file):
        if any(
            own.zero_point == grid.zero_point and _close(np.float32(own.scale), np.float32(grid.scale))
            for _, own in module
        ):
            continue
        name, own = min(module, key=lambda item: _distance(item[1], grid))
        found.append(
            f"{name()}: a grid of scale {grid.scale:g} and zero point {grid.zero_point} is none of the module's;"
            f" the nearest has {own.scale:g} and {own.zero_point}"
        )
    return found


def _distance(grid: Grid, other: Grid) -> float:
    """Between the ends of what two grids hold, in shares of the first."""
    ends = [[(end - one.zero_point) * one.scale for end in (-128, 127)] for one in (grid, other)]
    return float(max(abs(ours - theirs) for ours, theirs in zip(*ends, strict=True)) / (255 * grid.scale))


def _layer_differences(layer: IntegerLayer, other: IntegerLayer) -> list[str]:
    found = []
    if not _close(layer.weight_scale, other.weight_scale):
        found.append("weight scales differ by up to " + _percent(layer.weight_scale, other.weight_scale))
    for role, ours, theirs in (("input", layer.input, other.input), ("output", layer.output, other.output)):
        if (ours is None) != (theirs is None):
            found.append(f"{role} is on a grid on one side only")
        elif ours and theirs and not _close(np.float32(ours.scale), np.float32(theirs.scale)):
            found.append(f"{role} scale is {theirs.scale:g} instead of {ours.scale:g}")
        elif ours and theirs and ours.zero_point != theirs.zero_point:
            found.append(f"{role} zero point is {theirs.zero_point} instead of {ours.zero_point}")
    if layer.input is not None:
        ours_bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        their_bias = np.zeros(len(layer.weight)) if other.bias is None else other.bias
        steps = np.abs(ours_bias - their_bias) / (layer.input.scale * layer.weight_scale.astype(np.float64))
        # Float16 storage moves a bias by at most 2^-11 of its own size, whatever the step.
        allowed = _BIAS_TOLERANCE + np.abs(ours_bias) * 2.0**-11 / (layer.input.scale * layer.weight_scale)
        if bool((steps > allowed).any()):
            found.append(f"bias is up to {steps.max():.1f} accumulator steps off")
    return found


def _same_integers(layer: IntegerLayer, other: IntegerLayer) -> bool:
    alike = _same_weight(layer, other) and layer.weight_scale.shape == other.weight_scale.shape
    return alike and _close(layer.weight_scale, other.weight_scale)


def _same_weight(layer: IntegerLayer, other: IntegerLayer) -> bool:
    return layer.weight.shape == other.weight.shape and bool((layer.weight == other.weight).all())


def _close(ours: Any, theirs: Any) -> bool:
    return bool(np.all(np.abs(ours - theirs) <= _SCALE_TOLERANCE * np.abs(ours)))


def _percent(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> str:
    return f"{100 * float(np.max(np.abs(theirs / ours - 1))):.2f} %"


def _constants(exported: torch.export.ExportedProgram) -> dict[str, tuple[str, torch.Tensor]]:
    """Placeholder name -> (path in the module, value), for parameters and buffers."""
    values = {**exported.state_dict, **exported.constants}
    return {
        spec.arg.name: (path_of(str(spec.target)), values[spec.target].detach())
        for spec in exported.graph_signature.input_specs
        if spec.target is not None and isinstance(values.get(spec.target), torch.Tensor)
    }


def _weight(
    dequantize: fx.Node, constants: dict[str, tuple[str, torch.Tensor]]
) -> tuple[str, NDArray[np.int8], NDArray[np.float32]]:
    quantize = dequantize.all_input_nodes[0]
    weight, scale, zero_point = (constants[node.name][1] for node in quantize.all_input_nodes)
    path = constants[quantize.all_input_nodes[0].name][0].rpartition(".")[0]
    integers = torch.ops.quantized_decomposed.quantize_per_channel.default(
        weight, scale, zero_point, *quantize.args[3:]
    )
    return path, integers.numpy(), scale.numpy()


def _grid(node: fx.Node) -> Grid | None:
    """The grid that a value lies on: looks back through what only moves values, whatever it moves together."""
    if node.target is torch.ops.quantized_decomposed.dequantize_per_tensor.default:
        return Grid(float(node.args[1]), int(node.args[2]))  # type: ignore[arg-type]  # numbers by the schema
    if node.target is operator.getitem or _aten_name(node) in _MOVERS:
        return _grid(node.all_input_nodes[0])
    if _aten_name(node) in ("cat", "concat", "stack"):
        grids = {_grid(part) for part in node.all_input_nodes}
        return grids.pop() if len(grids) == 1 else None
    return None


def _aten_name(node: fx.Node) -> str:
    """``slice`` for ``aten.slice.Tensor``; empty for other calls."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return ""
    return target._schema.name.partition("::")[2]


def _output_grid(node: fx.Node) -> Grid | None:
    """The grid of the first quantizer behind a layer, over an activation and what only moves values in between."""
    for user in node.users:
        if user.target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
            return Grid(float(user.args[1]), int(user.args[2]))  # type: ignore[arg-type]  # numbers by the schema
        if (user.target in _ACTIVATIONS or _aten_name(user) in _MOVERS) and (grid := _output_grid(user)):
            return grid
    return None
