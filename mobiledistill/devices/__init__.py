"""Where files are measured: this machine, phones by cable, hosted phones, browsers; and tables that predict."""

from mobiledistill.devices._aihub import prepare_aihub
from mobiledistill.devices._android import Android
from mobiledistill.devices._android_prepare import prepare
from mobiledistill.devices._android_programs import Programs
from mobiledistill.devices._available import Available, available
from mobiledistill.devices._base import Device, Interleaving, Subject
from mobiledistill.devices._browser import Browser
from mobiledistill.devices._browser_runtimes import Runtimes, prepare_browser
from mobiledistill.devices._calibrate import calibrate
from mobiledistill.devices._comparison import LatencyRatio, latency_ratio
from mobiledistill.devices._gates import Gate
from mobiledistill.devices._host import Host
from mobiledistill.devices._hosted import Hosted
from mobiledistill.devices._ios import IPhone
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
    "Hosted",
    "IPhone",
    "Interleaving",
    "LatencyPerUse",
    "LatencyRatio",
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
    "latency_ratio",
    "open",
    "prepare",
    "prepare_aihub",
    "prepare_browser",
    "profile",
]
