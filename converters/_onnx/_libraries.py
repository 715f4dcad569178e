"""The libraries of this format, loaded on use."""

from __future__ import annotations

import importlib
from typing import Any

from converters._errors import MissingExtraError

__all__ = ["onnx_library", "onnxruntime_library", "require_exporter"]


def onnx_library() -> Any:
    """The package ``onnx``, its numpy helper and checker loaded."""
    onnx = _load("onnx")
    _load("onnx.numpy_helper")
    _load("onnx.checker")
    return onnx


def onnxruntime_library() -> Any:
    """The package ``onnxruntime``."""
    return _load("onnxruntime")


def require_exporter() -> None:
    """Raises where ``torch.onnx.export`` would miss what it stands on."""
    _load("onnx")
    _load("onnxscript")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name.partition(".")[0], "onnx") from error
