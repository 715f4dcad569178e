"""The one training loop."""

from mobiledistill.train._loop import EpochLog, fit

__all__ = ["EpochLog", "fit"]
