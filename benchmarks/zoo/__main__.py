"""Converts every network of the zoo to every format and precision: ``python -m benchmarks.zoo``.

Each cell runs in a process of its own, within 300 seconds and 6 GB; what is done already is not done again. All take
about three hours of one core. The page is written beside the JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import converters
import mobiledistill as md
from benchmarks.zoo import ZOO
from benchmarks.zoo._cell import PRECISIONS, Precision, run_cell
from benchmarks.zoo._page import page
from converters import FORMATS, Format

_LIMIT_S = 300.0
_LIMIT_BYTES = 6_000_000_000
_QUICK = ("ds-cnn", "mobilenet-v2", "gru", "keyword-transformer")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the cells that are missing, and writes them down as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="only these; default: all")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/zoo.json"), help="where the cells are")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(_QUICK)}")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    wanted = parser.parse_args(arguments)
    names = wanted.networks or (_QUICK if wanted.quick else list(ZOO))
    if unknown := set(names) - set(ZOO):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(ZOO)}")
    known: dict[str, Any] = json.loads(wanted.json.read_text()) if wanted.json.exists() else {}
    wanted.json.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        for format in wanted.formats.split(","):
            for precision in wanted.precisions.split(","):
                cell = f"{name}/{format}/{precision}"
                if cell in known and not wanted.again:
                    continue
                known[cell] = _in_a_child(name, format, precision)
                _write(wanted.json, known)
                print(_line(known[cell]), flush=True)


def _in_a_child(name: str, format: Format, precision: Precision) -> dict[str, Any]:
    try:
        found: dict[str, Any] = converters.run_in_child(
            run_cell, name, format, precision, what=f"{name}/{format}/{precision}",
            timeout_s=_LIMIT_S, memory_bytes=_LIMIT_BYTES,
        )  # fmt: skip
    except md.MobileDistillError as error:
        return {"network": name, "format": format, "precision": precision, "outcome": "broke", "reason": str(error)}
    return found


def _write(path: Path, cells: dict[str, Any]) -> None:
    """One line a cell, in the zoo's order, and the page."""
    order = [f"{name}/{format}/{precision}" for name in ZOO for format in FORMATS for precision in PRECISIONS]
    ordered = {cell: cells[cell] for cell in order if cell in cells}
    lines = [f"{json.dumps(name)}: {json.dumps(cell)}" for name, cell in ordered.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    path.with_suffix(".md").write_text(page(ordered))


def _line(cell: dict[str, Any]) -> str:
    head = f"{cell['network']:22} {cell['format']:7} {cell['precision']:5} {cell['outcome']:8}"
    if cell["outcome"] != "works":
        return f"{head} {cell['reason']}"
    kind = {True: "static", False: "weight-only"}.get(cell.get("static", ...), "")
    return f"{head} {cell['size_bytes']:9,} bytes {cell['sqnr_db']:6.1f} dB {cell['seconds']:6.1f} s {kind}"


if __name__ == "__main__":
    main()
