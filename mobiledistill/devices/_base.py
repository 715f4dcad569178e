"""What every device answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from converters import Format
from mobiledistill.devices._measurement import Measurement

__all__ = ["Device", "Inputs", "InputsBySignature", "Interleaving", "Subject"]

Inputs = Mapping[str, NDArray[Any]]
"""What one call is given, by input name."""

InputsBySignature = Mapping[str, Inputs]


@dataclass(frozen=True)
class Subject:
    """One signature of one file, and what to run it on.

    Attributes:
        path: the file; for a folder of .onnx files the one named after the signature is taken.
        fmt: ``"tflite"`` or ``"onnx"``.
        inputs: by name; None: random ones in the declared shapes, the same every time.
        signature: which one; None: the only one.
    """

    path: Path
    fmt: Format
    inputs: Inputs | None = None
    signature: str | None = None

    @property
    def file(self) -> Path:
        """The file that is run."""
        return self.path / f"{self.signature or 'main'}.onnx" if self.path.is_dir() else self.path


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


@runtime_checkable
class Interleaving(Device, Protocol):
    """A device that measures several files in turns, so that whatever slows it down slows all of them down."""

    def measure_interleaved(
        self,
        subjects: Sequence[Subject],
        *,
        threads: int = 1,
        percentile: float = 50.0,
        processes: int = 5,
        samples: int = 200,
        memory: bool = True,
    ) -> list[Measurement]:
        """One measurement for each file; without ``memory`` nothing is asked about that."""
        ...
