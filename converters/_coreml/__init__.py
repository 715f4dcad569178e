"""Core ML packages: written from torch modules, slimmed, run by a reference executor, read back as integers."""

from converters._coreml._executor import CoreMLModel, FileSignature
from converters._coreml._export import export_coreml
from converters._coreml._floats import on_floats
from converters._coreml._integers import read_grids, read_integers
from converters._coreml._slim import slim
from converters._coreml._values import computed_values

__all__ = [
    "CoreMLModel",
    "FileSignature",
    "computed_values",
    "export_coreml",
    "on_floats",
    "read_grids",
    "read_integers",
    "slim",
]
