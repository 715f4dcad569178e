"""Results with numbers as real runs have them; measurements go through the real schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from converters import Format, Parity
from mobiledistill import (
    Artifact,
    Budget,
    CompressionResult,
    Ending,
    LimitCheck,
    Measurement,
    Metric,
    Plan,
    Score,
    TeacherFacts,
)
from mobiledistill.devices import Backend, DeviceInfo, Reference, RuntimeInfo, Telemetry, latency_per_use
from mobiledistill.search import Sensitivity

__all__ = ["digits", "family", "measurement", "one_format", "unmeasured", "unreachable"]

ACCURACY = Metric("accuracy", "%")
CHANNELS = {
    "stem": (32, 9),
    "stage1.conv": (32, 11),
    "stage1.expand": (48, 14),
    "stage2.conv": (64, 22),
    "stage2.expand": (96, 30),
    "stage3.conv": (96, 27),
}
RISES = {
    name: {channels * 3 // 4: 0.11 * place, channels // 2: 0.74 * place, channels // 4: 2.02 * place}
    for place, (name, (channels, _)) in enumerate(CHANNELS.items(), start=1)
} | {"stage3.block": {0: 1.734}}
LAYERS = [
    ("stem.conv", 288, 81),
    ("stage1.conv1", 9_216, 891),
    ("stage1.conv2", 9_216, 1_089),
    ("stage1.expand", 13_824, 1_386),
    ("stage2.conv1", 27_648, 2_772),
    ("stage2.conv2", 36_864, 4_356),
    ("stage2.expand", 55_296, 5_940),
    ("stage3.conv1", 82_944, 7_290),
    ("stage3.conv2", 9_216, 0),
    ("classifier", 960, 270),
]


def score(value: float, n: int = 300) -> Score:
    """A score with its Wilson interval."""
    share, z = value / 100, 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Score(value, n, (100 * (middle - half), 100 * (middle + half)))


def measurement(format: Format, median_ms: float, peak_memory_bytes: int | None = 3_410_000) -> Measurement:
    """Five processes of 200 samples each around a median, skewed as latencies are."""
    draw = np.random.default_rng(round(1e6 * median_ms))
    samples = tuple(
        tuple(float(value) for value in median_ms * (0.985 + pace + 0.03 * draw.gamma(0.8, 1.0, 200)))
        for pace in draw.normal(0.0, 0.008, 5)
    )
    flat = np.concatenate(samples)
    p50, p90 = (float(np.percentile(flat, percent)) for percent in (50, 90))
    return Measurement(
        device=DeviceInfo(name="host", os="Linux 6.8", cpu="Intel Xeon Platinum 8481C, 2 cores"),
        runtime=RuntimeInfo(name="LiteRT" if format == "tflite" else "onnxruntime", version="2.3.1"),
        path_kind="host",
        file=f"student.{format}",
        sha256="0" * 64,
        format=format,
        signature="main",
        backend=Backend(asked="cpu", obtained="cpu"),
        threads=1,
        batch=1,
        samples_ms=samples,
        percentile=50,
        latency_ms=p50,
        ci95_ms=(0.99 * p50, 1.012 * p50),
        p50_ms=p50,
        p90_ms=p90,
        drift_first_to_last_third=0.004,
        reference=Reference(sha256="1" * 64, samples_ms=((0.2, 0.2),), drift=0.004, largest_drift=0.021),
        load_cold_ms=2.31,
        load_warm_ms=0.94,
        first_run_ms=0.12,
        peak_memory_bytes=peak_memory_bytes,
        telemetry_before=Telemetry(loadavg=(0.42, 0.51, 0.6), cpu_mhz=2700.0),
        telemetry_after=Telemetry(loadavg=(0.97, 0.62, 0.6), cpu_mhz=2700.0),
        verdict="valid",
    )


def artifact(format: Format, size_bytes: int, median_ms: float | None, test: float = 99.667) -> Artifact:
    names = {"tflite": "student.tflite", "coreml": "student.mlpackage", "onnx": "student.onnx"}
    return Artifact(
        format=format,
        path=Path("runs/digits/artifacts") / names[format],
        size_bytes=size_bytes,
        download_bytes=round(0.83 * size_bytes),
        validation_score=score(99.259, 270),
        score=score(test),
        parity=Parity({"tflite": 41.2, "coreml": 38.94, "onnx": math.inf}[format], 1.0, 1.0, True, 64),
        latency=None if median_ms is None else measurement(format, median_ms),
        use=None if median_ms is None else latency_per_use({"main": measurement(format, median_ms)}),
    )


def history(phases: Mapping[str, int]) -> list[tuple[str, int, float, float | None]]:
    """Scores that rise and fall back at every cut; every second epoch is scored while cutting."""
    entries: list[tuple[str, int, float, float | None]] = []
    draw = np.random.default_rng(3)
    for phase, epochs in phases.items():
        start, end = {"cut": (80.0, 97.0), "distill": (88.0, 99.4), "quantize": (97.9, 99.3)}[phase.split()[0]]
        for epoch in range(1, epochs + 1):
            value = end - (end - start) * math.exp(-4.0 * epoch / epochs) + float(draw.normal(0, 0.25))
            scored = epoch % 2 == 0 or not phase.startswith("cut")
            entries.append((phase, epoch, 0.02 + (100 - value) / 11, min(value, 100.0) if scored else None))
    return entries


def digits() -> CompressionResult:
    """A run whose three files keep size and latency, Core ML's latency unmeasured."""
    artifacts: dict[Format, Artifact] = {
        "tflite": artifact("tflite", 58_412, 0.0353),
        "coreml": artifact("coreml", 59_870, None),
        "onnx": artifact("onnx", 57_906, 0.0712, test=99.333),
    }
    limits = [LimitCheck(f, "size_bytes", 60_000, a.size_bytes, "met") for f, a in artifacts.items()]
    for format, file in artifacts.items():
        limits.append(LimitCheck(format, "latency_ms", 0.3, file.latency_ms, "met" if file.latency else "unmeasured"))
    limits.append(LimitCheck(None, "max_metric_drop", 1.0, 0.37, "met"))
    kept = {name: kept for name, (_, kept) in CHANNELS.items()}
    full = {name: channels for name, (channels, _) in CHANNELS.items()}
    return CompressionResult(
        task="digits",
        budget=Budget(size_bytes=60_000, latency_ms=0.3, max_metric_drop=1.0),
        metric=ACCURACY,
        teacher=TeacherFacts(
            score=score(100.0),
            validation_score=score(99.63, 270),
            parameters=245_472,
            size_bytes=991_204,
            latency=measurement("tflite", 0.624),
            use=latency_per_use({"main": measurement("tflite", 0.624)}),
            quantized_size_bytes=262_840,
            quantized_latency=measurement("tflite", 0.212),
            quantized_use=latency_per_use({"main": measurement("tflite", 0.212)}),
        ),
        artifacts=artifacts,
        limits=limits,
        plan=Plan(channels=kept, original_channels=full),
        student=nn.Identity(),
        ending=Ending.BUDGET_USED,
        history=history({"cut 1/3": 4, "cut 2/3": 4, "distill": 40, "quantize": 8}),
        layers=LAYERS,
        seconds={"analyze": 3.2, "teacher": 21.4, "search": 48.9, "cut": 30.0, "distill": 181.3, "quantize": 62.0}
        | {"convert": 22.8, "verify": 4.1, "score": 6.0, "measure": 33.7},
        rounds=[
            {"plan": full, "width": None, "trained": False, "measured": _round(0.212, 262_840)},
            {"plan": kept | {"stem": 12}, "width": None, "trained": False, "measured": _round(0.041, 66_201)},
            {"plan": kept, "width": None, "trained": False, "measured": _round(0.0361, 58_396)},
        ],
        notes=("Synthetic speech: no recordings were found.",),
        sensitivity=Sensitivity(0.0036, RISES, 5.82),
    )


