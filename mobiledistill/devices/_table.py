"""A latency table: what a device took, as data; a device of its own whose answers are predictions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from converters import DeviceError, Format, InputError, Kernel, kernels, run_in_child
from mobiledistill._workdir import digest_of
from mobiledistill.devices._base import Inputs, InputsBySignature
from mobiledistill.devices._fit import Correction, Fitted, Hyper, amounts
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    Measurement,
    Prediction,
    RuntimeInfo,
    Telemetry,
)
from mobiledistill.devices._record import Record, first_fault

__all__ = ["FormatTable", "LatencyTable", "TableDevice", "table_of"]

_LARGEST_BYTES = 64_000_000
_PACKAGES: Mapping[str, str] = {"tflite": "ai-edge-litert", "onnx": "onnxruntime"}
_PLACES = 7

_Row = Annotated[tuple[float, ...], Field(min_length=9, max_length=9)]
_Positive = Annotated[float, Field(gt=0)]
_Factor = Annotated[float, Field(ge=1e-3, le=1e3)]
_Work = Annotated[float, Field(ge=0, le=1e6)]
_Pull = Annotated[float, Field(ge=-1e6, le=1e6)]


class KindTable(Record):
    """One kind of kernel: milliseconds for each amount of work, and where the sum of them is off.

    Attributes:
        work: milliseconds for each amount of work.
        places: where kernels of this kind were timed: logarithms of their sizes.
        pulls: how strongly each place corrects what lies near it.
    """

    work: Annotated[tuple[_Work, ...], Field(min_length=6, max_length=15)]
    places: Annotated[tuple[_Row, ...], Field(min_length=1, max_length=20_000)]
    pulls: tuple[_Pull, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(self.places) != len(self.pulls):
            raise ValueError("places and pulls must be equally long")
        return self


class FormatTable(Record):
    """The kernels of one runtime.

    Attributes:
        runtime: what ran the files, and which version.
        files: how many were timed.
        repeatability: of 95 % of the networks, the second time differed from the first by at most this share.
        tail: the 90th percentile over the median of a file, in the middle of all files.
        holdout: measured over predicted latency of networks that the fit had not seen.
        spread: what was believed before anything was timed; so are ``offset``, ``reach`` and ``noise``.
        kinds: by kind of kernel.
    """

    runtime: RuntimeInfo
    files: Annotated[int, Field(ge=1)]
    repeatability: Annotated[float, Field(ge=0)]
    tail: _Factor
    holdout: Annotated[tuple[_Factor, ...], Field(min_length=1)]
    spread: Annotated[float, Field(ge=0, le=10)]
    offset: Annotated[float, Field(ge=0, le=10)]
    reach: _Factor
    noise: _Positive
    kinds: Annotated[dict[str, KindTable], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for kind, table in self.kinds.items():
            if len(table.work) != len(amounts(Kernel(kind, 1, 1))):
                raise ValueError(f"{kind!r} has {len(table.work)} amounts of work")
        return self

    @property
    def error(self) -> float:
        """By which share 95 % of the held-out predictions were off at most."""
        return float(np.quantile([abs(1 / ratio - 1) for ratio in self.holdout], 0.95))

    def fitted(self) -> Fitted:
        """The table as what predicts."""
        return Fitted(
            {kind: np.array(table.work) for kind, table in self.kinds.items()},
            {kind: Correction(np.array(table.places), np.array(table.pulls)) for kind, table in self.kinds.items()},
            Hyper(self.spread, self.offset, self.reach, self.noise),
        )


class LatencyTable(Record):
    """What ``calibrate`` found out about one device, with its errors; JSON in and out.

    Attributes:
        device: what was measured.
        spec: what ``devices.open`` was given.
        seed: of the networks that were timed.
        networks: how many there were.
        formats: by format.
    """

    schema_version: Literal[1] = 1
    device: DeviceInfo
    spec: str
    threads: Literal[1] = 1
    seed: int
    networks: Annotated[int, Field(ge=1)]
    formats: Annotated[dict[Format, FormatTable], Field(min_length=1)]

    @property
    def digest(self) -> str:
        """Of everything that it says."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """One JSON object."""
        return self.model_dump_json()

    def save(self, path: str | Path) -> Path:
        """Writes the table aside and renames it."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(self.to_json())
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise InputError(f"{path} cannot be written ({error.strerror}); give a folder that can be.") from None
        return path

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "This") -> LatencyTable:
        """Reads what ``to_json`` wrote.

        Raises:
            InputError: it is no JSON, a field is missing, unknown or out of range, or the schema is another version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"{source} is no latency table of schema 1: {first_fault(error)}. Make one with 'mobiledistill"
                " calibrate -o table.json'."
            ) from None

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Reads a file.

        Raises:
            InputError: as ``from_json``, or it cannot be read.
        """
        path = Path(path)
        try:
            if path.stat().st_size > _LARGEST_BYTES:
                raise InputError(f"{path} is larger than 64 MB, which no latency table is; give another file.")
            return cls.from_json(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a latency table.") from None

    def predict(self, path: str | Path, signature: str = "main") -> Prediction:
        """How long one signature of a .tflite or .onnx file would take.

        Raises:
            InputError: the table knows nothing of the format, or the file has no such signature.
            ModelFileError: the file is damaged.
        """
        path = Path(path)
        fmt: Format = "tflite" if path.suffix == ".tflite" else "onnx"
        found = run_in_child(kernels, path, what=str(path))
        if signature not in found:
            raise InputError(f"{path} has the signatures {', '.join(found)}, but not {signature!r}.")
        return self.predicted(found[signature], fmt)

    def predicted(self, called: list[Kernel], fmt: Format) -> Prediction:
        """How long a list of kernels would take."""
        if fmt not in self.formats:
            raise InputError(f"The table knows {', '.join(self.formats)}, not {fmt}; calibrate that too.")
        table = self.formats[fmt]
        fitted = table.fitted()
        return Prediction(
            latency_ms=sum(fitted.ms(called)),
            error=round(table.error, 4),
            files=len(table.holdout),
            unknown=fitted.unknown(called),
        )


class TableDevice:
    """Answers latency from a table: predictions, called so wherever they are told.

    Args:
        table: what ``calibrate`` made.
        name: as ``devices.open`` takes it.

    Raises:
        InputError: the table is of another version of a runtime than the one here, whose kernels may differ.
    """

    def __init__(self, table: LatencyTable, name: str = "table") -> None:
        self._table, self._name = table, name
        self._known: dict[str, dict[str, list[Kernel]]] = {}
        for fmt, one in table.formats.items():
            here = _installed(fmt)
            if here is not None and here.split(".")[:2] != one.runtime.version.split(".")[:2]:
                raise InputError(
                    f"{name} was made with {one.runtime.name} {one.runtime.version}, but {here} is installed, whose"
                    " kernels may be others: calibrate again, or install that version."
                )

    @property
    def name(self) -> str:
        """As ``devices.open`` takes it."""
        return self._name

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats that the table knows."""
        return tuple(self._table.formats)

    @property
    def table(self) -> LatencyTable:
        """The table."""
        return self._table

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """The names a file's signatures are called by."""
        return tuple(self._kernels(Path(path)))

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
        """Predicts the median latency of one signature of one file; None for a format that the table lacks.

        ``samples_ms`` are the prediction times what held-out networks were off, and the interval holds 95 % of them.

        Raises:
            DeviceError: another number of threads or percentile is asked than the table was made for.
        """
        path = Path(path)
        if fmt not in self._table.formats:
            return None
        if threads != self._table.threads or percentile != 50.0:
            raise DeviceError(
                f"{self._name} predicts the median on {self._table.threads} thread, not the {percentile:g}th percentile"
                f" on {threads}; measure that on the device."
            )
        found = self._kernels(path)
        name = signature or next(iter(found))
        if name not in found or (signature is None and len(found) > 1):
            raise InputError(f"{path} has the signatures {', '.join(found)}; name one of them.")
        table = self._table.formats[fmt]
        prediction = self._table.predicted(found[name], fmt)
        spread = tuple(sorted(prediction.latency_ms * ratio for ratio in table.holdout))
        low, high = (float(value) for value in np.quantile(spread, [0.025, 0.975]))
        reasons = [
            f"it is a prediction, within {100 * prediction.error:.0f} % on 95 % of {prediction.files} files held out"
        ]
        if prediction.unknown:
            reasons.append(f"the table has not seen {', '.join(prediction.unknown)}, which count as the slowest it has")
        return Measurement(
            device=self._table.device,
            runtime=table.runtime,
            path_kind="table",
            file=path.name,
            sha256=digest_of(path),
            format=fmt,
            signature=name,
            backend=Backend(asked="cpu", obtained="prediction"),
            threads=threads,
            batch=1,
            samples_ms=(spread,),
            percentile=percentile,
            latency_ms=prediction.latency_ms,
            ci95_ms=(min(low, prediction.latency_ms), max(high, prediction.latency_ms)),
            p50_ms=prediction.latency_ms,
            p90_ms=prediction.latency_ms * table.tail,
            drift_first_to_last_third=0.0,
            prediction=prediction,
            telemetry_before=Telemetry(),
            telemetry_after=Telemetry(),
            verdict="predicted",
            reasons=tuple(reasons),
        )

    def _kernels(self, path: Path) -> dict[str, list[Kernel]]:
        if not path.exists():
            raise InputError(f"{path} does not exist; give the path of a .tflite or .onnx file.")
        digest = digest_of(path)
        if digest not in self._known:
            self._known[digest] = run_in_child(kernels, path, what=str(path))
        return self._known[digest]


def table_of(
    fitted: Fitted,
    *,
    runtime: RuntimeInfo,
    files: int,
    repeatability: float,
    tail: float,
    holdout: tuple[float, ...],
) -> FormatTable:
    """What was fitted, as a table."""
    kinds = {
        kind: KindTable(
            work=tuple(_short(value) for value in fitted.work[kind]),
            places=tuple(tuple(_short(value) for value in row) for row in one.places),
            pulls=tuple(_short(value) for value in one.pulls),
        )
        for kind, one in fitted.corrections.items()
    }
    return FormatTable(
        runtime=runtime,
        files=files,
        repeatability=repeatability,
        tail=tail,
        holdout=holdout,
        spread=fitted.hyper.spread,
        offset=fitted.hyper.offset,
        reach=fitted.hyper.reach,
        noise=fitted.hyper.noise,
        kinds=kinds,
    )


def _short(value: float) -> float:
    return 0.0 if value == 0 else round(float(value), _PLACES - math.floor(math.log10(abs(value))))


def _installed(fmt: Format) -> str | None:
    try:
        return version(_PACKAGES[fmt])
    except (KeyError, PackageNotFoundError):
        return None
