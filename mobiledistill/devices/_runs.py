"""Fresh processes that time files in turns with a reference: which of them count, how many it takes, what comes out.

A computer and a phone differ in how a process is started and asked, which is a ``Bench``; all else is the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from converters import InputError
from mobiledistill.devices._base import Inputs, InputsBySignature, Subject
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    Measurement,
    PathKind,
    Reference,
    RuntimeInfo,
    Telemetry,
    Verdict,
)
from mobiledistill.devices._statistics import drift, percentile, percentile_interval

__all__ = ["BLOCK", "REFERENCES", "RUNTIMES", "Bench", "Plan", "measure", "one_signature", "refuse_formats"]

REFERENCES = {name: Path(__file__).parent / "assets" / f"reference.{name}" for name in ("tflite", "onnx")}
RUNTIMES = {"tflite": "LiteRT", "onnx": "onnxruntime"}
BLOCK = 20

_LARGEST_DRIFT = 0.10
_REPEATS = 3
_REPEAT_FOR_AT_MOST_S = 60  # a machine that is busy for longer will stay so
_PREEMPTED_PER_RUN = 0.1


class Bench(Protocol):
    """Where processes run, made ready for some subjects."""

    device: DeviceInfo
    path_kind: PathKind
    backend: str
    """What is asked to compute."""

    def latency(self) -> Mapping[str, Any]:
        """What one fresh process found: ``files`` in the subjects' order, ``references`` and ``versions`` by format.

        Raises:
            ModelFileError, InputError, DeviceError: as the device says it.
        """
        ...

    def peak_memory_bytes(self, index: int) -> int | None:
        """What loading and running one subject adds to a process of its own; None where that is not told."""
        ...

    def telemetry(self) -> Telemetry:
        """The device's state now."""
        ...


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        samples: timed calls in each process.
        max_processes: where to stop while a limit stays open.
        brief: a first impression: nothing is repeated, and no measurement counts.
    """

    threads: int
    percentile: float
    processes: int
    samples: int
    max_processes: int
    brief: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "processes", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, but got {getattr(self, name)!r}.")
        if not 0 < self.percentile < 100:
            raise InputError(f"percentile must lie between 0 and 100, but got {self.percentile!r}.")


class _Runs:
    """The processes run so far; those in which the machine did not keep its pace are run again.

    What disturbs a machine only ever slows it down, so the pace is that of the fastest process. ``known_ms`` is the
    reference's pace in earlier measurements, by format: a machine that is slow all through is told by it.
    """

    def __init__(self, subjects: Sequence[Subject], plan: Plan, known_ms: Mapping[str, float], bench: Bench) -> None:
        self._formats = sorted({subject.fmt for subject in subjects})
        self._plan, self._known_ms, self._bench = plan, known_ms, bench
        self._answers: list[Mapping[str, Any]] = []
        self._repeats_left = 0
        self.repeated = 0

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, count: int) -> None:
        self._answers += [self._bench.latency() for _ in range(count)]
        self._repeats_left += 0 if self._plan.brief else _REPEATS * count
        until = time.monotonic() + _REPEAT_FOR_AT_MOST_S
        while (unsteady := self._unsteady()) and time.monotonic() < until:
            # New ones go to the end of the list: there the order stays that of time.
            self._answers = [answer for index, answer in enumerate(self._answers) if index not in unsteady]
            self._answers += [self._bench.latency() for _ in unsteady]
            self._repeats_left -= len(unsteady)
            self.repeated += len(unsteady)

    def paces_ms(self, fmt: str) -> list[float]:
        """The reference's median in each process."""
        return [float(np.median(process)) for process in self.reference_ms(fmt)]

    def reasons(self) -> tuple[str, ...]:
        """Why the samples do not count, after all repeats; empty when they do."""
        found = [complaint for index in range(len(self)) for complaint in self._complaints(index, {})]
        if self._plan.brief:
            found.insert(0, "it is brief: one process in place of five")
        for fmt in self._formats:
            over_all = drift(self.reference_ms(fmt))
            if abs(over_all) > _LARGEST_DRIFT:
                found.append(f"the reference drifted by {over_all:+.0%} from the first to the last third")
        return tuple(dict.fromkeys(found))

    def samples_ms(self, index: int) -> tuple[tuple[float, ...], ...]:
        return tuple(_ms(answer["files"][index]["samples_ns"]) for answer in self._answers)

    def reference_ms(self, fmt: str) -> tuple[tuple[float, ...], ...]:
        return tuple(_ms(answer["references"][fmt]) for answer in self._answers)

    def largest_drift(self, fmt: str) -> float:
        every = [abs(value) for index in range(len(self)) for value in self._drifts(index, fmt, {})]
        return max(*every, abs(drift(self.reference_ms(fmt))))

    def median_of(self, index: int, field: str) -> float | None:
        told = [answer["files"][index][field] for answer in self._answers]
        return None if None in told else float(np.median(told))

    def first(self, index: int) -> dict[str, Any]:
        return dict(self._answers[0]["files"][index])

    def version(self, fmt: str) -> str:
        return str(self._answers[0]["versions"][fmt])

    def _unsteady(self) -> set[int]:
        found = [index for index in range(len(self)) if self._complaints(index, self._known_ms)]
        return set(found[: self._repeats_left])

    def _drifts(self, index: int, fmt: str, known_ms: Mapping[str, float]) -> tuple[float, float]:
        """Of the reference: within a process, and of the process from the pace."""
        paces_ms = self.paces_ms(fmt)
        pace_ms = min(*paces_ms, known_ms.get(fmt, paces_ms[0]))
        return drift([self.reference_ms(fmt)[index]]), paces_ms[index] / pace_ms - 1

    def _complaints(self, index: int, known_ms: Mapping[str, float]) -> list[str]:
        found = []
        for fmt in self._formats:
            within, against_pace = self._drifts(index, fmt, known_ms)
            if abs(within) > _LARGEST_DRIFT:
                found.append("the reference drifted by more than 10 % within a process")
            if against_pace > _LARGEST_DRIFT:
                found.append("the reference differed by more than 10 % between processes")
        if self._plan.threads == 1 and self._answers[index]["preempted_per_run"] > _PREEMPTED_PER_RUN:
            found.append("other processes interrupted more than one run in ten")
        return found