def one_format() -> CompressionResult:
    """TFLite alone, nothing cut, nothing trained."""
    result = digits()
    full = dict(result.plan.original_channels)
    tflite = replace(result.artifacts["tflite"], size_bytes=19_612)
    return replace(
        result,
        budget=Budget(size_bytes=20_000),
        artifacts={"tflite": tflite},
        limits=[LimitCheck("tflite", "size_bytes", 20_000, 19_612, "met")],
        plan=Plan(channels=full, original_channels=full),
        layers=[(name, before, before) for name, before, _ in LAYERS],
        ending=Ending.NOTHING_CUT,
        history=[],
        rounds=[],
        notes=(),
    )


def unmeasured() -> CompressionResult:
    """Core ML alone, with nothing to measure its latency and memory: no limit has a value."""
    result = digits()
    names = {"latency_ms": 0.3, "peak_memory_bytes": 4_000_000.0}
    return replace(
        result,
        budget=Budget(latency_ms=0.3, peak_memory_bytes=4_000_000),
        teacher=replace(result.teacher, latency=None, use=None, quantized_latency=None, quantized_use=None),
        artifacts={"coreml": result.artifacts["coreml"]},
        limits=[LimitCheck("coreml", name, limit, None, "unmeasured") for name, limit in names.items()],
    )


def unreachable() -> CompressionResult:
    """The nearest result of a budget of 1 kB: size missed, and a latency whose interval reaches over its limit."""
    result = digits()
    tflite = replace(result.artifacts["tflite"], size_bytes=4_212, score=score(61.0))
    latency = tflite.latency
    assert latency is not None
    return replace(
        result,
        budget=Budget(size_bytes=1_000, latency_ms=1.004 * latency.p50_ms),
        artifacts={"tflite": tflite},
        limits=[
            LimitCheck("tflite", "size_bytes", 1_000, 4_212, "missed"),
            LimitCheck("tflite", "latency_ms", 1.004 * latency.p50_ms, latency.p50_ms, "missed"),
        ],
        ending=Ending.NO_LARGER_FITS,
        rounds=[{"plan": {"stem": 2}, "trained": True, "missed": [_missed()]}],
    )


def family() -> CompressionResult:
    """A member of a (width, depth) family: no channels, and layers that were never larger."""
    result = digits()
    return replace(
        result,
        plan=Plan(width=14, depth=2),
        layers=[(name, after, after) for name, _, after in LAYERS if after],
        history=history({"distill": 40, "quantize": 8}),
        rounds=[
            {"plan": {}, "width": 14, "depth": 2, "trained": False, "measured": _round(0.0361, 58_396)},
            {"plan": {}, "width": 14, "depth": 2, "trained": False, "quick_loss": 0.43125},
        ],
    )


def _round(latency_ms: float, size_bytes: int) -> dict[str, float]:
    values = {f"{format}/size_bytes": size_bytes + extra for format, extra in (("tflite", 0), ("coreml", 1400))}
    return {**values, "tflite/latency_ms": latency_ms}


def _missed() -> dict[str, Any]:
    return {"format": "tflite", "name": "size_bytes", "limit": 1000, "measured": 4212, "status": "missed"}
