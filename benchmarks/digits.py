"""The spoken digits under byte budgets, several seeds, scored through the files: what the README quotes.

python -m benchmarks.digits [--quick] [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--cases 12kB 20kB ...]

Each case holds the TFLite file to its bytes; the other two formats are written and scored as well. Finished runs lie in
the work folder and are not repeated, so the program can be stopped and started at will. Beside the JSON a page is
written, ``digits.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from demo_apps.speech import demo
from mobiledistill._demo import run_demo


@dataclass(frozen=True)
class Case:
    """A budget, and what was asked of it.

    Attributes:
        split: ``official``, or ``speaker``, whose voice was never heard.
        budget: what the TFLite file must keep.
        due: percent right that it should reach.
        others: percent right of the best of today's tools in so many bytes, names stripped where they do not strip
            them: Torch-Pruning, TinyNN, Hinton's distillation, post-training quantization, with their own converters.
        quantize: how weights are stored.
    """

    split: str
    budget: md.Budget
    due: float
    others: float
    quantize: md.quantize.Scheme = md.quantize.Int8()  # noqa: RUF009  (frozen)


def _tflite(size_bytes: int) -> md.Budget:
    return md.Budget(size_bytes={"tflite": size_bytes})


CASES = {
    "9kB": Case("official", _tflite(9_000), 94.0, 86.3),
    "12kB": Case("official", _tflite(12_000), 98.0, 92.0),
    "15kB": Case("official", _tflite(15_000), 99.0, 97.7),
    "20kB": Case("official", _tflite(20_000), 99.7, 99.7),
    "speaker-20kB": Case("speaker", _tflite(20_000), 90.0, 85.8),
    "speaker-60kB": Case("speaker", _tflite(60_000), 94.8, 94.8),
}


def main() -> None:
    """Runs every case with every seed; writes the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short trainings")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/digits.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    known = known_figures(options.json)
    for seed in options.seeds:
        for name in options.cases:
            runs = known.setdefault(name, {})
            if str(seed) not in runs:
                runs[str(seed)] = _run(CASES[name], seed, options.workdir / f"seed{seed}", options.quick)
                keep_figures(options.json, known, page)
                print(name, seed, json.dumps(runs[str(seed)]), flush=True)


def _run(case: Case, seed: int, workdir: Path, quick: bool) -> dict[str, Any]:
    """One run of the demo: a teacher of its own for each seed."""
    request = md.DemoRequest(case.split, None, seed, quick)
    task = replace(demo.tasks["digits"], quantize=case.quantize)
    found = run_demo("digits", task, request, case.budget, workdir=workdir).result
    return {
        "met": found.met,
        "teacher": found.teacher.score.value,
        "scores": {form: one.score.value for form, one in found.artifacts.items()},
        "bytes": {form: one.size_bytes for form, one in found.artifacts.items()},
        "recordings": found.score.n,
        "ci95": found.score.ci95,
        "dropped": list(found.plan.dropped),
        "channels": dict(found.plan.channels),
        "seconds": round(sum(found.seconds.values())),
    }


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a line a budget."""
    lines = [
        "# Spoken digits under budgets in bytes",
        "",
        "Made by `python -m benchmarks.digits` from `digits.json`: percent right on the test split, each seed with a",
        "teacher of its own, through the TFLite file (through the Core ML and the ONNX file of the same student in",
        "brackets, where they differ). Others: the best of today's tools at these bytes, on the same recordings.",
        "",
        "| TFLite file | test | percent right, by seed | mean | due | others | bytes | teacher |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        case, seeds = CASES[name], list(runs.values())
        mean = statistics.mean(one["scores"]["tflite"] for one in seeds)
        test = "theo, never heard" if case.split == "speaker" else "official"
        lines.append(
            f"| {name.rpartition('-')[2]} | {test}, {seeds[0]['recordings']} | {', '.join(map(_scores, seeds))}"
            f" | {mean:.1f} | {case.due:g} | {case.others:g}"
            f" | {', '.join(format(one['bytes']['tflite'], ',') for one in seeds)}"
            f" | {', '.join(format(one['teacher'], '.1f') for one in seeds)} |"
        )
    return "\n".join([*lines, ""])


def _scores(run: Mapping[str, Any]) -> str:
    first, *rest = (run["scores"][form] for form in ("tflite", "coreml", "onnx"))
    return f"{first:.1f}" if all(score == first for score in rest) else f"{first:.1f} ({rest[0]:.1f}, {rest[1]:.1f})"


if __name__ == "__main__":
    main()
