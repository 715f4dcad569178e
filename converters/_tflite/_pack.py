"""Writes flatbuffer objects back into bytes, as few as the format allows."""

from __future__ import annotations

from typing import Any

from converters._tflite._schema import schema

__all__ = ["pack_model"]


def pack_model(model: Any) -> bytes:
    """Packs a model so that whatever is equal is written once.

    Readers follow offsets and never ask whether two of them lead to the same place. For example three layers
    of eight channels have three lists of eight int64 zero points, all 0::

        before: [8][0 0 0 0 0 0 0 0]  [8][0 0 0 0 0 0 0 0]  [8][0 0 0 0 0 0 0 0]     204 bytes
        after:  [8][0 0 0 0 0 0 0 0]  <- three offsets to it                          68 bytes
    """
    from converters._tflite._builder import SharingBuilder

    builder = SharingBuilder(1024, _data_alignment(model))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _data_alignment(model: Any) -> int:
    """What the element types need: kernels pack weights into their own layout first, so vectors need no 16 bytes."""
    wide = {schema().TensorType.INT64, schema().TensorType.FLOAT64}
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    return 8 if any(tensor.type in wide and tensor.buffer for tensor in tensors) else 4
