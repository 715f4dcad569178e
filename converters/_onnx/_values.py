"""All that an .onnx file computes on its way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._computed import ComputedValue
from converters._onnx._file import read_models
from converters._onnx._libraries import onnx_library
from converters._onnx._run import _fitting, _open

__all__ = ["computed_values"]


def computed_values(
    path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], signature: str = "main"
) -> Iterator[list[ComputedValue]]:
    """For each sample every float that the nodes of the graph compute.

    Raises:
        ModelFileError: the file is no ONNX model, damaged, or onnxruntime refuses it.
    """
    model = read_models(path)[signature]
    returned = {value.name for value in model.graph.output}
    made = {name: (place, node) for place, node in enumerate(model.graph.node, 1) for name in node.output if name}
    model.graph.output.extend(onnx_library().ValueInfoProto(name=name) for name in made if name not in returned)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "all.onnx"
        file.write_bytes(model.SerializeToString())
        session = _open(file, threads=1, optimized=False)
    for sample in samples:
        arrays = {value.name: _fitting(value, np.asarray(sample[value.name])) for value in session.get_inputs()}
        answers = zip(made.items(), session.run(list(made), arrays), strict=True)
        yield [
            ComputedValue(node.op_type, place, name if name in returned else "", values)
            for (name, (place, node)), values in answers
            if np.issubdtype(values.dtype, np.floating)
        ]
