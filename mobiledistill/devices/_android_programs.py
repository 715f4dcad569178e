"""What is copied to a phone: our program, and the runtimes that the user took from their makers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from converters import DeviceError, Format, InputError
from mobiledistill.devices._record import Record, first_fault

__all__ = ["HARNESS", "LIBRARIES", "PREPARE", "VERSIONS", "AbiPrograms", "Programs", "Versions"]

HARNESS = "mdharness"
LIBRARIES: dict[Format, str] = {"tflite": "libLiteRt.so", "onnx": "libonnxruntime.so"}
VERSIONS = "versions.json"
PREPARE = "mobiledistill devices prepare"


class Versions(Record):
    """Which releases the libraries are, as far as they do not tell themselves."""

    tflite: str | None = None
    onnx: str | None = None


@dataclass(frozen=True)
class AbiPrograms:
    """The programs for one kind of processor."""

    folder: Path

    @property
    def harness(self) -> Path:
        """Our program.

        Raises:
            DeviceError: it is not there.
        """
        return self._file(HARNESS)

    def library(self, fmt: Format) -> Path:
        """The runtime of a format.

        Raises:
            DeviceError: it is not there.
        """
        return self._file(LIBRARIES[fmt])

    def has(self, fmt: Format) -> bool:
        """Whether a format can be run."""
        return (self.folder / LIBRARIES[fmt]).is_file()

    def version(self, fmt: Format) -> str:
        """Of that runtime; "unknown" where nobody noted it."""
        path = self.folder / VERSIONS
        if not path.is_file():
            return "unknown"
        try:
            found = Versions.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(f"{path} is no list of versions ({first_fault(error)}); make it with {PREPARE}.") from None
        return {"tflite": found.tflite, "onnx": found.onnx}[fmt] or "unknown"

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise DeviceError(f"{path} is not there, and a phone needs it; make it with {PREPARE}.")
        return path


@dataclass(frozen=True)
class Programs:
    """A folder with one folder for each kind of processor: ``arm64-v8a``, ``armeabi-v7a``, ``x86_64``."""

    folder: Path

    @classmethod
    def found(cls) -> Programs:
        """The folder that ``MOBILEDISTILL_ANDROID`` names, else the one in the user's cache."""
        named = os.environ.get("MOBILEDISTILL_ANDROID")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(Path(named) if named else cache / "mobiledistill" / "android")

    def of(self, abis: Sequence[str]) -> AbiPrograms:
        """Of the kind that the phone likes best.

        Raises:
            DeviceError: there is none for this phone.
        """
        for abi in abis:
            if (self.folder / abi / HARNESS).is_file():
                return AbiPrograms(self.folder / abi)
        raise DeviceError(
            f"{self.folder} has no programs for this phone, whose processor is {' or '.join(abis) or 'unknown'};"
            f" make it with {PREPARE}."
        )
