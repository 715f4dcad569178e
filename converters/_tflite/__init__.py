"""TFLite files: written from a torch module, slimmed, run, and read back as integers."""

from converters._tflite._delegation import operators
from converters._tflite._export import export_tflite
from converters._tflite._integers import read_integers
from converters._tflite._run import FileSignature, TFLiteModel

__all__ = ["FileSignature", "TFLiteModel", "export_tflite", "operators", "read_integers"]
