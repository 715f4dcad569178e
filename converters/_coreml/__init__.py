"""Core ML packages: written from torch modules, slimmed, run by a reference executor, read back as integers."""

from converters._coreml._executor import CoreMLModel, FileSignature
from converters._coreml._export import export_coreml
from converters._coreml._integers import read_integers
from converters._coreml._slim import slim

__all__ = ["CoreMLModel", "FileSignature", "export_coreml", "read_integers", "slim"]
