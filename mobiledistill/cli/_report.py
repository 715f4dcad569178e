"""``mobiledistill report RUN``: the HTML report of a finished run, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from converters import InputError

__all__ = ["EXAMPLE", "report"]

EXAMPLE = "Example: mobiledistill report runs/mine --to report.html"


def report(
    run: Annotated[Path, typer.Argument(help="The work folder of a finished run.")],
    to: Annotated[Path | None, typer.Option("--to", help="The HTML file; else report.html in the work folder.")] = None,
) -> None:
    """Make the HTML report of a finished run."""
    from mobiledistill.report import report_from_file

    result = run / "result.json"
    if not result.is_file():
        found = sorted(run.glob("*/result.json")) if run.is_dir() else []
        hint = f"; runs lie in {', '.join(str(path.parent) for path in found[:3])}" if found else ""
        raise InputError(f"{run} holds no result.json, so no finished run{hint}.")
    print(report_from_file(result, to or run / "report.html"))
