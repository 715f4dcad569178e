"""Serves a page on which a person tries exported files, in a browser of this computer or of a phone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from converters import Format
from mobiledistill.devices._browser import LOOPBACK, PORT
from mobiledistill.devices._browser_invite import lan_address
from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES, Runtimes
from mobiledistill.devices._browser_site import Shelf

__all__ = ["FACTS", "shelf_for"]

FACTS = "facts.json"
"""What the page asks for first: the task, the models that it may load, and the assets."""


def shelf_for(
    page: Path,
    task: str,
    models: Mapping[Format, Path],
    assets: Path,
    *,
    lan: bool = False,
    port: int = PORT,
    runtimes: Runtimes | None = None,
) -> Shelf:
    """A server for a page, a run's files and what browsers run them with.

    Args:
        page: the folder of the built page.
        task: whose files they are.
        models: .tflite or .onnx files by format, one at least; those whose runtime is not there are left out.
        assets: the folder of what an app needs beside them.
        lan: listen in the local network in place of this computer alone.
        port: where; another one where it is in use.
        runtimes: where onnxruntime-web and LiteRT.js lie; None: in the user's cache.

    Raises:
        DeviceError: no runtime is there for any of them; or this computer is in no network.
    """
    runtimes = runtimes or Runtimes.found()
    served = {fmt: path for fmt, path in models.items() if runtimes.has(fmt)}
    for fmt in models if not served else ():
        runtimes.files(fmt)  # says what is missing
    files: dict[str, Path | bytes] = {}
    told = []
    for fmt, path in served.items():
        files |= {f"runtime/{fmt}/{name}": file for name, file in runtimes.files(fmt).items()}
        parts = {file.stem: file for file in sorted(path.glob("*.onnx"))} if path.is_dir() else {"": path}
        files |= {_place(fmt, signature): file for signature, file in parts.items()}
        told.append(
            {
                "format": fmt,
                "name": path.name,
                "bytes": sum(file.stat().st_size for file in parts.values()),
                "runtime": f"{WEB_RUNTIMES[fmt].name} {WEB_RUNTIMES[fmt].version}",
                "files": {signature: _place(fmt, signature) for signature in parts},
            }
        )
    beside = {file.name: file for file in sorted(assets.iterdir()) if file.is_file()}
    files |= {f"assets/{name}": file for name, file in beside.items()}
    files[FACTS] = json.dumps({"task": task, "models": told, "assets": list(beside)}).encode()
    return Shelf(lan_address() if lan else LOOPBACK, port, page, files)


def _place(fmt: Format, signature: str) -> str:
    return f"models/{fmt}/{signature}"
