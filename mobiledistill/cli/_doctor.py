"""``mobiledistill doctor``: what the doctor saw in a run and what it did; or whether a device is fit to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from converters import DeviceError, InputError
from mobiledistill.cli import _options as options
from mobiledistill.cli._devices import print_gates
from mobiledistill.train import read_findings

__all__ = ["EXAMPLE", "doctor"]

EXAMPLE = "Example: mobiledistill doctor runs/mine, or: mobiledistill doctor --device adb:SERIAL"


def doctor(
    run: Annotated[Path | None, typer.Argument(help="The work folder of compress, demo or train_model.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Or a device: host, adb:SERIAL, browser ...")] = None,
    app: options.App = None,
) -> None:
    """Show what the doctor saw while a run trained, and what it did about it; or whether a device is fit to measure.

    Of a device every condition is shown that a measurement needs, with what to do where it does not hold.
    """
    if (run is None) == (device is None):
        raise InputError("doctor takes either the work folder of a run or --device; give one of them.")
    if app is not None and device is None:
        raise InputError("--app needs the phone that it is for: give --device adb:SERIAL too.")
    if device is not None and not print_gates(device, app):
        raise DeviceError(f"{device} is not fit to measure; the table says what to do.")
    if run is None:
        return
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
