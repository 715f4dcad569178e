"""All that a .tflite file computes on its way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._computed import ComputedValue
from converters._tflite._run import TFLiteModel
from converters._tflite._schema import is_quantized, operator_name, read_model

__all__ = ["computed_values"]


def computed_values(
    path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], signature: str = "main"
) -> Iterator[list[ComputedValue]]:
    """For each sample every float tensor, and every integer one in real units.

    Raises:
        ModelFileError: the file is no TFLite model, damaged, or LiteRT refuses it.
    """
    model = read_model(path)
    runtime = TFLiteModel(path, delegate=False, keep_all=True)
    index, outputs = runtime.graph_of(signature)
    graph = model.subgraphs[index]
    for sample in samples:
        runtime.run(sample, signature)
        found = []
        for place, operator in enumerate(graph.operators, 1):
            for tensor in operator.outputs:
                values = runtime.tensor(int(tensor), index)
                real = None if values is None else _real(graph.tensors[tensor], values)
                if real is not None:
                    name = operator_name(model, operator)
                    found.append(ComputedValue(name, place, outputs.get(int(tensor), ""), real))
        yield found


def _real(tensor: Any, values: NDArray[Any]) -> NDArray[Any] | None:
    if values.dtype.kind == "f":
        return values
    if not is_quantized(tensor) or len(tensor.quantization.scale) != 1:
        return None
    grid = tensor.quantization
    return (values.astype(np.float64) - float(grid.zeroPoint[0])) * float(grid.scale[0])
