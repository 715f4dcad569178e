"""From a torch module to .tflite, .mlpackage and .onnx, and the proof that the files are right."""

from converters._child import run_in_child
from converters._convert import Model, convert, download_bytes, format_of, load, read_integers, size_bytes, suffix_of
from converters._details import ONNX, Color, CoreML, Details, Image, Runtime, Target, TFLite
from converters._ends import IntegerEnd
from converters._errors import (
    ConversionError,
    DeviceError,
    InputError,
    MissingExtraError,
    MobileDistillError,
    ModelFileError,
    ParityError,
    TrainingError,
)
from converters._examine import Examination, ExaminedOutput, examine
from converters._exported import load_program, save_program
from converters._integers import Grid, IntegerLayer, integer_differences, module_integers
from converters._keras import KerasModel, load_keras
from converters._kernels import Kernel, kernels, sections
from converters._outside import Outside, outside
from converters._parity import Parity, compare, verify
from converters._program import FORMATS, Format, Precision, Program
from converters._resident import ResidentModel

__all__ = [
    "FORMATS",
    "ONNX",
    "Color",
    "ConversionError",
    "CoreML",
    "Details",
    "DeviceError",
    "Examination",
    "ExaminedOutput",
    "Format",
    "Grid",
    "Image",
    "InputError",
    "IntegerEnd",
    "IntegerLayer",
    "KerasModel",
    "Kernel",
    "MissingExtraError",
    "MobileDistillError",
    "Model",
    "ModelFileError",
    "Outside",
    "Parity",
    "ParityError",
    "Precision",
    "Program",
    "ResidentModel",
    "Runtime",
    "TFLite",
    "Target",
    "TrainingError",
    "compare",
    "convert",
    "download_bytes",
    "examine",
    "format_of",
    "integer_differences",
    "kernels",
    "load",
    "load_keras",
    "load_program",
    "module_integers",
    "outside",
    "read_integers",
    "run_in_child",
    "save_program",
    "sections",
    "size_bytes",
    "suffix_of",
    "verify",
]
