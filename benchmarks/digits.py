"""The spoken digits under byte budgets, several seeds, scored through the files: what the README quotes.

python benchmarks/digits.py [--quick] [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--cases 12kB 20kB ...]

Finished runs lie in the work folder and are not repeated, so the program can be stopped and started at will.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CASES = {
    "12kB": ["--formats", "tflite", "--size", "12kB"],
    "20kB": ["--formats", "tflite", "--size", "20kB"],
    "60kB": ["--size", "60kB", "--latency", "0.3ms"],
    "speaker-30kB": ["--split", "speaker", "--formats", "tflite", "--size", "30kB"],
}


def main() -> None:
    """Runs every case with every seed and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short trainings")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    for case in options.cases:
        runs = [run(case, seed, options.workdir / f"seed{seed}", options.quick) for seed in options.seeds]
        scores = [found["score"]["value"] for found in runs]
        rows[case] = {
            "scores": scores,
            "mean": statistics.mean(scores),
            "teachers": [found["teacher"]["score"]["value"] for found in runs],
            "bytes": [{f: a["size_bytes"] for f, a in found["artifacts"].items()} for found in runs],
            "met": [found["met"] for found in runs],
            "seconds": [sum(found["seconds"].values()) for found in runs],
        }
        print(case, json.dumps(rows[case]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


def run(case: str, seed: int, workdir: Path, quick: bool) -> dict[str, Any]:
    """One run of the demo; its JSON is kept beside the work folder."""
    kept = workdir / f"{case}{'-quick' if quick else ''}.json"
    if not kept.exists():
        command = [sys.executable, "-m", "mobiledistill", "demo", "speech", *CASES[case], "--seed", str(seed)]
        command += ["--workdir", str(workdir), "--json", *(["--quick"] if quick else [])]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        kept.write_text(out)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


if __name__ == "__main__":
    main()
