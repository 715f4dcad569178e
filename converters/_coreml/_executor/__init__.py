"""A reference executor for Core ML files: it runs anywhere, and says what the file's arithmetic says.

It interprets the MIL program that coremltools reads back from an .mlpackage, operator by operator in torch. It shows
whether a file holds the right numbers; it does not show what the Neural Engine makes of them.
"""

from converters._coreml._executor._model import CoreMLModel, FileSignature
from converters._coreml._executor._operators import OPERATORS

__all__ = ["OPERATORS", "CoreMLModel", "FileSignature"]
