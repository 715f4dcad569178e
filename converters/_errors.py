"""The errors a user can meet, all below one root.

::

    MobileDistillError
    ├── InputError              what was given breaks a rule; the message says which and what to do
    │   ├── ModelFileError      a model file that is damaged, foreign or unsafe to open
    │   └── MissingExtraError   an optional library is not installed; the message names the command
    ├── ConversionError         the module cannot be written in the format asked for
    ├── ParityError             a file was written, but it does not compute what the module computes
    ├── TrainingError           training broke down and could not be rescued
    ├── DeviceError             a device cannot measure what was asked
    └── BudgetError             no student found keeps the budget (defined with the search)

Every message holds three things on one line: what was given, which rule it breaks, what to do.
"""

from __future__ import annotations

__all__ = [
    "ConversionError",
    "DeviceError",
    "InputError",
    "MissingExtraError",
    "MobileDistillError",
    "ModelFileError",
    "ParityError",
    "TrainingError",
]


class MobileDistillError(Exception):
    """Root of every error that this project raises on purpose."""


class InputError(MobileDistillError):
    """Something that was given breaks a rule."""


class ModelFileError(InputError):
    """A model file is damaged, foreign, or unsafe to open."""


class MissingExtraError(InputError):
    """An optional library is missing.

    Args:
        library: what could not be imported, for example ``"coremltools"``.
        extra: the extra that brings it, for example ``"coreml"``.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed, and this needs it: run pip install 'mobiledistill[{extra}]'.")


class ConversionError(MobileDistillError):
    """A module cannot be written in the format asked for."""


class ParityError(MobileDistillError):
    """A written file does not compute what its module computes."""


class TrainingError(MobileDistillError):
    """Training broke down (non-finite loss, nothing learned) and could not be rescued."""


class DeviceError(MobileDistillError):
    """A device cannot measure what was asked of it."""
