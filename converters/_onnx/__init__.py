"""ONNX files: written from a torch module, slimmed, run, and read back as integers."""

from converters._onnx._export import export_onnx
from converters._onnx._integers import read_grids, read_integers
from converters._onnx._kernels import kernels, sections
from converters._onnx._operators import on_floats, operators
from converters._onnx._run import FileSignature, ONNXModel
from converters._onnx._values import computed_values

__all__ = [
    "FileSignature",
    "ONNXModel",
    "computed_values",
    "export_onnx",
    "kernels",
    "on_floats",
    "operators",
    "read_grids",
    "read_integers",
    "sections",
]
