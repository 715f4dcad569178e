"""ONNX files: written from a torch module, slimmed, run, and read back as integers."""

from converters._onnx._export import export_onnx
from converters._onnx._integers import read_integers
from converters._onnx._operators import operators
from converters._onnx._run import FileSignature, ONNXModel

__all__ = ["FileSignature", "ONNXModel", "export_onnx", "operators", "read_integers"]
