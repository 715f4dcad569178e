"""An iPhone's apps and files from Linux and Windows, through the program ``pymobiledevice3``.

It is under the GPL, so it is run and never imported, and nobody gets it with this package.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from converters import DeviceError
from mobiledistill.devices._ios_tool import SHORT_S, Phone, copying_s, ran

__all__ = ["PyMobileDevice3"]

_LOGGED = re.compile(r"\S+ \S+ \S+ \S+\[\d+\] (?P<level>[A-Z]+) (?P<text>.*)")
"""A line of its log: day, hour, computer, module and process, level, text."""

_OF_ARGUMENTS = 2  # its exit code for a command line that it does not know

_ADVICE = (
    ("usbmuxd socket", "install usbmuxd (Debian: apt install usbmuxd; Windows: Apple's iTunes) and plug the phone in"),
    ("tunnel", "iOS 17.0 to 17.3 needs one: run sudo pymobiledevice3 remote tunneld in another terminal"),
    (
        "Failed to start service",
        "run pymobiledevice3 mounter auto-mount, and on iOS 17.0 to 17.3 sudo pymobiledevice3 remote tunneld too",
    ),
    ("DeveloperDiskImage", "run pymobiledevice3 mounter auto-mount"),
    ("Developer Mode is disabled", "turn it on in Settings, Privacy & Security"),
    ("trust", "unlock the phone and trust this computer on it"),
    ("passcode", "unlock the phone"),
    ("password protected", "unlock the phone"),
    ("bundle ID", "build demo_apps/ios, sign it, and install it first"),
)
"""What to do, by words of what it said."""


class PyMobileDevice3:
    """What Linux and Windows have, and a Mac without Xcode.

    Args:
        program: its path.
    """

    def __init__(self, program: str) -> None:
        self._program = program

    def phones(self) -> list[Phone]:
        """The iPhones and iPads on a cable or in this network; it knows no simulators."""
        told = self._json(["usbmux", "list"], "listing devices")
        known = {str(one.get("UniqueDeviceID") or one.get("Identifier") or ""): one for one in told or []}
        return [self._phone(udid, one) for udid, one in known.items() if one.get("DeviceClass") in ("iPhone", "iPad")]

    def install(self, phone: Phone, app: Path) -> None:
        """Puts a signed .ipa, or an .app, on the phone."""
        if not app.exists():
            raise DeviceError(f"installing {app.name} failed: there is no {app}; give a signed .ipa or .app.")
        self._run(["apps", "install", str(app)], 10 * SHORT_S, f"installing {app.name}", phone.udid)

    def copy_to(self, phone: Phone, bundle: str, local: Path, remote: str) -> None:
        """Copies a file, or a folder with all in it."""
        what = f"copying {local.name} to the phone"
        push = ["apps", "push", "--documents", bundle]
        if not local.is_dir():
            self._run([*push, str(local), remote], copying_s(local), what, phone.udid)
            return
        target = PurePosixPath(remote)
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:  # a folder keeps its own name there
            named = shutil.copytree(local, Path(folder) / target.name)
            self._run([*push, str(named), str(target.parent)], copying_s(local), what, phone.udid)

    def copy_from(self, phone: Phone, bundle: str, remote: str, local: Path) -> None:
        """Copies a file back."""
        words = ["apps", "pull", "--documents", bundle, remote, str(local)]
        self._run(words, 10 * SHORT_S, f"copying {remote} from the phone", phone.udid)

    def launch(self, phone: Phone, bundle: str, timeout_s: float) -> None:
        """Starts the app anew; its console is what tells that it has ended, and costs the phone nothing meanwhile."""
        words = ["developer", "core-device", "launch-application", "--console", bundle]
        self._run(words, timeout_s, f"running {bundle}", phone.udid)

    def _phone(self, udid: str, told: dict[str, Any]) -> Phone:
        try:
            allows = self._json(["amfi", "developer-mode-status"], "asking for Developer Mode", udid) is True
            reachable = True
        except DeviceError:  # locked, or it does not trust this computer
            allows, reachable = None, False
        product = str(told.get("ProductType") or "unknown")
        return Phone(
            udid=udid,
            identifier=udid,
            name=product,  # it knows the owner's name for the phone, which belongs in no record
            product=product,
            os=f"iOS {told.get('ProductVersion') or 'unknown'} ({told.get('BuildVersion') or 'unknown'})",
            is_real=True,
            is_reachable=reachable,
            allows_developers=allows,
        )

    def _json(self, words: Sequence[str], what: str, udid: str | None = None) -> Any:
        said = self._run(words, SHORT_S, what, udid)
        try:
            return json.loads(said)
        except ValueError:
            raise DeviceError(f"{what} failed: pymobiledevice3 said {said[:60]!r}, which is no JSON.") from None

    def _run(self, words: Sequence[str], timeout_s: float, what: str, udid: str | None = None) -> str:
        # By a variable: not every command has an option for the phone.
        chosen = {} if udid is None else {"PYMOBILEDEVICE3_UDID": udid}
        environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", **chosen}
        done = ran([self._program, *words], timeout_s, what, environment)
        if done.returncode == _OF_ARGUMENTS:
            raise DeviceError(
                f"{what} failed: this pymobiledevice3 does not know {' '.join(words[:3])} as release 11.45 does"
                f" ({_boxed(done.stderr)}); bring it up to date: pipx upgrade pymobiledevice3."
            )
        if done.returncode:
            raise DeviceError(f"{what} failed: {_reason(done.stderr)}.")
        return done.stdout


def _reason(stderr: str) -> str:
    """The first line of its error, and what to do about it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    logged = [found["text"] for line in lines if (found := _LOGGED.match(line)) and found["level"] == "ERROR"]
    said = (logged or lines[-1:] or ["it said nothing"])[0].removesuffix(" Possible reasons are:")[:300].rstrip(".")
    advice = next((advice for words, advice in _ADVICE if words.lower() in said.lower()), None)
    return f"{said}; {advice}" if advice else said


def _boxed(stderr: str) -> str:
    """What stands in the box that it draws around a complaint about arguments."""
    inside = [line.strip("│ ") for line in stderr.splitlines() if line.startswith("│")]
    return " ".join(inside)[:200].rstrip(".") or "it said nothing"
