"""Float32 inputs and outputs around an integer graph."""

from __future__ import annotations

from typing import Any

from converters._tflite._schema import is_quantized, operator_code, schema

__all__ = ["float_ends", "make_io_float"]


def make_io_float(model: Any, *, inputs: bool = True, outputs: bool = True) -> None:
    """Puts QUANTIZE behind every integer input and DEQUANTIZE before every integer output, in place; or behind one.

    ::

        before: features int8 -> CONV_2D -> logits int8
        after:  features float32 -> QUANTIZE -> CONV_2D -> DEQUANTIZE -> logits float32

    Names and order stay. Integers without scales (token numbers, say) are values, not quantized, and stay.
    """
    for index, graph in enumerate(model.subgraphs):
        signatures = [signature for signature in model.signatureDefs or () if signature.subgraphIndex == index]
        if not signatures:
            continue
        read = {int(old): _float_twin(graph, old) for old in _integers(graph, graph.inputs) if inputs}
        written = {int(old): _float_twin(graph, old) for old in _integers(graph, graph.outputs) if outputs}
        graph.operators = [
            *(_operator(model, "QUANTIZE", 1, new, old) for old, new in read.items()),
            *graph.operators,
            *(_operator(model, "DEQUANTIZE", 2, old, new) for old, new in written.items()),
        ]
        graph.inputs = [read.get(int(tensor), tensor) for tensor in graph.inputs]
        graph.outputs = [written.get(int(tensor), tensor) for tensor in graph.outputs]
        for signature in signatures:
            _redirect(signature.inputs, read)
            _redirect(signature.outputs, written)


def float_ends(model: Any, *, inputs: bool, outputs: bool) -> list[str]:
    """The names of float inputs, of float outputs, or of both, over all signatures."""
    names = []
    for signature in model.signatureDefs or ():
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        for entry in [*(signature.inputs if inputs else ()), *(signature.outputs if outputs else ())]:
            if tensors[entry.tensorIndex].type == schema().TensorType.FLOAT32:
                names.append(entry.name.decode())
    return names


def _integers(graph: Any, ends: Any) -> list[int]:
    return [tensor for tensor in ends if _is_integer(graph.tensors[tensor])]


def _is_integer(tensor: Any) -> bool:
    types = schema().TensorType
    return tensor.type in (types.INT8, types.UINT8, types.INT16) and is_quantized(tensor)


def _float_twin(graph: Any, index: int) -> int:
    """A float32 tensor of the same shape that takes over the name."""
    old, new = graph.tensors[index], schema().TensorT()
    new.shape, new.shapeSignature, new.hasRank = old.shape, old.shapeSignature, old.hasRank
    new.type = schema().TensorType.FLOAT32
    new.name, old.name = old.name, None
    graph.tensors.append(new)
    return len(graph.tensors) - 1


def _operator(model: Any, name: str, version: int, read: int, written: int) -> Any:
    operator = schema().OperatorT()
    operator.opcodeIndex = operator_code(model, name, version)
    operator.inputs, operator.outputs = [read], [written]
    return operator


def _redirect(entries: Any, moved: dict[int, int]) -> None:
    for entry in entries:
        entry.tensorIndex = moved.get(int(entry.tensorIndex), entry.tensorIndex)