def measure(
    subjects: Sequence[Subject],
    plan: Plan,
    bench: Bench,
    known_ms: dict[str, float],
    *,
    limit_ms: float | None = None,
    memory: bool = True,
) -> list[Measurement]:
    """Measures every subject; while the first one's interval reaches across ``limit_ms``, with more processes.

    Args:
        subjects: what is run, in turns.
        plan: how often.
        bench: where.
        known_ms: the references' pace in earlier measurements, by format; what is found is added.
        limit_ms: what the first subject's latency is held against.
        memory: whether peak memory is asked for, a process for each subject.
    """
    before = bench.telemetry()
    runs = _Runs(subjects, plan, known_ms, bench)
    runs.add(plan.processes)
    while limit_ms is not None and _is_open(runs, plan, limit_ms):
        runs.add(min(plan.processes, plan.max_processes - len(runs)))
    after = bench.telemetry()
    # Kept when it was no faster either: a machine whose pace changed for good must not be waited for again.
    known_ms |= {subject.fmt: min(runs.paces_ms(subject.fmt)) for subject in subjects}
    peaks = [bench.peak_memory_bytes(index) if memory else None for index in range(len(subjects))]
    return [
        _measurement(subject, runs, index, plan, bench, peak_memory_bytes=peak, telemetry=(before, after))
        for index, (subject, peak) in enumerate(zip(subjects, peaks, strict=True))
    ]


def _is_open(runs: _Runs, plan: Plan, limit_ms: float) -> bool:
    if len(runs) >= plan.max_processes or runs.reasons():
        return False
    low, high = percentile_interval(runs.samples_ms(0), plan.percentile)
    return low <= limit_ms < high


