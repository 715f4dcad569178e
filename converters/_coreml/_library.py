"""The one door to coremltools, which talks while it is imported."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
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
        with quiet(), _hiding_tensorflow():
            import coremltools
            import coremltools.libmilstoragepython
            import coremltools.libmodelpackage  # not every platform has these two
    except ImportError as error:
        raise MissingExtraError("coremltools", "coreml") from error
    return coremltools


@contextlib.contextmanager
def _hiding_tensorflow() -> Iterator[None]:
    """Where TensorFlow is installed, coremltools loads it, for seconds; only who has loaded it already needs it."""
    name = "tensorflow"
    if name in sys.modules or "coremltools" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how Python spells: not to be imported
    try:
        yield
    finally:
        del sys.modules[name]


def model_proto() -> Any:
    """An empty protobuf message of a Core ML model."""
    return coremltools().proto.Model_pb2.Model()
