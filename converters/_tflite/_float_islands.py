"""Keeps float operators float between integer layers.

LiteRT's converter moves a dequantization past an operator that only moves numbers. Where such an operator has several
inputs, all must then lie on one integer grid: it takes that of one of them, and what is larger elsewhere is clipped.
A file so made holds the right weights and gives wrong answers. So, while it converts, a multiplication stands before
those inputs that it neither moves anything past nor folds away; afterwards it is taken out again.

A leaky ReLU is fenced as well: XNNPACK's integer kernel rounds its two slopes to 1/256 of the ratio of its scales. So
is an average whose last windows reach over the edge (``ceil_mode``): in integers it is rounded, multiplied, rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from converters._tflite._own_dequantizers import part_dequantizers
from converters._tflite._schema import constant, operator_name

__all__ = ["fence_float_islands", "take_fences_out"]

_FENCE = float(np.nextafter(np.float32(1.0), np.float32(2.0)))

_ONE_GRID = ("cat", "stack", "where", "maximum", "minimum")
_BOUNDED = ("clamp", "clamp_min", "clamp_max")
"""Their bounds would be rounded to the grid: 1e-5 before a logarithm to 0."""
_LOWEST_OF_A_TABLE = -127  # tables are symmetric; activations go down to -128
_ROUGH = ("leaky_relu", "leaky_relu_")
_MOVES_NUMBERS = (
    "view",
    "reshape",
    "flatten",
    "transpose",
    "permute",
    "slice",
    "select",
    "squeeze",
    "unsqueeze",
    "expand",
    "contiguous",
    "clone",
    "upsample_nearest2d",
    "pad",
    "constant_pad_nd",
)


def fence_float_islands(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program with a fence before each dequantized input of an operator that wants one grid, or that is rough.

    No fence is needed where all inputs lie on one grid anyway, as the module has it, or the operator's answer is
    quantized right behind it.
    """
    module: fx.GraphModule = program.module(check_guards=False)
    part_dequantizers(module.graph)
    for node in list(module.graph.nodes):
        for source in _to_be_fenced(node):
            with module.graph.inserting_before(node):
                fence = module.graph.call_function(torch.ops.aten.mul.Tensor, (source, _FENCE))
            node.replace_input_with(source, fence)
    module.recompile()
    return module


def _to_be_fenced(node: fx.Node) -> list[fx.Node]:
    """The dequantized inputs that would not reach an operator as they are."""
    if _name(node) in _ROUGH:
        return [source for source in node.all_input_nodes if _dequantizer(source) is not None]
    if _name(node) == "quantize_per_tensor":  # a table's grid would stay, and this one be folded away
        (source,) = node.all_input_nodes
        table = _table_behind(source)
        return [source] if table is not None and table.args[1:3] != node.args[1:3] else []
    over_the_edge = _name(node) == "avg_pool2d" and len(node.args) > 4 and bool(node.args[4])
    if over_the_edge or (_name(node) in _BOUNDED and not _is_quantized_next(node)):
        return [source for source in node.all_input_nodes if _dequantizer(source) is not None]
    if _name(node) not in _ONE_GRID:
        return []
    joined = [source for source in node.all_input_nodes if _name(node) != "where" or source is not node.args[0]]
    makers = {source: _dequantizer(source) for source in joined}
    if _is_quantized_next(node):  # the converter then moves each input onto that grid, rows of tables excepted
        return [source for source in joined if _table_behind(source) is not None]
    if len({maker and maker.args[1:3] for maker in makers.values()}) == 1:
        return []
    return [source for source, maker in makers.items() if maker is not None]


def take_fences_out(model: Any) -> None:
    """Removes the fences from what was converted, in place.

    ::

        before: CONV_2D -> DEQUANTIZE -> MUL by 1.0000001 -> CONCATENATION
        after:  CONV_2D -> DEQUANTIZE -> CONCATENATION
    """
    for graph in model.subgraphs:
        for fence in [operator for operator in graph.operators if _is_fence(model, graph, operator)]:
            source, fenced = int(fence.inputs[0]), int(fence.outputs[0])
            for operator in graph.operators:
                operator.inputs = [source if index == fenced else index for index in operator.inputs]
            graph.operators.remove(fence)


def _is_fence(model: Any, graph: Any, operator: Any) -> bool:
    if operator_name(model, operator) != "MUL" or int(operator.outputs[0]) in list(graph.outputs):
        return False
    factor = constant(model, graph.tensors[int(operator.inputs[1])])
    return factor is not None and factor.size == 1 and factor.dtype == np.float32 and factor.item() == _FENCE


def _is_quantized_next(node: fx.Node) -> bool:
    return bool(node.users) and all(
        _name(user) == "quantize_per_tensor" or (_name(user) in _MOVES_NUMBERS and _is_quantized_next(user))
        for user in node.users
    )


def _dequantizer(node: fx.Node) -> fx.Node | None:
    """What dequantized a value that was only moved since; None for other numbers."""
    while _name(node) in _MOVES_NUMBERS:
        node = node.all_input_nodes[0]
    return node if _name(node) == "dequantize_per_tensor" else None


def _table_behind(node: Any) -> fx.Node | None:
    """What dequantized the rows of a table that were only moved and joined since."""
    while _name(node) in ("cat", "stack"):
        node = node.all_input_nodes[0]
    maker = _dequantizer(node)
    return maker if maker is not None and maker.args[3] == _LOWEST_OF_A_TABLE else None


def _name(node: fx.Node) -> str:
    """``cat`` for ``aten.cat.default``."""
    return node.target.overloadpacket.__name__ if isinstance(node.target, torch._ops.OpOverload) else ""
