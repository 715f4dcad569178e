"""Random budgets: those that something keeps must be kept and used, the others refused with one that works.

python -m benchmarks.budgets [--feasible 30] [--infeasible 10] [--json FILE] [--workdir DIR] [--seed N]

A feasible budget is what a random network of the teacher's family measures, and a little more: its bytes,
milliseconds, memory, bytes to download, or two of them. An infeasible one asks for a fraction of what the least network
takes. Each is a run of its own, short trainings on the spoken digits, the teacher's answers and its sensitivity shared;
beside each student stands a network of its family that fits the same bytes, trained from scratch on labels for at least
as long. Finished runs are not repeated. Beside the JSON a page is written, ``budgets.md``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from converters import Program, convert, download_bytes, size_bytes
from demo_apps.speech import demo, digits_net
from mobiledistill._demo import _quick_schedule

DIGITS = demo.tasks["digits"]
KINDS = (
    ("size_bytes",),
    ("latency_ms",),
    ("peak_memory_bytes",),
    ("download_bytes",),
    ("size_bytes", "latency_ms"),
    ("download_bytes", "latency_ms"),
    ("size_bytes", "peak_memory_bytes"),
)
_WIDTHS = (5, 28)  # of the random networks
_ROOM = (1.0, 1.15)  # what a feasible budget leaves above what its network measured
_TOO_LITTLE = (0.1, 0.4)  # of what the least network takes
_LEAST_WIDTH = 2


def main() -> None:
    """Runs the budgets that are missing; writes the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feasible", type=int, default=30)
    parser.add_argument("--infeasible", type=int, default=10)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/budgets.json"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/budgets"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    known = known_figures(options.json)
    bench = _Bench(options.workdir, options.seed)
    wanted = [f"feasible {i}" for i in range(options.feasible)] + [f"infeasible {i}" for i in range(options.infeasible)]
    for name in wanted:
        if name not in known:
            known[name] = bench.feasible(name) if name.startswith("feasible") else bench.infeasible(name)
            keep_figures(options.json, known, page)
            print(name, json.dumps(known[name]), flush=True)


class _Bench:
    """One teacher, one device, and what was measured of random networks."""

    def __init__(self, workdir: Path, seed: int) -> None:
        self._folder, self._seed = workdir, seed
        request = md.DemoRequest("official", None, seed)
        self._task = DIGITS.make_task(request)
        teacher = DIGITS.make_teacher(self._task, seed)
        self._teacher = md.train_model(
            teacher, self._task, DIGITS.teacher_recipe, workdir=workdir / "teacher", seed=seed
        )
        self._schedule = replace(_quick_schedule(DIGITS), seed=seed)
        self._host = md.devices.open("host")

    def feasible(self, name: str) -> dict[str, Any]:
        """What a random network measures, and a little more; then our student, and one from scratch of its bytes."""
        random = np.random.default_rng([self._seed, 1, int(name.split()[1])])
        measured = self._measured(int(random.integers(*_WIDTHS, endpoint=True)))
        kind = KINDS[int(random.integers(len(KINDS)))]
        room = float(random.uniform(*_ROOM))
        budget = {quantity: _whole(quantity, measured[quantity] * room) for quantity in kind}
        result = self._compressed(budget)
        scratch = self._from_scratch(result.artifacts["tflite"].size_bytes)
        return {
            "budget": budget,
            "met": result.met,
            "used": {check.name: round(check.used, 4) for check in result.limits},
            "score": result.score.value,
            "scratch": scratch,
            "bytes": result.artifacts["tflite"].size_bytes,
            "seconds": round(sum(result.seconds.values())),
        }

    def infeasible(self, name: str) -> dict[str, Any]:
        """A fraction of what the least network takes, alone or beside a limit that can be kept."""
        random = np.random.default_rng([self._seed, 2, int(name.split()[1])])
        least, other = self._measured(_LEAST_WIDTH), self._measured(16)
        kind = KINDS[int(random.integers(len(KINDS)))]
        broken = kind[int(random.integers(len(kind)))]
        budget = {
            quantity: _whole(quantity, least[quantity] * random.uniform(*_TOO_LITTLE) if quantity == broken else value)
            for quantity in kind
            for value in (other[quantity],)
        }
        try:
            result = self._compressed(budget, sweep=False)
        except md.BudgetError as error:
            nearest = {**budget, error.binding.name: _whole(error.binding.name, error.smallest)}
            again = self._compressed(nearest)
            return {"budget": budget, "refused": True, "nearest": nearest, "nearest met": again.met}
        return {"budget": budget, "refused": False, "score": result.score.value}

    def _compressed(self, budget: Mapping[str, float], *, sweep: bool = True) -> md.CompressionResult:
        options: Any = {
            "device": self._host,
            "formats": ("tflite",),
            "schedule": self._schedule,
            "distill": DIGITS.distill,
        }
        wanted = md.Budget(**budget)  # type: ignore[arg-type]  # limits by name
        if sweep:  # shares the teacher's answers and the sensitivity
            return md.sweep(self._teacher, self._task, [wanted], workdir=self._folder / "runs", **options).results[0]
        folder = self._folder / "refused" / "-".join(f"{name}{value:g}" for name, value in budget.items())
        return md.compress(self._teacher, self._task, wanted, workdir=folder, **options)

    def _measured(self, width: int) -> dict[str, float]:
        """What the file of an untrained network of this width measures."""
        kept = self._folder / "measured" / f"{width}.json"
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                path = convert(self._integers(width), Path(folder) / "net.tflite")
                one = cast(md.devices.Measurement, self._host.measure(path, "tflite"))  # the host runs TFLite
                found = {
                    "size_bytes": size_bytes(path),
                    "download_bytes": download_bytes(path),
                    "latency_ms": one.ci95_ms[1],
                    "peak_memory_bytes": one.peak_memory_bytes,
                }
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found))
        known: dict[str, float] = json.loads(kept.read_text())
        return known

    def _integers(self, width: int) -> Program:
        with torch.random.fork_rng():
            torch.manual_seed(width)
            net = digits_net(width).eval()
        inputs = {name: torch.from_numpy(value) for name, value in self._task.calibration_inputs("main").items()}
        program = Program(net, {name: value[:1] for name, value in inputs.items()}, ("logits",))
        (integers,) = md.quantize.post_training(program, inputs)
        return integers

    def _from_scratch(self, most_bytes: int) -> float | None:
        """The score of the widest network of the family within the bytes; None where there is none."""
        fitting = [w for w in range(_LEAST_WIDTH, 33) if self._bytes(w) <= most_bytes]
        if not fitting:
            return None
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            net = digits_net(fitting[-1])
        longest = self._schedule.stretch
        schedule = replace(
            self._schedule,
            distill=self._schedule.distill.stretched(longest),
            quantize=self._schedule.quantize.stretched(longest),
            cut_steps=1,
        )
        result = md.compress(
            self._teacher,
            self._task,
            md.Budget(size_bytes=10_000_000),
            student=net,
            distill=md.distill.HardTargets(),
            device=self._host,
            formats=("tflite",),
            schedule=schedule,
            workdir=self._folder / "scratch" / str(fitting[-1]),
        )
        return result.score.value

    def _bytes(self, width: int) -> int:
        """Of a network of the family, from what two of them measured: bytes grow with the square of the width."""
        (low, small), (high, large) = ((w, self._measured(w)["size_bytes"]) for w in (_LEAST_WIDTH, 32))
        if width in (low, high):
            return int(small if width == low else large)
        kept = self._folder / "measured" / f"{width}.json"
        if kept.exists():
            return int(self._measured(width)["size_bytes"])
        return int(small + (large - small) * (width**2 - low**2) / (high**2 - low**2))


