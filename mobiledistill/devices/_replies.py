"""What a process that measures said: lines of JSON, of which the last holds its result or its error.

The lines before tell how far it came, for the case that it died. A process of this computer and the program on a phone
speak alike.
"""

from __future__ import annotations

import json
from typing import Any

from converters import DeviceError, InputError, ModelFileError

__all__ = ["result_of"]


def result_of(said: str, death: str, what: str, runtime: str, where: str) -> dict[str, Any]:
    """The result.

    Args:
        said: all that the process wrote.
        death: how it ended, in words.
        what: the files it was about.
        runtime: what ran them.
        where: "on this machine".

    Raises:
        InputError: the inputs do not fit the file.
        ModelFileError: the file cannot be loaded.
        DeviceError: the runtime does not start, or not run the file.
    """
    phase = "start"
    error: dict[str, Any] | None = None
    for line in said.splitlines():
        message = _message(line)
        if isinstance(message.get("result"), dict):
            return dict(message["result"])
        phase = str(message.get("phase", phase))
        error = message["error"] if isinstance(message.get("error"), dict) else None
    if error is not None and error.get("kind") == "input":
        raise InputError(f"{what}: {error.get('message')}.")
    how = str(error.get("message")).rstrip(".") if error is not None else death
    if phase == "start":
        raise DeviceError(f"{runtime} does not start {where}: {how}. Install it again.")
    if phase == "load":
        raise ModelFileError(f"{what} cannot be loaded by {runtime}: {how}. Give a whole, undamaged model file.")
    raise DeviceError(f"{what} loads, but does not run in {runtime}: {how}. Check its operators and its inputs.")


def _message(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {}  # cut off where the process died
