"""How well latency and bytes are predicted: fifty students that no fit has seen, measured beside their predictions.

python -m benchmarks.prediction [--quick] [--json FILE] [--seed N] [--workdir DIR] [--networks 72]

Calibrates this computer (or goes on where a calibration was stopped), then measures the students in LiteRT and
onnxruntime, each file twice, and writes them in three formats. Everything measured is kept in the work folder, so the
same call again goes on. Beside the JSON a page is written, ``prediction.md``.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._prediction_page import page
from benchmarks._students import FAMILIES, Student, origin, program_of, students
from converters import FORMATS, Format, Kernel, kernels, size_bytes, suffix_of
from mobiledistill.devices import Host, LatencyTable
from mobiledistill.devices._fit import Hyper, Problem, Timed
from mobiledistill.prune import layer_shapes
from mobiledistill.search import Amounts, CostModel, amounts

_TIMED: tuple[Format, ...] = ("tflite", "onnx")
_PROCESSES, _SAMPLES = 2, 100
_LOOKED_AT = 0  # the seed of the students whose errors were looked at while the predictor was made


def main() -> None:
    """Calibrates, measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/prediction.json"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/prediction"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=72)
    parser.add_argument("--students", type=int, help="draws other students than those of --seed")
    parser.add_argument("--quick", action="store_true", help="a few students and networks: to see it work")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = md.calibrate(
        "host",
        networks=6 if options.quick else options.networks,
        seed=options.seed,
        workdir=options.workdir / "calibration",
        progress=tell,
    )
    table.save(options.workdir / "host.json")
    drawn = options.seed if options.students is None else options.students
    chosen = students(drawn, 0.15 if options.quick else 1.0)
    found = _measured(chosen, options.workdir / "students.json", drawn)
    figures = _judged(table, found, options.workdir / "calibration")
    keep_figures(options.json, figures, page)
    print(page(figures))


def _measured(chosen: Iterable[Student], path: Path, seed: int) -> dict[str, Any]:
    """Every student, and the largest member of every family in both precisions, as far as not known yet."""
    known = known_figures(path)
    host = Host()
    chosen = list(chosen)
    for family in dict.fromkeys(one.family for one in chosen):
        for precision in ("fp32", "int8"):
            if (key := f"{seed} {family} origin {precision}") not in known:
                known[key] = _sizes(Student(key, family, precision, partial(origin, family)), path.parent)
                _keep(path, known)
    for number, student in enumerate(chosen):
        if (key := f"{seed} {student.name}") in known:
            continue
        tell(md.Event("students", number, len(chosen), f"{student.name}, {student.precision}"))
        folder = path.parent / "files"
        found = _sizes(student, path.parent)
        files: dict[Format, Path] = {fmt: folder / f"student{suffix_of(fmt)}" for fmt in _TIMED}
        for fmt, file in files.items():
            found[f"{fmt} kernels"] = [asdict(kernel) for kernel in kernels(file)["main"]]
        for turn in range(2):
            for fmt, file in files.items():
                measured = host.measure(file, fmt, processes=_PROCESSES, samples=_SAMPLES)
                if measured is not None:
                    found[f"{fmt} ms {turn}"] = measured.p50_ms
                    found[f"{fmt} verdict {turn}"] = measured.verdict
        found["load"] = os.getloadavg()[0]
        known[key] = found
        _keep(path, known)
        shutil.rmtree(folder)
    return known


def _sizes(student: Student, workdir: Path) -> dict[str, Any]:
    """A student's files, their bytes, and what the search would know of it."""
    module = student.build()
    inputs = FAMILIES[student.family][2](1)
    layers = layer_shapes(module, lambda net: net(*inputs.values()), ())
    listed = {name for layer in layers for name in (layer.name, f"{layer.name}.weight")}
    # Tables of positions belong to no layer; where the search cuts, they do not change.
    others = sum(value.numel() for name, value in module.named_parameters() if value.ndim > 1 and name not in listed)
    known = amounts(layers).plus(Amounts(weights=others))
    program = program_of(student.family, module, student.precision)
    folder = workdir / "files"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {fmt: size_bytes(md.convert(program, folder / f"student{suffix_of(fmt)}")) for fmt in FORMATS}
    return {
        "family": student.family,
        "precision": student.precision,
        "amounts": {**asdict(known), "parts": [[*part, count] for part, count in known.parts.items()]},
        "parameters": sum(value.numel() for value in module.parameters()),
        "bytes": sizes,
    }


