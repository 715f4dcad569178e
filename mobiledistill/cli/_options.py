"""Options that mean the same wherever they apply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from converters import FORMATS, Format, InputError
from mobiledistill import devices
from mobiledistill._budget import Budget, parse_bytes, parse_ms
from mobiledistill.quantize import Fp16, Int4, Int8, Int8Or4, Scheme

__all__ = [
    "App",
    "Backend",
    "Data",
    "Device",
    "Download",
    "Drop",
    "Formats",
    "Json",
    "Latency",
    "LatencyShare",
    "Memory",
    "Quantize",
    "Quick",
    "Seed",
    "Size",
    "TensorBoard",
    "Trust",
    "Upload",
    "Workdir",
    "budget_of",
    "device_of",
    "formats_of",
    "scheme_of",
]

Size = Annotated[str | None, typer.Option("--size", help="Most bytes of each file, such as 60kB (1 kB = 1000 bytes).")]
Latency = Annotated[
    str | None, typer.Option("--latency", help="Most time of one use, such as 0.3ms; 0.3ms@p90 for a percentile.")
]
LatencyShare = Annotated[
    float | None, typer.Option("--latency-share", help="Most time of one use, in shares of the teacher's: 0.5 is half.")
]
Memory = Annotated[str | None, typer.Option("--memory", help="Most memory that loading and running adds, such as 5MB.")]
Download = Annotated[
    str | None, typer.Option("--download", help="Most bytes of each file once compressed for a store.")
]
Drop = Annotated[
    float | None, typer.Option("--max-drop", help="Most points of the metric lost against the teacher (validation).")
]
Formats = Annotated[str, typer.Option("--formats", help="Which files to write, commas between.")]
Quantize = Annotated[
    str | None, typer.Option("--quantize", help="How weights are stored: int8, int4, int8or4 (by layer), fp16 or no.")
]
Device = Annotated[
    str,
    typer.Option("--device", help="What measures: host, adb:SERIAL, ios:UDID, aihub:PHONE, browser, or table:FILE."),
]
Upload = Annotated[bool, typer.Option("--upload", help="Let a hosted phone's service have the model.")]
App = Annotated[
    Path | None,
    typer.Option("--app", help="On an Android phone: the APK built from demo_apps/android, which then measures."),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="What computes: in the app cpu, gpu, npu (.tflite), xnnpack, nnapi, qnn (.onnx);"
        " in a browser wasm, webgpu.",
    ),
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder with the data; else MOBILEDISTILL_DATA.")]
Workdir = Annotated[Path, typer.Option("--workdir", help="Folder for everything a run keeps; the same call resumes.")]
Seed = Annotated[int, typer.Option("--seed", help="Of everything random.")]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", help="Folder for curves of every training, which TensorBoard shows.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Train and time much less: to see it work, not for the figures.")]
Trust = Annotated[bool, typer.Option("--trust", help="Open a SavedModel, which can run code.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]


def device_of(name: str, upload: bool, app: Path | None, backend: str | None) -> str | devices.Device:
    """What measures: its name, or the device itself where more was said of it than that."""
    if not upload and app is None and backend is None:
        return name
    return devices.open(name, upload=upload, app=app, backend=backend)


def budget_of(
    size: str | None,
    latency: str | None,
    latency_share: float | None,
    memory: str | None,
    download: str | None,
    drop: float | None,
) -> Budget:
    """The budget that the options spell out."""
    if all(limit is None for limit in (size, latency, latency_share, memory, download, drop)):
        raise InputError("No limit was given; give at least one, for example --size 60kB or --latency 0.3ms.")
    amount, asked, percentile = (latency or "").partition("@p")
    if asked and ("," in percentile or not percentile):
        raise InputError(f"--latency {latency!r} holds no percentile; write for example 0.5ms@p90.")
    percentile_limit = Budget.parse(f"1ms@p{percentile}").latency_percentile if percentile else 50.0
    return Budget(
        size_bytes=None if size is None else parse_bytes(size),
        latency_ms=None if latency is None else parse_ms(amount),
        latency_share=latency_share,
        peak_memory_bytes=None if memory is None else parse_bytes(memory),
        download_bytes=None if download is None else parse_bytes(download),
        max_metric_drop=drop,
        latency_percentile=percentile_limit,
    )


_SCHEMES: dict[str, Scheme] = {"int8": Int8(), "int4": Int4(), "int8or4": Int8Or4(), "fp16": Fp16(), "no": None}


def scheme_of(word: str) -> Scheme:
    """The scheme that ``--quantize`` names."""
    if word not in _SCHEMES:
        raise InputError(f"--quantize {word!r} is not understood; give one of {', '.join(_SCHEMES)}.")
    return _SCHEMES[word]


def formats_of(text: str) -> tuple[Format, ...]:
    """The formats that ``--formats tflite,onnx`` names."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise InputError(f"--formats {text!r} is not understood; give some of {','.join(FORMATS)}.")
    return tuple(format for format in FORMATS if format in names)
