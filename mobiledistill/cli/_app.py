"""The commands, and how they end: 0 done, 2 bad input, 3 budget not reachable, 4 device trouble."""

from __future__ import annotations

import sys

import typer

from converters import DeviceError, MobileDistillError
from mobiledistill.cli import _archives, _calibrate, _compress, _demo, _devices, _doctor, _files, _report

__all__ = ["app", "main"]

_BAD_INPUT, _UNREACHABLE, _DEVICE_TROUBLE = 2, 3, 4

app = typer.Typer(
    name="mobiledistill",
    help="Make neural networks fit on phones: a trained model and a budget in, files that keep it out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_demo.add_to(app)
app.command("compress", epilog=_compress.EXAMPLE)(_compress.compress)
app.command("convert", epilog=_files.CONVERT_EXAMPLE)(_files.convert)
app.command("verify", epilog=_files.VERIFY_EXAMPLE)(_files.verify)
app.command("profile", epilog=_files.PROFILE_EXAMPLE)(_files.profile)
app.command("calibrate", epilog=_calibrate.EXAMPLE)(_calibrate.calibrate)
_devices.add_to(app)
app.command("pack", epilog=_archives.PACK_EXAMPLE)(_archives.pack)
app.command("unpack", epilog=_archives.UNPACK_EXAMPLE)(_archives.unpack)
app.command("doctor", epilog=_doctor.EXAMPLE)(_doctor.doctor)
app.command("report", epilog=_report.EXAMPLE)(_report.report)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits; an error of ours becomes one line on standard error."""
    try:
        app(arguments)
    except MobileDistillError as error:
        print(f"mobiledistill: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(_exit_code(error)) from None
    except KeyboardInterrupt:
        print("mobiledistill: stopped; the same call again goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None


def _exit_code(error: MobileDistillError) -> int:
    from mobiledistill._result import BudgetError

    if isinstance(error, BudgetError):
        return _UNREACHABLE
    return _DEVICE_TROUBLE if isinstance(error, DeviceError) else _BAD_INPUT