def _whole(quantity: str, value: float) -> float:
    return float(f"{value:.4g}") if quantity == "latency_ms" else int(value)


def page(found: Mapping[str, Any]) -> str:
    """Markdown: the sums, then a line a budget."""
    kept = [one for name, one in found.items() if name.startswith("feasible")]
    refused = [one for name, one in found.items() if name.startswith("infeasible")]
    well = sum(max(one["used"].values()) >= 0.92 for one in kept)
    beaten = sum(one["scratch"] is None or one["score"] >= one["scratch"] for one in kept)
    lines = [
        "# Random budgets",
        "",
        "Made by `python -m benchmarks.budgets` from `budgets.json`: spoken digits, short trainings, TFLite.",
        "",
        f"- {sum(one['met'] for one in kept)} of {len(kept)} feasible budgets met as measured; the tightest limit used"
        f" to 92 % or more in {well}; at least as good as a network from scratch of the same bytes in {beaten}.",
        f"- {sum(one['refused'] for one in refused)} of {len(refused)} infeasible ones refused; the nearest budget then"
        f" worked in {sum(bool(one.get('nearest met')) for one in refused)}.",
        "",
        "| budget | met | used | score | from scratch | bytes |",
        "|---|---|---|---|---|---|",
    ]
    for one in kept:
        used = ", ".join(f"{100 * share:.1f} %" for share in one["used"].values())
        scratch = "-" if one["scratch"] is None else f"{one['scratch']:.1f}"
        lines.append(
            f"| {_told(one['budget'])} | {'yes' if one['met'] else 'no'} | {used} | {one['score']:.1f} | {scratch}"
            f" | {one['bytes']:,} |"
        )
    lines += ["", "| infeasible budget | refused | nearest budget | worked |", "|---|---|---|---|"]
    for one in refused:
        nearest = _told(one["nearest"]) if "nearest" in one else "-"
        lines.append(
            f"| {_told(one['budget'])} | {'yes' if one['refused'] else 'no'} | {nearest}"
            f" | {'yes' if one.get('nearest met') else 'no'} |"
        )
    return "\n".join([*lines, ""])


def _told(budget: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,g}" for name, value in budget.items())


if __name__ == "__main__":
    main()
