"""From what a user writes to a device."""

from __future__ import annotations

from converters import InputError
from mobiledistill.devices._base import Device
from mobiledistill.devices._host import Host

__all__ = ["open"]

_LATER = ("adb", "ios", "browser", "aihub")


def open(spec: str = "host") -> Device:
    """Opens a device by its name.

    Example:
        >>> open("host").formats
        ('tflite', 'onnx')

    Args:
        spec: ``"host"``, this machine; ``"table:host.json"``, a latency table that ``calibrate`` made.

    Raises:
        InputError: there is no such device; the message lists those there are.
    """
    if spec == Host.name:
        return Host()
    if spec.startswith("table:"):
        from mobiledistill.devices._table import LatencyTable, TableDevice

        return TableDevice(LatencyTable.load(spec.partition(":")[2]), spec)
    if spec.partition(":")[0] in _LATER:
        raise InputError(f"The device {spec!r} is not in this version; it measures on 'host', this machine.")
    raise InputError(
        f"There is no device {spec!r}; this version measures on 'host', this machine, and predicts by 'table:FILE'."
    )
