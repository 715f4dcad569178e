"""Gives damaged files to every reader: ``python -m benchmarks.fuzz [READER ...]``.

Files are made from the seed and their number, so that any of them can be made again. What is done already is not done
again; the page is written beside the JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fuzz._page import page
from benchmarks.fuzz._readers import READERS
from benchmarks.fuzz._run import Case, cases, corpus_of

_BATCH = 250
_QUICK_FILES = 200
_MOST_FAULTS = 20
_NOTHING = {
    "files": 0, "refused": 0, "accepted": 0, "crashes": 0, "hangs": 0, "most_seconds": 0.0, "most_bytes": 0,
    "faults": [],
}  # fmt: skip
_COUNTED = {"refused": "refused", "accepted": "accepted", "crash": "crashes", "hang": "hangs"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Goes on where the JSON ends, and writes it down after every few hundred files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "readers", nargs="*", metavar="READER", help=f"only these; default: all of {', '.join(READERS)}"
    )
    parser.add_argument("--files", type=int, default=10_000, help="for each reader; default: 10,000")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/fuzz.json"), help="where the tallies are")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_FILES} files for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="forget what is done already")
    wanted = parser.parse_args(arguments)
    names = wanted.readers or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    known: dict[str, Any] = json.loads(wanted.json.read_text()) if wanted.json.exists() else {}
    wanted.json.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        if wanted.again or known.get(name, {}).get("seed") != wanted.seed:
            known[name] = {"seed": wanted.seed, **_NOTHING, "faults": []}
        tally = known[name]
        files = _QUICK_FILES if wanted.quick else wanted.files
        if tally["files"] >= files:
            continue
        corpus = corpus_of(name)
        for start in range(tally["files"], files, _BATCH):
            for case in cases(READERS[name], corpus, range(start, min(start + _BATCH, files)), wanted.seed):
                _count(tally, case)
            _write(wanted.json, known)
            print(
                f"{name:12} {tally['files']:6} of {files}: {tally['crashes']} crashes, {tally['hangs']} hangs",
                flush=True,
            )


def _count(tally: dict[str, Any], case: Case) -> None:
    tally["files"] += 1
    tally[_COUNTED[case.outcome]] += 1
    tally["most_seconds"] = max(tally["most_seconds"], round(case.seconds, 3))
    tally["most_bytes"] = max(tally["most_bytes"], case.bytes)
    if case.outcome in ("crash", "hang") and len(tally["faults"]) < _MOST_FAULTS:
        tally["faults"].append({"index": case.index, "reason": case.reason})


def _write(path: Path, found: dict[str, Any]) -> None:
    """One line a reader, in their order, and the page."""
    ordered = {name: found[name] for name in READERS if name in found}
    lines = [f"{json.dumps(name)}: {json.dumps(tally)}" for name, tally in ordered.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    path.with_suffix(".md").write_text(page(ordered))


if __name__ == "__main__":
    main()
