"""Padding that a convolution can do itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters._tflite._schema import constant, consumers, operator_name, producer, schema, shape_of

__all__ = ["fuse_same_padding"]

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fuse_same_padding(model: Any) -> None:
    """Drops a PAD before a convolution where TensorFlow's SAME padding means exactly that padding, in place.

    SAME gives ``ceil(size / stride)`` outputs and puts the smaller half of the padding first. Of a 3x3 kernel with
    stride 2 and torch's padding 1::

        size 101: SAME pads (1, 1)                  before: PAD -> CONV_2D VALID    after: CONV_2D SAME
        size  40: SAME pads (0, 1), torch (1, 1)    stays as it is
    """
    for graph in model.subgraphs:
        for convolution in list(graph.operators):
            if operator_name(model, convolution) in _CONVOLUTIONS:
                _fuse(model, graph, convolution)


def _fuse(model: Any, graph: Any, convolution: Any) -> None:
    options = convolution.builtinOptions
    padded = int(convolution.inputs[0])
    pad = producer(graph, padded)
    if pad is None or operator_name(model, pad) != "PAD" or options.padding != schema().Padding.VALID:
        return
    if padded in list(graph.outputs) or len(consumers(graph, padded)) != 1:
        return
    margins = constant(model, graph.tensors[pad.inputs[1]])
    image = shape_of(graph.tensors[pad.inputs[0]])
    if margins is None or margins.shape != (4, 2) or np.any(margins[[0, 3]]):
        return
    kernel = shape_of(graph.tensors[convolution.inputs[1]])[1:3]
    axes = zip(
        image[1:3],
        margins[1:3].tolist(),
        kernel,
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        strict=True,
    )
    if all(_same_means(*axis) for axis in axes):
        options.padding = schema().Padding.SAME
        convolution.inputs = [pad.inputs[0], *list(convolution.inputs)[1:]]
        graph.operators.remove(pad)


def _same_means(size: int, margins: list[int], kernel: int, stride: int, dilation: int) -> bool:
    reach = (kernel - 1) * dilation + 1
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + reach - size, 0)
    before, after = margins
    return before == total // 2 and (size + before + after - reach) // stride + 1 == outputs
