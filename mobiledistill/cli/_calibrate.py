"""``calibrate``: a device becomes a table that predicts latency without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mobiledistill.cli import _options as options
from mobiledistill.cli._screen import progress_bars

__all__ = ["EXAMPLE", "calibrate"]

EXAMPLE = (
    "Example: mobiledistill calibrate --device host -o host.json, and then:"
    " mobiledistill compress ... --device table:host.json"
)
_QUICK = 6
_FULL = 72  # as the function has it, which is not imported before it is called


def calibrate(
    device: options.Device = "host",
    upload: options.Upload = False,
    app: options.App = None,
    backend: options.Backend = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The table, a JSON file.")] = Path("table.json"),
    formats: options.Formats = "tflite,onnx",
    workdir: options.Workdir = Path("runs/calibration"),
    seed: options.Seed = 0,
    networks: Annotated[int, typer.Option(help="Networks that are drawn and timed; more predict better.")] = _FULL,
    quick: Annotated[bool, typer.Option("--quick", help=f"{_QUICK} networks: to see it work.")] = False,
    as_json: options.Json = False,
) -> None:
    """Time networks and their parts on a device, and write a table that predicts the latency of other files.

    It takes a quarter of an hour on a quiet computer; the same call again goes on where it was stopped.
    """
    from mobiledistill.devices import calibrate as measure

    with progress_bars() as progress:
        table = measure(
            options.device_of(device, upload, app, backend),
            formats=options.formats_of(formats),
            networks=_QUICK if quick else networks,
            seed=seed,
            workdir=workdir,
            progress=progress,
        )
    table.save(out)
    told = {
        name: {"files": one.files, "kinds": len(one.kinds), "error": one.error, "repeatability": one.repeatability}
        for name, one in table.formats.items()
    }
    if as_json:
        print(json.dumps({"path": str(out), "formats": told}))
        return
    for name, one in table.formats.items():
        print(
            f"{name}: {one.files} files, {len(one.kinds)} kinds of kernels; 95 % of the networks held out were"
            f" predicted within {100 * one.error:.0f} % (measured twice: {100 * one.repeatability:.0f} %)"
        )
    print(out)
