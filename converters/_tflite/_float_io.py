"""Float32 inputs and outputs around an integer graph."""

from __future__ import annotations

from typing import Any

from converters._tflite._schema import is_quantized, operator_code, schema

__all__ = ["make_io_float"]


def make_io_float(model: Any) -> None:
    """Puts QUANTIZE behind every integer input and DEQUANTIZE before every integer output, in place.

    ::

        before: features int8 -> CONV_2D -> logits int8
        after:  features float32 -> QUANTIZE -> CONV_2D -> DEQUANTIZE -> logits float32

    Names and order stay. Integers without scales (token numbers, say) are values, not quantized, and stay.
    """
    for index, graph in enumerate(model.subgraphs):
        signatures = [signature for signature in model.signatureDefs or () if signature.subgraphIndex == index]
        if not signatures:
            continue
        inputs = {int(old): _float_twin(graph, old) for old in graph.inputs if _is_integer(graph.tensors[old])}
        outputs = {int(old): _float_twin(graph, old) for old in graph.outputs if _is_integer(graph.tensors[old])}
        graph.operators = [
            *(_operator(model, "QUANTIZE", 1, new, old) for old, new in inputs.items()),
            *graph.operators,
            *(_operator(model, "DEQUANTIZE", 2, old, new) for old, new in outputs.items()),
        ]
        graph.inputs = [inputs.get(int(tensor), tensor) for tensor in graph.inputs]
        graph.outputs = [outputs.get(int(tensor), tensor) for tensor in graph.outputs]
        for signature in signatures:
            _redirect(signature.inputs, inputs)
            _redirect(signature.outputs, outputs)


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
