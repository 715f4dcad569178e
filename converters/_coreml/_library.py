"""The one door to coremltools, which talks while it is imported."""

from __future__ import annotations

from typing import Any

from converters._errors import MissingExtraError
from converters._quiet import quiet

__all__ = ["coremltools", "model_proto"]


def coremltools() -> Any:
    """The module ``coremltools``, imported without a word on the terminal.

    Raises:
        MissingExtraError: it is not installed, or without the library that reads and writes weights.
    """
    try:
        with quiet():
            import coremltools
            import coremltools.libmilstoragepython
            import coremltools.libmodelpackage  # not every platform has these two
    except ImportError as error:
        raise MissingExtraError("coremltools", "coreml") from error
    return coremltools


def model_proto() -> Any:
    """An empty protobuf message of a Core ML model."""
    return coremltools().proto.Model_pb2.Model()
