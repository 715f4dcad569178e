"""An iPhone's apps and files, through Xcode's ``xcrun devicectl`` on a Mac.

What it prints is for people; what it writes by ``--json-output`` is the only part that Apple keeps stable.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters import DeviceError

__all__ = ["App", "Phone", "listed"]

_SHORT_S = 60.0
_BYTES_PER_S = 500_000  # what a bad cable carries
_NO_XCRUN = (
    "xcrun was not found, and iPhones are reached through it: use a Mac with Xcode 15 or newer. From Linux or Windows,"
    " --device aihub:PHONE or an Android phone is what can be measured."
)


@dataclass(frozen=True)
class Phone:
    """What devicectl tells of a device.

    Attributes:
        udid: what Xcode and Finder call it by.
        identifier: devicectl's own name for it.
        product: for example ``iPhone16,1``.
        is_real: False for a simulator.
        is_reachable: whether there is, or can be, a connection.
        allows_developers: whether Developer Mode is on.
    """

    udid: str
    identifier: str
    name: str
    product: str
    os: str
    is_real: bool
    is_reachable: bool
    allows_developers: bool


def listed() -> list[Phone]:
    """The iPhones and iPads that this Mac knows.

    Raises:
        DeviceError: there is no devicectl, or it does not answer.
    """
    result = _devicectl(["list", "devices"], _SHORT_S, "listing devices")
    found = []
    for one in result.get("devices", []):
        hardware, about = one.get("hardwareProperties", {}), one.get("deviceProperties", {})
        if hardware.get("deviceType") not in ("iPhone", "iPad"):
            continue
        product = str(hardware.get("productType", "unknown"))
        simulated = hardware.get("reality", "physical") != "physical" or "Simulator" in product
        found.append(
            Phone(
                udid=str(hardware.get("udid", "")),
                identifier=str(one.get("identifier", "")),
                name=str(hardware.get("marketingName") or about.get("name") or product),
                product=product,
                os=f"iOS {about.get('osVersionNumber', 'unknown')} ({about.get('osBuildUpdate', 'unknown')})",
                is_real=not simulated,
                is_reachable=one.get("connectionProperties", {}).get("tunnelState") != "unavailable",
                allows_developers=about.get("developerModeStatus") == "enabled",
            )
        )
    return found


class App:
    """One app on one phone, and the folder that both sides can reach.

    Args:
        identifier: the phone's, as devicectl or Xcode calls it.
        bundle: the app's bundle identifier.
    """

    def __init__(self, identifier: str, bundle: str) -> None:
        self._phone = ["--device", identifier]
        self._container = ["--user", "mobile", "--domain-type", "appDataContainer", "--domain-identifier", bundle]
        self._bundle = bundle

    def install(self, app: Path) -> None:
        """Puts a signed .app on the phone."""
        _devicectl(["device", "install", "app", *self._phone, str(app)], 10 * _SHORT_S, f"installing {app.name}")

    def copy_to(self, local: Path, remote: str) -> None:
        """Copies a file, or a folder with all in it."""
        size = sum(part.stat().st_size for part in local.rglob("*")) if local.is_dir() else local.stat().st_size
        words = [
            "device",
            "copy",
            "to",
            *self._phone,
            *self._container,
            "--source",
            str(local),
            "--destination",
            remote,
        ]
        _devicectl(words, _SHORT_S + size / _BYTES_PER_S, f"copying {local.name} to the phone")

    def copy_from(self, remote: str, local: Path) -> None:
        """Copies a file back."""
        words = ["device", "copy", "from", *self._phone, *self._container, "--source", remote]
        _devicectl([*words, "--destination", str(local)], 10 * _SHORT_S, f"copying {remote} from the phone")

    def launch(self, timeout_s: float) -> None:
        """Starts the app and waits until it has ended."""
        words = ["device", "process", "launch", "--console", "--terminate-existing", *self._phone, self._bundle]
        _devicectl(words, timeout_s, f"running {self._bundle}")


def _devicectl(words: Sequence[str], timeout_s: float, what: str) -> dict[str, Any]:
    program = shutil.which("xcrun")
    if program is None:
        raise DeviceError(_NO_XCRUN)
    with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
        told = Path(folder) / "told.json"
        try:
            ran = subprocess.run(
                [program, "devicectl", *words, "--json-output", str(told)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{what} did not end within {timeout_s:.0f} s; unlock the phone, and plug it in again."
            ) from None
        said = _json(told)
    if ran.returncode:
        raise DeviceError(f"{what} failed: {_reason(said, ran.stderr)}.")
    return dict(said.get("result") or {})


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _reason(said: dict[str, Any], stderr: str) -> str:
    """Apple's own words where there are any."""
    described = said.get("error", {}).get("userInfo", {}).get("NSLocalizedDescription", {})
    if isinstance(described, dict) and described.get("string"):
        return str(described["string"]).rstrip(".")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else "it said nothing"
