"""Where files are measured: this machine, Android phones by adb, browsers; and tables that predict."""

from mobiledistill.devices._android import Android
from mobiledistill.devices._android_prepare import prepare
from mobiledistill.devices._android_programs import Programs
from mobiledistill.devices._available import Available, available
from mobiledistill.devices._base import Device, Subject
from mobiledistill.devices._browser import Browser
from mobiledistill.devices._browser_runtimes import Runtimes, prepare_browser
from mobiledistill.devices._calibrate import calibrate
from mobiledistill.devices._gates import Gate
from mobiledistill.devices._host import Host
from mobiledistill.devices._measurement import (
    Backend,
    BrowserInfo,
    DeviceInfo,
    LatencyPerUse,
    Measurement,
    OutputCheck,
    Prediction,
    Reference,
    RuntimeInfo,
    Telemetry,
    latency_per_use,
)
from mobiledistill.devices._open import examine, open
from mobiledistill.devices._profile import profile
from mobiledistill.devices._table import LatencyTable, TableDevice

__all__ = [
    "Android",
    "Available",
    "Backend",
    "Browser",
    "BrowserInfo",
    "Device",
    "DeviceInfo",
    "Gate",
    "Host",
    "LatencyPerUse",
    "LatencyTable",
    "Measurement",
    "OutputCheck",
    "Prediction",
    "Programs",
    "Reference",
    "RuntimeInfo",
    "Runtimes",
    "Subject",
    "TableDevice",
    "Telemetry",
    "available",
    "calibrate",
    "examine",
    "latency_per_use",
    "open",
    "prepare",
    "prepare_browser",
    "profile",
]
