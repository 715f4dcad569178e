"""The phones' program beside this computer's Python runtimes: the same files, the same runtimes, in turns.

python -m benchmarks.harness [--quick] [--rounds 15] [--json FILE] [--workdir DIR]

Each round runs one fresh process of either on the same core and the same inputs, in an order that turns round, and asks
each for 200 samples; told is the median over rounds of their ratio, with its interval, and what timing itself adds to
a run of ``mdharness``. Needs gcc. Beside the JSON a page is written, ``harness.md``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import mobiledistill as md
from benchmarks._figures import keep_figures
from benchmarks._students import program_of, students
from converters import Format, suffix_of
from mobiledistill.devices import Host, Subject
from mobiledistill.devices._android_prepare import prepare
from mobiledistill.devices._host import answers, cpu_name

_CHOSEN = ("digits 1", "keyword-transformer 2", "resnet 0", "digits 0", "detector 1", "detector 0")
"""Students from a fiftieth of a millisecond to more than one."""

_WITHIN = 0.03
_LIBRARIES: Mapping[Format, tuple[str, str, str]] = {
    "tflite": ("litert", "ai_edge_litert", "libLiteRt.so"),
    "onnx": ("onnxruntime", "onnxruntime", "capi/libonnxruntime.so*"),
}
"""Of each format: what mdharness calls its runtime, the package of Python that brings it, where in there."""

_REFERENCES = Path(md.devices.__file__).parent / "assets"


def main() -> None:
    """Measures all, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two files, three rounds, few samples")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/harness.json"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/harness"))
    options = parser.parse_args()
    rounds, samples = (3, 20) if options.quick else (options.rounds, 200)
    libraries = {fmt: _library(fmt) for fmt in _LIBRARIES}
    prepare("gcc", list(libraries.values()), abi="x86_64", folder=options.workdir)
    harness = options.workdir / "x86_64" / "mdharness"
    found: list[dict[str, Any]] = []
    for student in students(0):
        if student.name not in _CHOSEN[:: 5 if options.quick else 1]:
            continue
        program = program_of(student.family, student.build(), student.precision)
        for fmt, library in libraries.items():
            path = md.convert(program, options.workdir / f"student{suffix_of(fmt)}")
            one = _in_turns(harness, path, fmt, library, rounds, samples)
            found.append({"student": student.name, "precision": student.precision, "format": fmt, **one})
            print(json.dumps(found[-1]), flush=True)
    figures = {"cpu": cpu_name(), "rounds": rounds, "samples": samples, "load": round(os.getloadavg()[0], 1)}
    keep_figures(options.json, {**figures, "files": found}, page)


def _in_turns(harness: Path, path: Path, fmt: Format, library: Path, rounds: int, samples: int) -> dict[str, Any]:
    """Medians of either in each round, as one figure."""
    host, core, inputs = Host(), max(os.sched_getaffinity(0)), path.with_name("inputs.safetensors")
    (due,) = answers([Subject(path, fmt)])
    save_file(due.inputs, inputs)
    runtime_ms: list[float] = []
    harness_ms: list[float] = []
    own_us: list[float] = []

    def by_python() -> None:
        subject = Subject(path, fmt, due.inputs)
        (measured,) = host.measure_interleaved([subject], processes=1, samples=samples, memory=False)
        runtime_ms.append(measured.latency_ms)

    def by_harness() -> None:
        call: list[str | Path] = [
            harness,
            "latency",
            "--runtime",
            _LIBRARIES[fmt][0],
            "--library",
            library,
            "--model",
            path,
        ]
        call += ["--reference", _REFERENCES / f"reference.{fmt}", "--samples", str(samples), "--cores", str(core)]
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        result = json.loads(said)["result"]
        harness_ms.append(statistics.median(result["files"][0]["samples_ns"]) / 1e6)
        own_us.append(result["own_ns"] / 1e3)

    for number in range(rounds):
        for way in (by_python, by_harness)[:: 1 if number % 2 == 0 else -1]:
            way()
    ratios = [one / other for one, other in zip(harness_ms, runtime_ms, strict=True)]
    draw = random.Random(0)
    medians = [statistics.median(draw.choices(ratios, k=rounds)) for _ in range(2000)]
    return {
        "python_ms": round(statistics.median(runtime_ms), 5),
        "harness_ms": round(statistics.median(harness_ms), 5),
        "ratio": round(statistics.median(ratios), 4),
        "ci95": [round(float(q), 4) for q in np.quantile(medians, [0.025, 0.975])],
        "own_us": round(statistics.median(own_us), 3),
    }


def _library(fmt: Format) -> Path:
    """The runtime's shared library that Python's package brings along."""
    _, package, pattern = _LIBRARIES[fmt]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed; pip install 'mobiledistill[{fmt}]'.")
    return next(iter(sorted(Path(spec.origin).parent.glob(pattern))))


def page(found: Mapping[str, Any]) -> str:
    """Markdown: each file by both."""
    files = found["files"]
    within = sum(abs(one["ratio"] - 1) <= _WITHIN for one in files)
    least_us = 1e3 * min(one["harness_ms"] for one in files)
    own_us = max(one["own_us"] for one in files)
    lines = [
        "# The phones' program beside Python's runtimes",
        "",
        "Made by `python -m benchmarks.harness` from `harness.json`: `mdharness`, built for this computer, and the",
        "processes of `Host` run the same files in the same versions of the runtimes, one process of either a round.",
        f"{found['cpu']}, one thread, {found['rounds']} rounds of {found['samples']} samples, load {found['load']}.",
        "",
        "| student | file | by Python, ms | by mdharness, ms | less, us | ratio | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in files:
        low, high = one["ci95"]
        lines.append(
            f"| {one['student']}, {one['precision']} | {one['format']} | {one['python_ms']:.4f} |"
            f" {one['harness_ms']:.4f} | {1e3 * (one['python_ms'] - one['harness_ms']):.1f} | {one['ratio']:.3f} |"
            f" {low:.3f} to {high:.3f} |"
        )
    lines += [
        "",
        f"- Within 3 % of Python's: {within} of {len(files)}.",
        "- Python's `onnxruntime` is another build of the library than the `libonnxruntime.so` beside it, which apps",
        "  have and `mdharness` loads, and its binding takes a microsecond or two of each call. That of LiteRT is left",
        "  out of the time.",
        f"- What timing adds to a run of mdharness: {own_us:.2f} us, of a shortest run of {least_us:.1f} us.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
