"""Qualcomm AI Hub's own client, in an environment of its own, asked through a small program of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import DeviceError, InputError

__all__ = ["PREPARE", "VERSIONS", "answer", "interpreter", "prepare_aihub"]

PREPARE = "mobiledistill devices prepare-aihub"
VERSIONS = "qai-hub>=0.30,<0.57"
"""From the oldest release that was tried to below the first that was not."""

_ADAPTER = Path(__file__).parent / "assets" / "aihub" / "adapter.py"
_INTERPRETER = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
_SLACK_S = 600  # for uploads and downloads, which the limit on a job does not count


def interpreter() -> Path:
    """The Python that has qai-hub: what ``MOBILEDISTILL_AIHUB_PYTHON`` names, else that of the user's cache."""
    if named := os.environ.get("MOBILEDISTILL_AIHUB_PYTHON"):
        return Path(named).expanduser()
    return _folder() / _INTERPRETER


def prepare_aihub(folder: str | Path | None = None, *, client: str = VERSIONS) -> Path:
    """Makes a Python environment with qai-hub, which pins libraries that mobiledistill has in other versions.

    Example:
        >>> prepare_aihub()  # doctest: +SKIP
        PosixPath('/home/me/.cache/mobiledistill/aihub/bin/python')

    Args:
        folder: where to; None: where hosted phones look for it, in the user's cache. Another one is named by the
            variable ``MOBILEDISTILL_AIHUB_PYTHON``, whose value is returned.
        client: what pip installs.

    Returns:
        The environment's interpreter.

    Raises:
        InputError: the environment cannot be made, or pip does not find the client.
    """
    to = Path(folder).expanduser() if folder is not None else _folder()
    python = to / _INTERPRETER
    steps = {
        f"{to} cannot be made an environment": [sys.executable, "-m", "venv", str(to)],
        f"pip does not install {client}": [str(python), "-m", "pip", "install", "--quiet", client],
    }
    for failure, words in steps.items():
        ran = subprocess.run(words, capture_output=True, text=True, errors="replace")
        if ran.returncode:
            raise InputError(f"{failure}: {_last_line(ran.stderr or ran.stdout)}. Put that right and run it again.")
    return python


def answer(request: Mapping[str, Any], *, what: str = "", wait_s: float = 60.0) -> dict[str, Any]:
    """What the service says to a request.

    Args:
        request: as the adapter takes it.
        what: the file it is about, for messages.
        wait_s: how long it may take, uploads aside.

    Raises:
        DeviceError: there is no client, no token, no such device, the job failed, or the service does not answer.
    """
    python = interpreter()
    if not python.is_file():
        raise DeviceError(
            f"{python} is not there, and hosted phones need a Python with qai-hub; make it with {PREPARE}, or name one"
            " in MOBILEDISTILL_AIHUB_PYTHON."
        )
    try:
        # -I: neither our modules, by PYTHONPATH, nor the user's own may get into its environment
        ran = subprocess.run(
            [str(python), "-I", str(_ADAPTER)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=wait_s + _SLACK_S,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"Qualcomm AI Hub did not answer within {wait_s + _SLACK_S:.0f} s; try later.") from None
    except OSError as error:
        raise DeviceError(f"{python} cannot be started ({error.strerror}); make it again with {PREPARE}.") from None
    said = _last_message(ran.stdout)
    if isinstance(said.get("result"), dict):
        return dict(said["result"])
    if isinstance(said.get("error"), dict):
        raise _told(str(said["error"].get("kind")), str(said["error"].get("message")), request, what, python)
    raise DeviceError(f"qai-hub ended without an answer: {_last_line(ran.stderr)}. Install it again: {PREPARE}.")


def _told(kind: str, message: str, request: Mapping[str, Any], what: str, python: Path) -> DeviceError:
    message = message.rstrip(".")
    name = request.get("device")
    tool = python.with_name("qai-hub")
    lines = {
        "missing": f"{python} has no qai-hub ({message}); make an environment that has with {PREPARE}.",
        "token": f"Qualcomm AI Hub wants a valid token: {message}. Run {tool} configure --api_token TOKEN.",
        "device": f"Qualcomm AI Hub has no phone {name!r}; {message}. Names must match letter by letter.",
        "limit": f"Qualcomm AI Hub takes no more jobs for now: {message}. Let some end, then run it again.",
        "failed": f"{what} did not run on {name}: {message}.",
        "timeout": f"{what} was not measured on {name} in time: its job is still {message}. It may end yet; look there,"
        " or wait longer with Hosted(wait_s=...).",
        "refused": f"Qualcomm AI Hub refuses {what or 'this'}: {message}.",
    }
    return DeviceError(lines.get(kind, f"Qualcomm AI Hub does not answer: {message}."))


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobiledistill" / "aihub"


def _last_message(said: str) -> dict[str, Any]:
    lines = said.splitlines()
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except (ValueError, TypeError):
        return {}  # cut off where the process died


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else "it said nothing"
