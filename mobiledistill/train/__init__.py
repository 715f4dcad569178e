"""The one training loop, and the doctor who watches it."""

from mobiledistill.train._doctor import Doctor, Finding, Illness, findings_to_json, read_findings
from mobiledistill.train._loop import EpochLog, fit

__all__ = ["Doctor", "EpochLog", "Finding", "Illness", "findings_to_json", "fit", "read_findings"]
