"""Where files are measured: this machine now, phones later."""

from mobiledistill.devices._base import Device
from mobiledistill.devices._host import Host, Subject
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    LatencyPerUse,
    Measurement,
    Reference,
    RuntimeInfo,
    Telemetry,
    latency_per_use,
)
from mobiledistill.devices._open import open
from mobiledistill.devices._profile import profile

__all__ = [
    "Backend",
    "Device",
    "DeviceInfo",
    "Host",
    "LatencyPerUse",
    "Measurement",
    "Reference",
    "RuntimeInfo",
    "Subject",
    "Telemetry",
    "latency_per_use",
    "open",
    "profile",
]
