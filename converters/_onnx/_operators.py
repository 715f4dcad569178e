"""Which operators a file is made of."""

from __future__ import annotations

from pathlib import Path

from converters._onnx._file import read_models
from converters._onnx._graph import graphs

__all__ = ["operators"]


def operators(path: Path) -> list[str]:
    """The operators of an .onnx file (or a folder of them) in execution order, all signatures one after the other.

    Example:
        >>> operators(Path("net.onnx"))  # doctest: +SKIP
        ['Conv', 'Relu', 'GlobalAveragePool', 'Flatten', 'Gemm']

    Raises:
        ModelFileError: the file is no ONNX model or damaged.
    """
    return [
        node.op_type for model in read_models(path).values() for graph in graphs(model.graph) for node in graph.node
    ]
