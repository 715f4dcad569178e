"""Which operators a file is made of, and which of them onnxruntime computes in floats."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from converters._onnx._file import read_models, signature_paths
from converters._onnx._graph import graphs
from converters._onnx._integers import read_grids
from converters._onnx._libraries import onnx_library
from converters._onnx._run import _open

__all__ = ["on_floats", "operators"]

_QUANTIZERS = ("DequantizeLinear", "QuantizeLinear")


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


def on_floats(path: Path) -> tuple[list[str], int] | None:
    """The operators that read floats once onnxruntime has optimised the graph, and how many there are in all.

    Quantizers do not count. None for a file that puts nothing on a grid.

    Raises:
        ModelFileError: the file is no ONNX model, damaged, or onnxruntime refuses it.
    """
    if not any(read_grids(path).values()):
        return None
    found, total = [], 0
    for file in signature_paths(path).values():
        with TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            _open(file, threads=1, optimized=True, write_to=optimized)
            model = onnx_library().load(optimized)
            made = [name for node in model.graph.node for name in node.output if name]
            returned = {value.name for value in model.graph.output}
            model.graph.output.extend(onnx_library().ValueInfoProto(name=name) for name in made if name not in returned)
            optimized.write_bytes(model.SerializeToString())
            session = _open(optimized, threads=1, optimized=False)
        floats = {value.name for value in (*session.get_inputs(), *session.get_outputs()) if "float" in value.type}
        nodes = [node for node in model.graph.node if node.op_type not in _QUANTIZERS]
        found += [node.op_type for node in nodes if floats & set(node.input)]
        total += len(nodes)
    return found, total
