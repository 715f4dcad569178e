"""Which operators a file is made of."""

from __future__ import annotations

from pathlib import Path

from converters._tflite._schema import operator_name, read_model

__all__ = ["operators"]


def operators(path: Path) -> list[str]:
    """The builtin operators of a .tflite file in execution order, all graphs one after the other.

    Example:
        >>> operators(Path("net.tflite"))
        ['QUANTIZE', 'CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'DEQUANTIZE']

    Raises:
        ModelFileError: the file is no TFLite model or damaged.
    """
    model = read_model(path)
    return [operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators or ()]
