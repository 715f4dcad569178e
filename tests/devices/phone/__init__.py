"""A phone without a phone: a device-side adb daemon, and the commands that an Android shell has."""

from tests.devices.phone._daemon import Faults, Phone

__all__ = ["Faults", "Phone"]
