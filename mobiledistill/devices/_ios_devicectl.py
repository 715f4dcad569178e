"""An iPhone's apps and files, through Xcode's ``xcrun devicectl`` on a Mac.

What it prints is for people; what it writes by ``--json-output`` is the only part that Apple keeps stable.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters import DeviceError
from mobiledistill.devices._ios_tool import SHORT_S, Phone, copying_s, ran

__all__ = ["Devicectl"]


class Devicectl:
    """What a Mac has.

    Args:
        xcrun: the program.
    """

    def __init__(self, xcrun: str) -> None:
        self._xcrun = xcrun

    def phones(self) -> list[Phone]:
        """The iPhones and iPads that this Mac knows, simulators among them."""
        result = self._devicectl(["list", "devices"], SHORT_S, "listing devices")
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

    def install(self, phone: Phone, app: Path) -> None:
        """Puts a signed .app on the phone."""
        words = ["device", "install", "app", *_on(phone), str(app)]
        self._devicectl(words, 10 * SHORT_S, f"installing {app.name}")

    def copy_to(self, phone: Phone, bundle: str, local: Path, remote: str) -> None:
        """Copies a file, or a folder with all in it."""
        words = ["device", "copy", "to", *_on(phone), *_container(bundle)]
        words += ["--source", str(local), "--destination", remote]
        self._devicectl(words, copying_s(local), f"copying {local.name} to the phone")

    def copy_from(self, phone: Phone, bundle: str, remote: str, local: Path) -> None:
        """Copies a file back."""
        words = ["device", "copy", "from", *_on(phone), *_container(bundle)]
        words += ["--source", remote, "--destination", str(local)]
        self._devicectl(words, 10 * SHORT_S, f"copying {remote} from the phone")

    def launch(self, phone: Phone, bundle: str, timeout_s: float) -> None:
        """Starts the app anew; its console is what tells that it has ended."""
        words = ["device", "process", "launch", "--console", "--terminate-existing", *_on(phone), bundle]
        self._devicectl(words, timeout_s, f"running {bundle}")

    def _devicectl(self, words: Sequence[str], timeout_s: float, what: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            told = Path(folder) / "told.json"
            done = ran([self._xcrun, "devicectl", *words, "--json-output", str(told)], timeout_s, what)
            said = _json(told)
        if done.returncode:
            raise DeviceError(f"{what} failed: {_reason(said, done.stderr)}.")
        return dict(said.get("result") or {})


def _on(phone: Phone) -> list[str]:
    return ["--device", phone.identifier]


def _container(bundle: str) -> list[str]:
    return ["--user", "mobile", "--domain-type", "appDataContainer", "--domain-identifier", bundle]


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
