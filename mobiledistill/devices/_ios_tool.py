"""What reaches an iPhone's apps and files: a program of Apple's on a Mac, another one elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from converters import DeviceError

__all__ = ["SHORT_S", "IPhoneTool", "Phone", "copying_s", "ran"]

SHORT_S = 60.0
"""What a program may take for what is done at once."""

_BYTES_PER_S = 500_000  # what a bad cable carries


@dataclass(frozen=True)
class Phone:
    """What a tool tells of a device.

    Attributes:
        udid: what Xcode and Finder call it by.
        identifier: the tool's own name for it.
        name: for people, as far as the tool knows one that is not the owner's.
        product: for example ``iPhone16,1``.
        is_real: False for a simulator.
        is_reachable: whether there is, or can be, a connection.
        allows_developers: whether Developer Mode is on; None where a phone that is not reachable does not tell.
    """

    udid: str
    identifier: str
    name: str
    product: str
    os: str
    is_real: bool
    is_reachable: bool
    allows_developers: bool | None


class IPhoneTool(Protocol):
    """Lists phones, and installs, copies and launches on one. ``tests/devices/test_ios.py`` is every tool's contract.

    Each method raises a DeviceError of one line where the tool, the cable or the phone does not do it.
    """

    def phones(self) -> list[Phone]:
        """The iPhones and iPads that this computer knows."""
        ...

    def install(self, phone: Phone, app: Path) -> None:
        """Puts a signed app on the phone."""
        ...

    def copy_to(self, phone: Phone, bundle: str, local: Path, remote: str) -> None:
        """Copies a file, or a folder with all in it, to a path in an app's own folder."""
        ...

    def copy_from(self, phone: Phone, bundle: str, remote: str, local: Path) -> None:
        """Copies a file back."""
        ...

    def launch(self, phone: Phone, bundle: str, timeout_s: float) -> None:
        """Starts an app anew and waits until it has ended."""
        ...


def copying_s(local: Path) -> float:
    """How long a file or folder may take to the phone."""
    size = sum(part.stat().st_size for part in local.rglob("*")) if local.is_dir() else local.stat().st_size
    return SHORT_S + size / _BYTES_PER_S


def ran(
    words: Sequence[str], timeout_s: float, what: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a tool without a shell and without questions.

    Raises:
        DeviceError: it did not end in time, or does not start.
    """
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"{what} did not end within {timeout_s:.0f} s; unlock the phone, and plug it in again."
        ) from None
    except OSError as error:
        raise DeviceError(f"{what} failed: {words[0]} does not start ({error.strerror}); install it again.") from None
