"""Which tool reaches iPhones from here."""

from __future__ import annotations

import shutil

from converters import DeviceError
from mobiledistill.devices._ios_devicectl import Devicectl
from mobiledistill.devices._ios_pymobiledevice3 import PyMobileDevice3
from mobiledistill.devices._ios_tool import IPhoneTool

__all__ = ["found_tool", "has_tool"]


def found_tool() -> IPhoneTool:
    """Apple's own tool where there is one, else pymobiledevice3.

    Raises:
        DeviceError: neither is there.
    """
    if (xcrun := shutil.which("xcrun")) is not None:
        return Devicectl(xcrun)
    if (program := shutil.which("pymobiledevice3")) is not None:
        return PyMobileDevice3(program)
    raise DeviceError(
        "Neither xcrun nor pymobiledevice3 was found, and iPhones are reached through one of them: use a Mac with"
        " Xcode 15 or newer, or install the other (pipx install pymobiledevice3)."
    )


def has_tool() -> bool:
    """Whether ``found_tool`` finds one."""
    return any(shutil.which(program) is not None for program in ("xcrun", "pymobiledevice3"))