def _keep(path: Path, known: Mapping[str, Any]) -> None:
    keep_figures(path, known, lambda _: "")
    path.with_suffix(".md").unlink()


def _judged(table: LatencyTable, found: Mapping[str, Any], calibration: Path) -> dict[str, Any]:
    lines = _macs_lines(calibration)
    rows = [
        {
            **{key: one[key] for key in ("family", "precision", "load")},
            "name": name,
            **{fmt: _latency_of(table, one, fmt, lines[fmt]) for fmt in _TIMED},
            **{f"{fmt} bytes": _bytes_of(name, one, found, fmt) for fmt in FORMATS},
        }
        for name, one in found.items()
        if "tflite ms 0" in one
    ]
    looked_at = [row for row in rows if row["name"].startswith(f"{_LOOKED_AT} ")]
    later = [row for row in rows if row not in looked_at]
    rows = looked_at or rows
    loads = [row["load"] for row in rows]
    latency = _summary(rows)
    sizes = _bytes(rows)
    if later:
        latency["others, drawn later"] = _of_cells([row[fmt] for row in later for fmt in _TIMED])
        sizes |= {f"{name}, drawn later": one for name, one in _bytes(later).items()}
    return {
        "load": [min(loads), max(loads)],
        "latency": latency,
        "ways": _ways(table, rows, found, calibration),
        "bytes": sizes,
        "table": _of_table(table),
        "students": rows,
    }


def _latency_of(table: LatencyTable, one: Mapping[str, Any], fmt: Format, line: tuple[float, float]) -> dict[str, Any]:
    """A student's milliseconds in a runtime, what the table says of them and what the line through MACs does."""
    called = [Kernel(**kernel) for kernel in one[f"{fmt} kernels"]]
    prediction = table.predicted(called, fmt)
    both = one[f"{fmt} ms 0"], one[f"{fmt} ms 1"]
    measured = sum(both) / 2
    macs = line[0] + line[1] * sum(kernel.macs for kernel in called)
    return {
        "measured_ms": round(measured, 5),
        "predicted_ms": round(prediction.latency_ms, 5),
        "error": round(prediction.latency_ms / measured - 1, 4),
        "repeated": round(abs(both[1] - both[0]) / measured, 4),
        "macs_error": round(macs / measured - 1, 4),
        "unknown": list(prediction.unknown),
    }


def _bytes_of(name: str, one: Mapping[str, Any], found: Mapping[str, Any], fmt: Format) -> dict[str, Any]:
    """A student's bytes, and what the search says of them at first and after a round."""
    anchor = found[f"{name.split()[0]} {one['family']} origin {one['precision']}"]
    cost = CostModel({"fp32": 4.0, "int8": 1.0}[one["precision"]])
    errors = []
    for seen in (anchor, _nearest(name, one, found)):
        cost.correct((fmt, "size_bytes"), _amounts_of(seen), seen["bytes"][fmt])
        predicted = cost.predict((fmt, "size_bytes"), _amounts_of(one))
        errors.append(round(predicted / one["bytes"][fmt] - 1, 5))
    return {"measured": one["bytes"][fmt], "error": errors[0], "error_after_a_round": errors[1]}


def _amounts_of(one: Mapping[str, Any]) -> Amounts:
    parts = {(weights, channels): count for weights, channels, count in one["amounts"]["parts"]}
    return Amounts(**{**one["amounts"], "parts": parts})


def _ways(
    table: LatencyTable, rows: list[dict[str, Any]], found: Mapping[str, Any], calibration: Path
) -> dict[str, Any]:
    """Other ways to predict the same files from the same calibration, each as told of the table."""
    told: dict[str, list[dict[str, Any]]] = {}
    for fmt in _TIMED:
        timed = _timed(calibration, fmt)
        one = table.formats[fmt]
        belief = Hyper(one.spread, one.offset, one.reach, one.noise)
        fits = {
            "amounts of work alone": Problem([file for file, _ in timed]).fit(Hyper(spread=1e-6, offset=1e-6)),
            "whole networks alone": Problem([file for file, whole in timed if whole]).fit(belief),
            "parts alone": Problem([file for file, whole in timed if not whole]).fit(belief),
        }
        for row in rows:
            cell = row[fmt]
            called = [Kernel(**kernel) for kernel in found[row["name"]][f"{fmt} kernels"]]
            for name, fitted in fits.items():
                told.setdefault(name, []).append({**cell, "error": sum(fitted.ms(called)) / cell["measured_ms"] - 1})
            others = [
                other[fmt]["error"]
                for other in rows
                if other is not row and (other["family"], other["precision"]) == (row["family"], row["precision"])
            ]
            scaled = (1 + cell["error"]) / (1 + float(np.median(others))) - 1 if others else cell["error"]
            told.setdefault("the table, scaled by other students of the family", []).append({**cell, "error": scaled})
    return {name: _of_cells(cells) for name, cells in told.items()}


