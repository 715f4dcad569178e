"""Writes the two reference models beside this file: one 3x3 convolution, 4 to 4 channels, on a 64 x 64 image.

Every latency measurement runs one of them next to the file it measures: while the reference keeps its pace, so did
the machine. They are kept as files, so that numbers taken years apart stand on the same bytes. To make them again
(needs the extras ``tflite`` and ``onnx``)::

    python mobiledistill/devices/assets/make_reference.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDE, _CHANNELS, _KERNEL = 64, 4, 3


def weights() -> NDArray[np.float32]:
    """The kernel, (output channel, row, column, input channel): a fixed wave without zeros or special values."""
    count = _CHANNELS * _KERNEL * _KERNEL * _CHANNELS
    return np.sin(np.arange(1, count + 1)).astype(np.float32).reshape(_CHANNELS, _KERNEL, _KERNEL, _CHANNELS)


def tflite_bytes() -> bytes:
    """The reference as a .tflite file with the signature ``main``: input ``x``, output ``y``, both NHWC."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    image = [1, _SIDE, _SIDE, _CHANNELS]
    tensors = [
        _tensor(schema, "x", image, 0),
        _tensor(schema, "w", list(weights().shape), 1),
        _tensor(schema, "b", [_CHANNELS], 2),
        _tensor(schema, "y", image, 0),
    ]
    options = _filled(schema.Conv2DOptionsT(), padding=schema.Padding.SAME, strideW=1, strideH=1)
    convolution = _filled(
        schema.OperatorT(),
        inputs=[0, 1, 2],
        outputs=[3],
        builtinOptionsType=schema.BuiltinOptions.Conv2DOptions,
        builtinOptions=options,
    )
    graph = _filled(schema.SubGraphT(), tensors=tensors, inputs=[0], outputs=[3], operators=[convolution])
    code = schema.BuiltinOperator.CONV_2D
    bias = np.zeros(_CHANNELS, np.float32)
    model = _filled(
        schema.ModelT(),
        version=3,
        operatorCodes=[_filled(schema.OperatorCodeT(), deprecatedBuiltinCode=code, builtinCode=code, version=1)],
        subgraphs=[graph],
        buffers=[
            schema.BufferT(),
            *(_filled(schema.BufferT(), data=np.frombuffer(array.tobytes(), np.uint8)) for array in (weights(), bias)),
        ],
        signatureDefs=[
            _filled(
                schema.SignatureDefT(),
                signatureKey="main",
                subgraphIndex=0,
                inputs=[_filled(schema.TensorMapT(), name="x", tensorIndex=0)],
                outputs=[_filled(schema.TensorMapT(), name="y", tensorIndex=3)],
            )
        ],
    )
    builder = flatbuffers.Builder(2048)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def onnx_bytes() -> bytes:
    """The reference as an .onnx file: input ``x``, output ``y``, both NCHW."""
    from onnx import TensorProto, helper, numpy_helper

    image = [1, _CHANNELS, _SIDE, _SIDE]
    kernel = np.ascontiguousarray(weights().transpose(0, 3, 1, 2))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[_KERNEL, _KERNEL], pads=[1, 1, 1, 1])],
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, image)],
        [numpy_helper.from_array(kernel, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def _tensor(schema: Any, name: str, shape: list[int], buffer: int) -> Any:
    kind = schema.TensorType.FLOAT32
    return _filled(schema.TensorT(), name=name, shape=shape, type=kind, buffer=buffer, hasRank=True)


def _filled(table: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        if not hasattr(table, name):
            raise AttributeError(f"{type(table).__name__} has no field {name!r}.")
        setattr(table, name, value)
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent
    for name, content in (("reference.tflite", tflite_bytes()), ("reference.onnx", onnx_bytes())):
        (folder / name).write_bytes(content)
        sys.stdout.write(f"{name}: {len(content)} bytes\n")
