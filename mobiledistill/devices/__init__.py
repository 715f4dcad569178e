"""Where files are measured: this machine now, phones later; and tables that predict."""

from mobiledistill.devices._base import Device
from mobiledistill.devices._calibrate import calibrate
from mobiledistill.devices._host import Host, Subject
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    LatencyPerUse,
    Measurement,
    Prediction,
    Reference,
    RuntimeInfo,
    Telemetry,
    latency_per_use,
)
from mobiledistill.devices._open import open
from mobiledistill.devices._profile import profile
from mobiledistill.devices._table import LatencyTable, TableDevice

__all__ = [
    "Backend",
    "Device",
    "DeviceInfo",
    "Host",
    "LatencyPerUse",
    "LatencyTable",
    "Measurement",
    "Prediction",
    "Reference",
    "RuntimeInfo",
    "Subject",
    "TableDevice",
    "Telemetry",
    "calibrate",
    "latency_per_use",
    "open",
    "profile",
]
