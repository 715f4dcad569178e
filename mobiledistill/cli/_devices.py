"""``devices``: what can measure, and what a phone needs for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from converters import InputError
from mobiledistill.cli import _options as options

__all__ = ["EXAMPLE", "PREPARE_EXAMPLE", "add_to", "print_gates"]

EXAMPLE = "Example: mobiledistill devices"
PREPARE_EXAMPLE = (
    "Example: mobiledistill devices prepare --compiler ~/Android/Sdk/ndk/27.2.12479018"
    " litert-2.3.0.aar onnxruntime-android-1.32.0.aar"
)
BROWSER_EXAMPLE = "Example: mobiledistill devices prepare-browser"
AIHUB_EXAMPLE = "Example: mobiledistill devices prepare-aihub"
CLEAN_EXAMPLE = "Example: mobiledistill devices clean --device adb:SERIAL"


def add_to(app: typer.Typer) -> None:
    """Adds the command and those below it."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None, add_completion=False, epilog=EXAMPLE)
    group.callback(epilog=EXAMPLE)(devices)
    group.command("prepare", epilog=PREPARE_EXAMPLE)(prepare)
    group.command("prepare-browser", epilog=BROWSER_EXAMPLE)(prepare_browser)
    group.command("prepare-aihub", epilog=AIHUB_EXAMPLE)(prepare_aihub)
    group.command("clean", epilog=CLEAN_EXAMPLE)(clean)
    app.add_typer(group, name="devices")


def devices(context: typer.Context, as_json: options.Json = False) -> None:
    """List what can measure: this computer, the phones that are connected, and browsers.

    A phone has to allow USB debugging, and needs programs on this computer that are copied to it:
    mobiledistill devices prepare makes them. mobiledistill doctor --device adb:SERIAL looks closer at one.
    """
    if context.invoked_subcommand is not None:
        return
    from mobiledistill.devices import available

    found = available()
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return
    table = Table(show_edge=False)
    for heading in ("device", "what it is", "ready", "what to do"):
        table.add_column(heading, no_wrap=heading == "device", overflow="fold")
    for one in found:
        table.add_row(one.name, one.about, "yes" if one.ready else "no", one.why)
    Console().print(table)


def prepare(
    packages: Annotated[list[Path], typer.Argument(help="Packages that hold the runtimes: .aar, .zip, .whl, or .so.")],
    compiler: Annotated[Path, typer.Option(help="Folder of an Android NDK, or a C compiler for the phone.")],
    abi: Annotated[str, typer.Option(help="The phone's processor: arm64-v8a, armeabi-v7a or x86_64.")] = "arm64-v8a",
    folder: Annotated[Path | None, typer.Option(help="Where to; else MOBILEDISTILL_ANDROID, else the cache.")] = None,
) -> None:
    """Make what is copied to phones: our measuring program, and the runtimes out of their makers' packages.

    LiteRT is com.google.ai.edge.litert:litert in Google's Maven repository, ONNX Runtime is
    com.microsoft.onnxruntime:onnxruntime-android in Maven Central. Nothing is downloaded here.
    """
    from mobiledistill.devices import prepare as make

    made = make(compiler, packages, abi=abi, folder=folder)  # type: ignore[arg-type]  # what it is not, is refused
    for path in sorted(made.folder.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")


def prepare_browser(
    packages: Annotated[
        list[Path] | None, typer.Argument(help="Archives that npm pack made; then nothing is fetched.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to; else MOBILEDISTILL_BROWSER, else the cache.")] = None,
) -> None:
    """Fetch what browsers run files with: onnxruntime-web and LiteRT.js, in exact versions, by npm."""
    from mobiledistill.devices import prepare_browser as fetch

    for path in sorted(fetch(packages or (), folder=folder).folder.glob("*/*")):
        print(f"{path}  {path.stat().st_size:,} bytes")


def prepare_aihub(
    folder: Annotated[Path | None, typer.Option(help="Where to; else the cache.")] = None,
) -> None:
    """Make what phones at Qualcomm AI Hub are reached by: a Python environment of its own with their client, qai-hub.

    Pip downloads it. Then tell it the token of your account: its qai-hub configure --api_token TOKEN.
    """
    from mobiledistill.devices import prepare_aihub as make

    print(make(folder))


def clean(
    device: Annotated[str, typer.Option("--device", help="adb:SERIAL, or adb where one phone is connected.")] = "adb",
) -> None:
    """Remove from a phone what measurements copied there, and put back what an interrupted one had changed.

    The app stays, with the files that its demos read: adb uninstall mobiledistill.benchmark removes it.
    """
    from mobiledistill.devices import Android
    from mobiledistill.devices import open as open_device

    opened = open_device(device)
    if not isinstance(opened, Android):
        raise InputError(f"{device} keeps nothing of ours; give adb:SERIAL, an Android phone.")
    print(f"{opened.clean():,} bytes removed from {opened.name}")


def print_gates(name: str, app: Path | None = None) -> bool:
    """Every condition of a device, as a table; whether all hold."""
    from mobiledistill.devices import examine

    gates = examine(name, app=app)
    table = Table(show_edge=False)
    for heading in ("", "seen", "holds", "what to do"):
        table.add_column(heading, overflow="fold")
    for gate in gates:
        holds = "yes" if gate.passed else "wait" if gate.waits else "no"
        table.add_row(gate.name, gate.seen, holds, "" if gate.passed else gate.advice)
    Console().print(table)
    return all(gate.passed or gate.waits for gate in gates)
