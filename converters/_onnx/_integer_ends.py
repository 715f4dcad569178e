"""Integer inputs and outputs, where an app has integers or wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters._ends import IntegerEnd
from converters._errors import ConversionError, ModelFileError
from converters._onnx._graph import GraphView, set_nodes
from converters._onnx._libraries import onnx_library

__all__ = ["integer_ends", "make_ends_integer"]

_KEY = "integer."
"""Before the name of an input or output in the file's metadata; the value holds its scale and zero point."""

_MOVERS = ("Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def make_ends_integer(model: Any, *, inputs: bool, outputs: bool) -> None:
    """Takes the quantizers behind float inputs and the dequantizers before float outputs out, in place.

    ::

        before: features float32 -> QuantizeLinear -> ... -> DequantizeLinear -> logits float32
        after:  features uint8 -> ... -> logits uint8; metadata integer.features {"scale": 0.02, "zero_point": 128}

    Raises:
        ConversionError: an end is not on one grid of 8 bits in the file.
    """
    graph, floats = model.graph, onnx_library().TensorProto.FLOAT
    for value in graph.input if inputs else ():
        if value.type.tensor_type.elem_type == floats:
            _note(model, value, _drop_quantizers(graph, value.name))
    for value in graph.output if outputs else ():
        if value.type.tensor_type.elem_type == floats:
            _note(model, value, _drop_dequantizer(graph, value.name))


def integer_ends(notes: Mapping[str, str], dtypes: Mapping[str, Any]) -> dict[str, IntegerEnd]:
    """The integer ends that a file's metadata describes.

    Args:
        notes: the metadata.
        dtypes: of the file's inputs and outputs, by name.

    Raises:
        ModelFileError: a note is none of ours.
    """
    ends = {}
    for name, dtype in dtypes.items():
        if _KEY + name not in notes or dtype not in (np.int8, np.uint8):
            continue
        try:
            note = json.loads(notes[_KEY + name])
            ends[name] = IntegerEnd(float(note["scale"]), int(note["zero_point"]), np.dtype(dtype))
        except (ValueError, KeyError, TypeError):
            raise ModelFileError(f"The metadata {_KEY + name!r} holds no scale and zero point; export anew.") from None
    return ends


def _note(model: Any, value: Any, end: IntegerEnd) -> None:
    value.type.tensor_type.elem_type = onnx_library().helper.np_dtype_to_tensor_dtype(end.dtype)
    note = json.dumps({"scale": end.scale, "zero_point": end.zero_point})
    model.metadata_props.add(key=_KEY + value.name, value=note)


def _drop_quantizers(graph: Any, name: str) -> IntegerEnd:
    view = GraphView(graph)
    quantizers = _quantizers_behind(view, name)
    ends = {_end(view, node) for node in quantizers}
    if len(ends) != 1 or None in ends:
        raise ConversionError(f"Input {name!r} is not on one grid of 8 bits in ONNX: leave integer_inputs out.")
    integers = {node.output[0]: node.input[0] for node in quantizers}
    for node in view.nodes:
        for place, read in enumerate(node.input):
            node.input[place] = integers.get(read, read)
    set_nodes(graph, [node for node in view.nodes if not any(node is other for other in quantizers)])
    return next(end for end in ends if end is not None)


def _quantizers_behind(view: GraphView, name: str) -> list[Any]:
    found = []
    for user in view.users[name]:
        if user.op_type in _MOVERS and user.input[0] == name and user.output[0] not in view.outputs:
            found += _quantizers_behind(view, user.output[0])
        else:
            found.append(user)
    return found


def _drop_dequantizer(graph: Any, name: str) -> IntegerEnd:
    view = GraphView(graph)
    path: list[Any] = [view.makers.get(name)]
    while path[-1] is not None and path[-1].op_type in _MOVERS:
        path.append(view.makers.get(path[-1].input[0]))
    dequantize = path[-1]
    end = None if dequantize is None or dequantize.op_type != "DequantizeLinear" else _end(view, dequantize)
    if end is None or any(len(view.users[mover.output[0]]) > 1 for mover in path[1:-1]):
        raise ConversionError(f"Output {name!r} is not on one grid of 8 bits in ONNX: leave integer_outputs out.")
    if len(path) > 1:
        path[-2].input[0] = dequantize.input[0]
        _drop_unread(graph, view, dequantize)
        return end
    integers, floats = dequantize.input[0], f"{name}.float"
    names = {integers: name, name: floats}
    for node in view.nodes:
        for values in (node.input, node.output):
            for place, value in enumerate(values):
                values[place] = names.get(value, value)
    _drop_unread(graph, GraphView(graph), dequantize)
    return end


def _drop_unread(graph: Any, view: GraphView, dequantize: Any) -> None:
    read = {name for node in view.nodes for name in node.input} | view.outputs
    if dequantize.output[0] not in read:
        set_nodes(graph, [node for node in view.nodes if node.output[0] != dequantize.output[0]])


def _end(view: GraphView, node: Any) -> IntegerEnd | None:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    scale, zero_point = view.stored(node.input[1]), view.zero_point(node)
    if scale is None or scale.size != 1 or zero_point is None or zero_point.dtype not in (np.int8, np.uint8):
        return None
    return IntegerEnd(float(scale.item()), int(zero_point.item()), zero_point.dtype)
