"""Latency tables of devices other than this computer: calibrated there, and judged there on students they never saw.

python -m benchmarks.device_tables --device browser [--chromium PROGRAM] [--networks 24] [--students 20]
        [--json FILE] [--workdir DIR]

Calibrates the device (or goes on where a calibration was stopped), then measures the students, each file twice, beside
what the table says of them. ``--chromium`` opens the page of ``--device browser`` by itself. Figures of other devices
are kept. Beside the JSON a page is written, ``device_tables.md``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._students import Student, program_of, students
from converters import Format, suffix_of
from mobiledistill.devices import Browser, Device, LatencyTable

_WITHIN = 0.10
_SAMPLES = 60


def main() -> None:
    """Calibrates, measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="browser", help="as `mobiledistill calibrate` takes it")
    parser.add_argument("--chromium", help="a program that opens the page, headless")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--students", type=int, default=20)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/device_tables.json"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/device-tables"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with _opened(options.device, options.chromium) as device:
        found = _calibrated_and_judged(device, options.workdir / options.device.replace(":", "-"), options)
    figures = known_figures(options.json)
    keep_figures(options.json, {**figures, options.device: found}, page)
    print(options.json.with_suffix(".md").read_text())


def _calibrated_and_judged(device: Device, workdir: Path, options: argparse.Namespace) -> dict[str, Any]:
    table = md.calibrate(device, networks=options.networks, workdir=workdir / "calibration", progress=tell)
    table.save(workdir / "table.json")
    chosen = students(0)[: options.students]
    cells: dict[Format, list[dict[str, Any]]] = {fmt: [] for fmt in table.formats}
    known = known_figures(workdir / "students.json")
    for number, student in enumerate(chosen):
        if student.name not in known:
            tell(md.Event("students", number, len(chosen), f"{student.name}, {student.precision}"))
            known[student.name] = {fmt: _measured(student, fmt, device, table, workdir) for fmt in table.formats}
            keep_figures(workdir / "students.json", known, lambda _: "")
        for fmt, found in cells.items():
            found.append(known[student.name][fmt])
    return {
        "device": table.device.name,
        "cpu": table.device.cpu,
        "networks": table.networks,
        "formats": {fmt: _judged(table, fmt, found) for fmt, found in cells.items()},
    }


@contextmanager
def _opened(spec: str, chromium: str | None) -> Iterator[Device]:
    if chromium is None:
        yield md.devices.open(spec)
        return
    opened: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="device-tables-", ignore_cleanup_errors=True) as profile:

        def announce(address: str) -> None:
            call = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", address]
            opened.append(subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        device = Browser(port=0, announce=announce)
        try:
            yield device
        finally:
            device.close()
            for one in opened:
                one.terminate()
                one.wait()


def _measured(student: Student, fmt: Format, device: Device, table: LatencyTable, workdir: Path) -> dict[str, Any]:
    """What one file takes there, twice, and what the table says."""
    folder = workdir / "files"
    folder.mkdir(parents=True, exist_ok=True)
    program = program_of(student.family, student.build(), student.precision)
    path = md.convert(program, folder / f"student{suffix_of(fmt)}")
    measure = partial(device.measure, path, fmt, processes=2, samples=_SAMPLES)
    both = [one.p50_ms for one in (measure(), measure()) if one is not None]
    predicted = table.predict(path)
    shutil.rmtree(folder)
    measured = sum(both) / len(both)
    return {
        "measured_ms": round(measured, 5),
        "predicted_ms": round(predicted.latency_ms, 5),
        "error": round(predicted.latency_ms / measured - 1, 4),
        "repeated": round(abs(both[-1] - both[0]) / measured, 4),
    }


def _judged(table: LatencyTable, fmt: Format, cells: list[dict[str, Any]]) -> dict[str, Any]:
    errors = np.array([abs(cell["error"]) for cell in cells])
    repeated = np.array([cell["repeated"] for cell in cells])
    of_table = table.formats[fmt]
    return {
        "runtime": f"{of_table.runtime.name} {of_table.runtime.version}",
        "files": of_table.files,
        "told_error": round(of_table.error, 4),
        "students": len(cells),
        "shortest_ms": min(cell["measured_ms"] for cell in cells),
        "longest_ms": max(cell["measured_ms"] for cell in cells),
        "within": round(float(np.mean(errors <= np.maximum(_WITHIN, 2 * repeated))), 3),
        "median_error": round(float(np.median(errors)), 4),
        "p95_error": round(float(np.quantile(errors, 0.95)), 4),
        "repeatability_median": round(float(np.median(repeated)), 4),
    }


def page(found: Mapping[str, Any]) -> str:
    """Markdown: one row for each device and runtime."""
    lines = [
        "# Latency tables of other devices",
        "",
        "Made by `python -m benchmarks.device_tables` from `device_tables.json`. Each device was calibrated on drawn",
        "networks, then measured the students, which the fit has not seen. `within` counts predictions off by at most",
        "10 %, or by twice what the same file differs from itself when measured again.",
        "",
        "| device | runtime | networks | students, ms | within | median error | 95 % below | measured twice | the table"
        " says |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for spec, device in found.items():
        for one in device["formats"].values():
            lines.append(
                f"| `{spec}`: {device['device']} | {one['runtime']} | {device['networks']} | {one['students']},"
                f" {one['shortest_ms']:.2f} to {one['longest_ms']:.1f} | {one['within']:.0%} |"
                f" {one['median_error']:.1%} | {one['p95_error']:.0%} | {one['repeatability_median']:.1%} |"
                f" 95 % within {one['told_error']:.0%} |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