def _measurement(
    subject: Subject,
    runs: _Runs,
    index: int,
    plan: Plan,
    bench: Bench,
    *,
    peak_memory_bytes: int | None,
    telemetry: tuple[Telemetry, Telemetry],
) -> Measurement:
    samples_ms, first = runs.samples_ms(index), runs.first(index)
    reference_ms = runs.reference_ms(subject.fmt)
    verdict, reasons = _verdict(runs, *telemetry)
    return Measurement(
        device=bench.device,
        runtime=RuntimeInfo(name=RUNTIMES[subject.fmt], version=runs.version(subject.fmt)),
        path_kind=bench.path_kind,
        file=subject.file.name,
        sha256=_sha256(subject.file),
        format=subject.fmt,
        signature=first["signature"],
        backend=Backend(asked=bench.backend, obtained=first["backend"]),
        threads=plan.threads,
        batch=first["batch"],
        samples_ms=samples_ms,
        percentile=plan.percentile,
        latency_ms=percentile(samples_ms, plan.percentile),
        ci95_ms=percentile_interval(samples_ms, plan.percentile),
        p50_ms=percentile(samples_ms, 50),
        p90_ms=percentile(samples_ms, 90),
        drift_first_to_last_third=drift(samples_ms),
        reference=Reference(
            sha256=_sha256(REFERENCES[subject.fmt]),
            samples_ms=reference_ms,
            drift=drift(reference_ms),
            largest_drift=runs.largest_drift(subject.fmt),
        ),
        load_cold_ms=runs.median_of(index, "load_cold_ms"),
        load_warm_ms=runs.median_of(index, "load_warm_ms"),
        first_run_ms=runs.median_of(index, "first_run_ms"),
        peak_memory_bytes=peak_memory_bytes,
        repeated_processes=runs.repeated,
        telemetry_before=telemetry[0],
        telemetry_after=telemetry[1],
        verdict=verdict,
        reasons=reasons,
    )


def _verdict(runs: _Runs, before: Telemetry, after: Telemetry) -> tuple[Verdict, tuple[str, ...]]:
    if reasons := runs.reasons():
        return "invalid", reasons
    if (after.throttle_count or 0) > (before.throttle_count or 0):
        return "throttled", ("the processor was slowed down for heat",)
    if after.thermal_status:
        return "throttled", (f"the phone was warm enough to slow down: thermal status {after.thermal_status}",)
    return "valid", ()


def refuse_formats(subjects: Sequence[Subject], where: str) -> None:
    """Where one runtime at a time is loaded, files of one format take turns.

    Raises:
        InputError: there is no file, or there are several formats.
    """
    if not subjects:
        raise InputError("measure_interleaved was given no file; give at least one Subject.")
    if len({subject.fmt for subject in subjects}) > 1:
        raise InputError(f"{where} files of one format are measured in turns; measure each format on its own.")


def one_signature(inputs: Inputs | InputsBySignature | None, signature: str | None) -> tuple[str | None, Inputs | None]:
    """The signature that is meant, and its inputs.

    Raises:
        InputError: inputs are given for several, and none is named.
    """
    if inputs is None or not any(isinstance(value, Mapping) for value in inputs.values()):
        return signature, inputs  # type: ignore[return-value]  # no value is a mapping: these are arrays
    by_signature: InputsBySignature = inputs  # type: ignore[assignment]  # some value is a mapping: all are
    if signature is None and len(by_signature) == 1:
        signature = next(iter(by_signature))
    if signature is None or signature not in by_signature:
        raise InputError(
            f"Inputs are given for the signatures {', '.join(by_signature)}; say signature=... with one of them,"
            " and measure each on its own."
        )
    return signature, by_signature[signature]


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _ms(nanoseconds: Sequence[int]) -> tuple[float, ...]:
    return tuple(value / 1e6 for value in nanoseconds)
