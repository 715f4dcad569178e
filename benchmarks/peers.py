"""Ours beside other tools under budgets: same teacher, same data, same steps, same machine, scored through the files.

python -m benchmarks.peers [--quick] [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--cases size-12kB ...]
                           [--methods pruned alone ours ...]

Spoken digits, the speaker theo held out. Each method gets the largest network that keeps a budget, in bytes or in
milliseconds on this host, and as many epochs as ``compress`` spends. Cells that are done are not repeated, so the
program can be stopped and started. Beside the JSON a page and a plot are written, ``peers.md`` and ``peers.svg``.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from benchmarks._peer_bench import FULL, METHODS, OURS, QUICK, Bench
from benchmarks._peer_page import page, plot
from converters import Format
from mobiledistill.devices import Host

CASES: dict[str, md.Budget] = {
    **{f"size-{kilobytes}kB": md.Budget(size_bytes=kilobytes * 1000) for kilobytes in (9, 12, 15, 20, 30)},
    **{f"latency-{us}us": md.Budget(latency_ms=us / 1000) for us in (17, 19.5, 24, 32, 44)},
    **{f"coreml-{kilobytes}kB": md.Budget(size_bytes=kilobytes * 1000) for kilobytes in (40, 60)},
}
_QUICK_CASES = ("size-20kB",)
_QUICK_METHODS = ("alone", OURS)


def main() -> None:
    """Fills in the cells that are missing; writes the figures, the page and the plot after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one budget, two methods, one seed, a few epochs each")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/peers.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/peers"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, OURS), default=[*METHODS, OURS])
    options = parser.parse_args()
    if options.quick:
        options.cases, options.methods, options.seeds = _QUICK_CASES, _QUICK_METHODS, options.seeds[:1]
    warnings.simplefilter("ignore")
    for seed in options.seeds:
        bench = Bench(seed, QUICK if options.quick else FULL, options.workdir)
        for found in _filled(bench, known_figures(options.json), options):
            keep_figures(options.json, found, page)
            options.json.with_suffix(".svg").write_text(plot(found))


def _filled(bench: Bench, found: dict[str, Any], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures after each cell of one seed."""
    seed, host = str(bench.seed), Host(brief=options.quick)
    found.setdefault("conditions", {"torch": torch.__version__, "cpu": platform.processor() or platform.machine()})
    teachers = found.setdefault("teachers", {})
    if seed not in teachers:
        teachers[seed] = bench.teacher_cells()
        yield found
    for case in options.cases:
        format: Format = "coreml" if case.startswith("coreml") else "tflite"
        if format == "coreml" and not any(name.startswith("palettes") for name in teachers[seed]):
            teachers[seed] |= bench.palettes()
        rows = found.setdefault("cases", {}).setdefault(case, {}).setdefault(seed, {"cells": {}, "latency": {}})
        for name in options.methods:
            if name in rows["cells"] or (name != OURS and METHODS[name].format != format):
                continue
            cell = bench.ours(case, CASES[case], format) if name == OURS else bench.peer(name, case, CASES[case])
            rows["cells"][name] = cell
            print(seed, case, name, json.dumps({key: cell[key] for key in cell if key != "right"}), flush=True)
            yield found
        if format == "coreml":
            continue  # nothing here measures those
        cells = {**teachers[seed], **rows["cells"]}
        files = [name for name, cell in cells.items() if "none" not in cell and not name.startswith("palettes")]
        if set(rows["latency"].get("ms", {})) != set(files) or rows["latency"]["verdict"] != "valid":
            rows["latency"] = bench.latencies(case, files, host)
            yield found


if __name__ == "__main__":
    main()
