"""What every device answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from converters import Format
from mobiledistill.devices._measurement import Measurement

__all__ = ["Device", "Inputs", "InputsBySignature"]

Inputs = Mapping[str, NDArray[Any]]
"""What one call is given, by input name."""

InputsBySignature = Mapping[str, Inputs]


@runtime_checkable
class Device(Protocol):
    """Something that runs an exported file and measures it.

    ``name`` is what ``devices.open`` was given, ``formats`` what can be measured there. A format that cannot be is
    reported as unmeasured, never guessed.
    """

    @property
    def name(self) -> str:
        """As ``devices.open`` takes it."""
        ...

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats this device can run."""
        ...

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """The names a file's signatures are called by.

        Raises:
            ModelFileError: the file is no such model.
        """
        ...

    def measure(
        self,
        path: Path,
        fmt: Format,
        inputs: Inputs | InputsBySignature | None = None,
        *,
        signature: str | None = None,
        threads: int = 1,
        percentile: float = 50.0,
        limit_ms: float | None = None,
        processes: int = 5,
        samples: int = 200,
        max_processes: int = 20,
    ) -> Measurement | None:
        """Measures one signature of one file; None when this device cannot run the format.

        Raises:
            InputError: the file is missing or damaged, or the inputs do not fit it.
            DeviceError: the device gave no answer.
        """
        ...
