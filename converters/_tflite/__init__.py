"""TFLite files: written from a torch module, slimmed, run, and read back as integers."""

from converters._tflite._delegation import operators, undelegated
from converters._tflite._export import export_tflite
from converters._tflite._integers import read_grids, read_integers
from converters._tflite._kernels import kernels, sections
from converters._tflite._run import FileSignature, TFLiteModel
from converters._tflite._values import computed_values

__all__ = [
    "FileSignature",
    "TFLiteModel",
    "computed_values",
    "export_tflite",
    "kernels",
    "operators",
    "read_grids",
    "read_integers",
    "sections",
    "undelegated",
]