def _timed(calibration: Path, fmt: Format) -> list[tuple[Timed, bool]]:
    """All files of a calibration, and whether they are whole networks."""
    runtime = {"tflite": "LiteRT", "onnx": "onnxruntime"}[fmt]
    return [
        (Timed(tuple(Kernel(**kernel) for kernel in file["kernels"]), file["ms"]), file["whole"])
        for path in sorted(calibration.glob("*-*.json"))
        for unit in known_figures(path).values()
        for file in unit.get("files", ())
        if unit["runtime"]["name"] == runtime
    ]


def _nearest(name: str, one: Mapping[str, Any], found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the same draw, the student of one family and precision whose size is nearest: a search's first round."""
    others = [
        other
        for key, other in found.items()
        if key != name
        and (key.split()[0], other["family"], other["precision"]) == (name.split()[0], one["family"], one["precision"])
    ]
    return min(others, key=lambda other: abs(math.log(other["amounts"]["weights"] / one["amounts"]["weights"])))


def _macs_lines(calibration: Path) -> dict[str, tuple[float, float]]:
    """For each runtime a line through multiply-accumulates, by relative least squares on the calibration's networks."""
    found: dict[str, tuple[float, float]] = {}
    for fmt in _TIMED:
        points = [(sum(k.macs for k in file.kernels), file.ms) for file, whole in _timed(calibration, fmt) if whole]
        macs, ms = np.array(points).T
        solved = np.linalg.lstsq(np.stack([1 / ms, macs / ms], 1), np.ones(len(ms)), rcond=None)[0]
        found[fmt] = (float(solved[0]), float(solved[1]))
    return found


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for fmt in _TIMED:
        for precision in ("fp32", "int8"):
            cells = [row[fmt] for row in rows if row["precision"] == precision]
            if cells:
                found[f"{fmt} {precision}"] = _of_cells(cells)
    found["all"] = _of_cells([row[fmt] for row in rows for fmt in _TIMED])
    return found


def _of_cells(cells: list[dict[str, Any]]) -> dict[str, Any]:
    errors = np.array([abs(cell["error"]) for cell in cells])
    repeated = np.array([cell["repeated"] for cell in cells])
    macs = np.array([abs(cell["macs_error"]) for cell in cells])
    return {
        "files": len(cells),
        "within": round(float(np.mean(errors <= np.maximum(0.10, 2 * repeated))), 3),
        "median_error": round(float(np.median(errors)), 4),
        "p95_error": round(float(np.quantile(errors, 0.95)), 4),
        "bias": round(float(np.median([cell["error"] for cell in cells])), 4),
        "macs_median_error": round(float(np.median(macs)), 4),
        "repeatability_median": round(float(np.median(repeated)), 4),
        "repeatability_p95": round(float(np.quantile(repeated, 0.95)), 4),
    }


def _bytes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fmt in FORMATS:
        for precision in ("fp32", "int8"):
            cells = [row[f"{fmt} bytes"] for row in rows if row["precision"] == precision]
            if not cells:
                continue
            found[f"{fmt} {precision}"] = {"files": len(cells)}
            for when in ("error", "error_after_a_round"):
                errors = np.abs([cell[when] for cell in cells])
                found[f"{fmt} {precision}"][when] = {
                    "within": round(float(np.mean(errors <= 0.01)), 3),
                    "median": round(float(np.median(errors)), 5),
                    "largest": round(float(errors.max()), 5),
                }
    return found


def _of_table(table: LatencyTable) -> dict[str, Any]:
    return {
        "cpu": table.device.cpu,
        "networks": table.networks,
        **{
            fmt: {
                "runtime": f"{one.runtime.name} {one.runtime.version}",
                "files": one.files,
                "kinds": len(one.kinds),
                "holdout_error": round(one.error, 4),
                "repeatability": round(one.repeatability, 4),
            }
            for fmt, one in table.formats.items()
        },
    }


if __name__ == "__main__":
    main()
