"""``mobiledistill doctor RUN``: what the doctor saw in a run, and what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from converters import InputError
from mobiledistill.train import read_findings

__all__ = ["EXAMPLE", "doctor"]

EXAMPLE = "Example: mobiledistill doctor runs/mine"


def doctor(
    run: Annotated[Path, typer.Argument(help="The work folder of compress, demo or train_model.")],
) -> None:
    """Show what the doctor saw while a run trained, and what it did about it."""
    files = sorted(run.glob("doctor*.json"))
    if not files:
        raise InputError(f"{run} holds no doctor.json: give the work folder of a run that has trained to its end.")
    for file in files:
        findings = read_findings(file)
        if len(files) > 1:
            typer.echo(f"{file.name}:")
        for finding in findings:
            when = "before training" if finding.epoch == 0 else f"epoch {finding.epoch}"
            typer.echo(f"{finding.illness.value} ({when}): {finding.seen}")
            typer.echo(f"  {f'Done: {finding.action}' if finding.action else finding.advice}")
        if not findings:
            typer.echo("Nothing: this run looked healthy.")
