"""Latency and memory of a file that lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from converters import DeviceError, Format, InputError
from mobiledistill.devices._base import Device, Inputs
from mobiledistill.devices._measurement import Measurement
from mobiledistill.devices._open import open as open_device

__all__ = ["profile"]

_SUFFIXES: Mapping[str, Format] = {".tflite": "tflite", ".onnx": "onnx", ".mlpackage": "coreml"}


def profile(
    path: str | Path,
    device: str | Device = "host",
    *,
    inputs: Mapping[str, Inputs] | None = None,
    threads: int = 1,
    percentile: float = 50.0,
    processes: int = 5,
    samples: int = 200,
) -> dict[str, Measurement]:
    """Measures every signature of a model file on a device.

    Example:
        >>> profile("model.tflite")["main"].p50_ms  # doctest: +SKIP
        0.21

    Args:
        path: a .tflite or .onnx file, or a folder of .onnx files named after their signatures.
        device: a device, or what ``devices.open`` takes.
        inputs: arrays by signature and name; None: random ones in the declared shapes (open lengths are 1), made
            where the file runs, the same every time.
        threads: threads that the runtime may use.
        percentile: what ``latency_ms`` and its interval are about, 0 to 100.
        processes: fresh processes for each signature.
        samples: timed calls in each process.

    Returns:
        The measurements by signature.

    Raises:
        InputError: there is no such file, its ending is unknown, or the inputs do not fit it.
        ModelFileError: the file is damaged or no such model.
        DeviceError: the device cannot run this format, or the file does not run there.
    """
    path = Path(path)
    fmt = _format(path)
    opened = open_device(device) if isinstance(device, str) else device
    if fmt not in opened.formats:
        raise DeviceError(
            f"{path} is {fmt}, which {opened.name} cannot run, so it stays unmeasured; {opened.name} runs"
            f" {', '.join(opened.formats)}."
        )
    signatures = opened.signatures(path, fmt)
    if inputs is not None and (unknown := sorted(set(inputs) - set(signatures))):
        raise InputError(f"{path} has the signatures {', '.join(signatures)}, but inputs name {', '.join(unknown)}.")
    measured = {}
    for signature in signatures:
        found = opened.measure(
            path,
            fmt,
            None if inputs is None else inputs.get(signature),
            signature=signature,
            threads=threads,
            percentile=percentile,
            processes=processes,
            samples=samples,
        )
        if found is not None:
            measured[signature] = found
    return measured


def _format(path: Path) -> Format:
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a .tflite or .onnx file.")
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if path.is_dir() and any(path.glob("*.onnx")):
        return "onnx"
    raise InputError(f"{path} does not end in {', '.join(_SUFFIXES)}; rename it to what it is.")
