"""Trying a file in a browser: a page of the demo's own, served until the command is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from converters import Format, InputError
from mobiledistill._demo import DemoTask
from mobiledistill._files import ASSETS
from mobiledistill.cli._try_out import last_files

__all__ = ["PLACES", "try_in_browser"]

PLACES = ("browser", "browser:lan")
"""Where a page may be served to: this computer (and a phone on its cable), or the local network."""

_WHAT_FOR = "Open this address in a browser to try the file; Ctrl-C here ends it:"


def try_in_browser(
    name: str,
    task: DemoTask,
    where: str,
    workdir: Path,
    formats: tuple[Format, ...],
    *,
    announce: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serves the page that answers with the files of the last run of a demo's task, until Ctrl-C or ``stop``.

    ``announce`` is given the address; without it, it is printed on the error stream, with a QR code on a terminal.

    Raises:
        InputError: the task has no page, nothing was run yet, or ``where`` is no place.
        DeviceError: what browsers run files with is not prepared.
    """
    from mobiledistill.devices._browser_invite import invite
    from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES
    from mobiledistill.devices._browser_try import shelf_for

    if where not in PLACES:
        raise InputError(f"--try {where!r} is not understood; give one of {', '.join(PLACES)}.")
    if task.try_out is None or task.try_out.page is None:
        raise InputError(f"Task {name!r} has no page to try it on; choose another one with --task.")
    wanted = tuple(format for format in formats if format in WEB_RUNTIMES)
    if not wanted:
        raise InputError(f"Browsers run {' and '.join(WEB_RUNTIMES)} files; give --formats one of those.")
    models = last_files(name, workdir, wanted)
    assets = next(iter(models.values())).parent / ASSETS
    lan = where == "browser:lan"
    shelf = shelf_for(task.try_out.page, name, models, assets, lan=lan)
    try:
        if announce is None:
            invite(shelf.address, lan=lan, what_for=_WHAT_FOR)
        else:
            announce(shelf.address)
        (stop or threading.Event()).wait()
    except KeyboardInterrupt:
        pass  # the one way to say that one has tried enough
    finally:
        shelf.close()
