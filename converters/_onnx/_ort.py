"""onnxruntime's own format, which its smaller builds for phones load."""

from __future__ import annotations

import tempfile
from pathlib import Path

from converters._errors import ConversionError
from converters._onnx._libraries import onnxruntime_library
from converters._quiet import quiet

__all__ = ["write_ort"]


def write_ort(path: Path) -> Path:
    """Writes ``net.ort`` beside ``net.onnx``, optimized for ARM, with onnxruntime's own tool, and loads it once.

    Raises:
        ConversionError: onnxruntime cannot.
    """
    runtime = onnxruntime_library()
    target = path.with_suffix(".ort")
    try:
        with quiet(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
            from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

            convert_onnx_models_to_ort(
                path, Path(folder), optimization_styles=[OptimizationStyle.Fixed], target_platform="arm"
            )
            (written,) = Path(folder).glob("*.ort")
            runtime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
            written.replace(target)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ConversionError(f"{target.name} cannot be written by onnxruntime: {reason.rstrip('.')}.") from error
    return target
