"""This machine as a device: LiteRT and ONNX Runtime in fresh, pinned processes."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters import DeviceError, Format, InputError, MissingExtraError, ModelFileError
from mobiledistill.devices._base import Inputs, InputsBySignature
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    Measurement,
    Reference,
    RuntimeInfo,
    Telemetry,
    Verdict,
)
from mobiledistill.devices._statistics import drift, percentile, percentile_interval

__all__ = ["Host", "Subject"]

_CHILD = Path(__file__).with_name("_host_child.py")
_REFERENCES = {name: Path(__file__).parent / "assets" / f"reference.{name}" for name in ("tflite", "onnx")}
_LIBRARIES = {"tflite": ("ai_edge_litert", "tflite", "LiteRT"), "onnx": ("onnxruntime", "onnx", "onnxruntime")}

_LARGEST_DRIFT = 0.10
_BRIEF_SAMPLES = 50
_REPEATS = 3
_REPEAT_FOR_AT_MOST_S = 60  # a machine that is busy for longer will stay so
_PREEMPTED_PER_RUN = 0.1
_BLOCK = 20
_LOAD_LIMIT_S = 60
_RUN_LIMIT_S = 3600
_MEMORY_LIMIT_BYTES = 8 << 30


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


class Host:
    """Measures .tflite and .onnx files on this machine's processor, batch and inputs as given.

    What you gain: honest numbers in seconds, with an interval and a check that the machine kept its pace. What you
    do not: a phone. A file's order among others often carries over from here to an ARM processor, its milliseconds
    never do.

    One measurement takes at least 5 fresh processes, one after the other, 200 samples each; every process runs a
    fixed reference model in turns with the file. With one thread each is pinned to one core. A device that is kept
    also remembers the reference's pace, and tries longer when the whole machine is slower than before.

    Args:
        brief: a first impression within seconds: one process of 50 samples in place of five of 200, none repeated.
            Every measurement's verdict is then ``invalid`` and says why.
    """

    name: Final = "host"
    formats: Final[tuple[Format, ...]] = ("tflite", "onnx")

    def __init__(self, *, brief: bool = False) -> None:
        self._brief = brief
        self._known_ms: dict[int, dict[str, float]] = {}  # the references' pace, by threads and format

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """The names a file's signatures are called by; ``("main",)`` where the file knows none.

        Raises:
            InputError: there is no such file, or its format does not run here.
            ModelFileError: the file is damaged or no such model.
        """
        path = Path(path)
        if fmt == "onnx" and path.is_dir():
            if not (found := tuple(sorted(file.stem for file in path.glob("*.onnx")))):
                raise InputError(f"{path} holds no .onnx file; give a folder with one for each signature.")
            return found
        subject = Subject(path, fmt)
        _check(subject)
        with _requests([subject]) as files:
            answer = _ask("signatures", [subject], files, threads=1)
        return tuple(answer["signatures"])

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
        """Measures latency and peak memory of one signature of one file.

        Example:
            >>> Host().measure(Path("model.tflite"), "tflite", {"x": np.zeros((1, 8), np.float32)})  # doctest: +SKIP
            Measurement(...)

        Args:
            path: the file, or a folder of .onnx files named after their signatures.
            fmt: its format.
            inputs: arrays by name, or such mappings by signature; None: random ones in the declared shapes.
            signature: which one to run; None: the only one.
            threads: threads that the runtime may use; above 1 the process is not pinned.
            percentile: what ``latency_ms`` and its interval are about, 0 to 100.
            limit_ms: while the interval reaches across this limit, more processes are run, up to ``max_processes``.
            processes: fresh processes, 5 or more for a number that counts; fewer are for trying out.
            samples: timed calls in each process, 200 or more for a number that counts.
            max_processes: where to stop while the limit stays open.

        Returns:
            The measurement, or None when the format does not run here (Core ML). Its verdict is ``invalid`` when the
            reference still drifted by more than 10 %, or other processes still interrupted the runs, after 3 times
            as many processes, or a minute of them, were run again.

        Raises:
            InputError: there is no such file, the inputs do not fit it, or an argument is out of range.
            ModelFileError: the file is damaged or no such model; it may have crashed its process.
            DeviceError: the file loads but does not run here, or runs into the time limit.
        """
        if fmt not in self.formats:
            return None
        signature, own = _one_signature(inputs, signature)
        subject = Subject(Path(path), fmt, own, signature)
        plan = self._plan(threads, percentile, processes, samples, max_processes)
        return _measure([subject], plan, limit_ms, self._known_ms.setdefault(threads, {}))[0]

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
        """Measures several files so that they can be compared: every process runs all of them in turns.

        Whatever slows the machine down then slows all of them down. The order within a process is turned round
        after every block of samples. Without ``memory`` nothing is asked about that, which saves a process a file.

        Returns:
            One measurement for each subject, in their order.

        Raises:
            InputError, ModelFileError, DeviceError: as ``measure``; also for a format that does not run here.
        """
        if not subjects:
            raise InputError("measure_interleaved was given no file; give at least one Subject.")
        for subject in subjects:
            if subject.fmt not in self.formats:
                raise InputError(f"{subject.path} is {subject.fmt}, which this machine cannot run; leave it out.")
        plan = self._plan(threads, percentile, processes, samples, processes)
        return _measure(list(subjects), plan, None, self._known_ms.setdefault(threads, {}), memory=memory)

    def _plan(self, threads: int, percentile: float, processes: int, samples: int, max_processes: int) -> _Plan:
        if self._brief:
            return _Plan(threads, percentile, 1, _BRIEF_SAMPLES, 1, brief=True)
        return _Plan(threads, percentile, processes, samples, max(processes, max_processes))


@dataclass(frozen=True)
class _Plan:
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

    def __init__(
        self, subjects: list[Subject], files: list[dict[str, Any]], plan: _Plan, known_ms: Mapping[str, float]
    ) -> None:
        self._subjects, self._files, self._plan, self._known_ms = subjects, files, plan, known_ms
        self._answers: list[dict[str, Any]] = []
        self._repeats_left = 0
        self.repeated = 0

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, count: int) -> None:
        self._answers += [self._ask() for _ in range(count)]
        self._repeats_left += 0 if self._plan.brief else _REPEATS * count
        until = time.monotonic() + _REPEAT_FOR_AT_MOST_S
        while (unsteady := self._unsteady()) and time.monotonic() < until:
            # New ones go to the end of the list: there the order stays that of time.
            self._answers = [answer for index, answer in enumerate(self._answers) if index not in unsteady]
            self._answers += [self._ask() for _ in unsteady]
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
        for fmt in self._formats():
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

    def median_of(self, index: int, field: str) -> float:
        return float(np.median([answer["files"][index][field] for answer in self._answers]))

    def first(self, index: int) -> dict[str, Any]:
        return dict(self._answers[0]["files"][index])

    def version(self, fmt: str) -> str:
        return str(self._answers[0]["versions"][fmt])

    def _ask(self) -> dict[str, Any]:
        return _ask("latency", self._subjects, self._files, threads=self._plan.threads, samples=self._plan.samples)

    def _formats(self) -> list[str]:
        return sorted({subject.fmt for subject in self._subjects})

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
        for fmt in self._formats():
            within, against_pace = self._drifts(index, fmt, known_ms)
            if abs(within) > _LARGEST_DRIFT:
                found.append("the reference drifted by more than 10 % within a process")
            if against_pace > _LARGEST_DRIFT:
                found.append("the reference differed by more than 10 % between processes")
        if self._plan.threads == 1 and self._answers[index]["preempted_per_run"] > _PREEMPTED_PER_RUN:
            found.append("other processes interrupted more than one run in ten")
        return found


def _measure(
    subjects: list[Subject], plan: _Plan, limit_ms: float | None, known_ms: dict[str, float], *, memory: bool = True
) -> list[Measurement]:
    for subject in subjects:
        _check(subject)
    with _requests(subjects) as files:
        before = _telemetry()
        runs = _Runs(subjects, files, plan, known_ms)
        runs.add(plan.processes)
        while limit_ms is not None and _is_open(runs, plan, limit_ms):
            runs.add(min(plan.processes, plan.max_processes - len(runs)))
        after = _telemetry()
        # Kept when it was no faster either: a machine whose pace changed for good must not be waited for again.
        known_ms |= {subject.fmt: min(runs.paces_ms(subject.fmt)) for subject in subjects}
        peaks = [
            _ask("memory", [subject], [file], threads=plan.threads)["peak_memory_bytes"] if memory else None
            for subject, file in zip(subjects, files, strict=True)
        ]
    return [
        _measurement(subject, runs, index, plan, peak_memory_bytes=peak, telemetry=(before, after))
        for index, (subject, peak) in enumerate(zip(subjects, peaks, strict=True))
    ]


def _is_open(runs: _Runs, plan: _Plan, limit_ms: float) -> bool:
    if len(runs) >= plan.max_processes or runs.reasons():
        return False
    low, high = percentile_interval(runs.samples_ms(0), plan.percentile)
    return low <= limit_ms < high


def _measurement(
    subject: Subject,
    runs: _Runs,
    index: int,
    plan: _Plan,
    *,
    peak_memory_bytes: int | None,
    telemetry: tuple[Telemetry, Telemetry],
) -> Measurement:
    samples_ms, first = runs.samples_ms(index), runs.first(index)
    reference_ms = runs.reference_ms(subject.fmt)
    verdict, reasons = _verdict(runs, *telemetry)
    return Measurement(
        device=DeviceInfo(name=Host.name, os=f"{platform.system()} {platform.release()}", cpu=_cpu()),
        runtime=RuntimeInfo(name=_LIBRARIES[subject.fmt][2], version=runs.version(subject.fmt)),
        path_kind="host",
        file=subject.file.name,
        sha256=_sha256(subject.file),
        format=subject.fmt,
        signature=first["signature"],
        backend=Backend(asked="cpu", obtained=first["backend"]),
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
            sha256=_sha256(_REFERENCES[subject.fmt]),
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
    return "valid", ()


# -- what is asked ------------------------------------------------------------------------------------------------


def _one_signature(
    inputs: Inputs | InputsBySignature | None, signature: str | None
) -> tuple[str | None, Inputs | None]:
    if inputs is None or not any(isinstance(value, Mapping) for value in inputs.values()):
        return signature, inputs  # type: ignore[return-value]  # no value is a mapping: these are arrays
    by_signature: InputsBySignature = inputs  # type: ignore[assignment]
    if signature is None and len(by_signature) == 1:
        signature = next(iter(by_signature))
    if signature is None or signature not in by_signature:
        raise InputError(
            f"Inputs are given for the signatures {', '.join(by_signature)}; say signature=... with one of them,"
            " and measure each on its own."
        )
    return signature, by_signature[signature]


def _check(subject: Subject) -> None:
    if subject.fmt not in _LIBRARIES:
        raise InputError(f"{subject.path} is {subject.fmt}, which this machine cannot run; it runs tflite and onnx.")
    library, extra, _ = _LIBRARIES[subject.fmt]
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(library, extra)
    if not subject.file.is_file():
        raise InputError(f"{subject.file} is not a file; give the path of a .{subject.fmt} file that exists.")


@contextmanager
def _requests(subjects: Sequence[Subject]) -> Iterator[list[dict[str, Any]]]:
    """What the child is told of each file, with the inputs laid down where it finds them."""
    with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
        files = []
        for index, subject in enumerate(subjects):
            given = None
            if subject.inputs is not None:
                archive = Path(folder) / f"{index}.npz"
                np.savez(archive, *(np.asarray(value) for value in subject.inputs.values()))
                given = {"path": str(archive), "names": list(subject.inputs)}
            files.append(
                {
                    "path": str(subject.file.resolve()),
                    "format": subject.fmt,
                    "signature": subject.signature,
                    "inputs": given,
                    "seed": 0,
                }
            )
        yield files


def _ask(
    mode: str, subjects: Sequence[Subject], files: list[dict[str, Any]], *, threads: int, samples: int = 1
) -> dict[str, Any]:
    """One fresh process's answer."""
    request = {
        "mode": mode,
        "files": files,
        "references": {name: str(path) for name, path in _REFERENCES.items()},
        "threads": threads,
        "samples": samples,
        "block": _BLOCK,
        "core": _core() if threads == 1 else None,
        "load_limit_s": _LOAD_LIMIT_S,
        "memory_limit_bytes": _MEMORY_LIMIT_BYTES + 4 * sum(Path(file["path"]).stat().st_size for file in files),
    }
    try:
        child = subprocess.run(
            [sys.executable, "-P", str(_CHILD)],  # -P: the modules beside it must not hide the standard library's
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"},
            timeout=_RUN_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{_names(subjects)} did not finish within {_RUN_LIMIT_S} s; use a smaller model.") from None
    return _result(child, subjects)


def _result(child: subprocess.CompletedProcess[str], subjects: Sequence[Subject]) -> dict[str, Any]:
    phase = "start"
    error: dict[str, str] | None = None
    for line in child.stdout.splitlines():
        message = _message(line)
        if "result" in message:
            return dict(message["result"])
        phase, error = message.get("phase", phase), message.get("error")
    names, runtime = _names(subjects), _LIBRARIES[subjects[0].fmt][2]
    if error is not None and error["kind"] == "input":
        raise InputError(f"{names}: {error['message']}.")
    what = error["message"].rstrip(".") if error is not None else _death(child)
    if phase == "start":
        raise DeviceError(f"{runtime} does not start on this machine: {what}. Install it again.")
    if phase == "load":
        raise ModelFileError(f"{names} cannot be loaded by {runtime}: {what}. Give a whole, undamaged model file.")
    raise DeviceError(f"{names} loads, but does not run in {runtime}: {what}. Check its operators and its inputs.")


def _message(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}  # cut off where the process died


def _death(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode >= 0:
        said = [line for line in child.stderr.splitlines() if line.strip()]
        return said[-1].strip()[:300] if said else f"it ended with exit code {child.returncode}"
    number = -child.returncode
    if number == getattr(signal, "SIGALRM", None):
        return "it ran into the time limit"
    return f"it crashed the process ({signal.Signals(number).name})"


def _names(subjects: Sequence[Subject]) -> str:
    return " or ".join(dict.fromkeys(str(subject.file) for subject in subjects))


# -- the machine --------------------------------------------------------------------------------------------------


def _core() -> int | None:
    """The core that measures: the last one we may use, because the first is where interrupts go."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _cpu() -> str:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _telemetry() -> Telemetry:
    core = Path(f"/sys/devices/system/cpu/cpu{_core() or 0}")
    clock_khz = _read(core / "cpufreq" / "scaling_cur_freq")
    sensors = (_read(zone) for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp")))
    degrees = [int(text) / 1000 for text in sensors if text and text.lstrip("-").isdigit()]
    throttled = _read(core / "thermal_throttle" / "core_throttle_count")
    return Telemetry(
        loadavg=os.getloadavg() if hasattr(os, "getloadavg") else None,
        cpu_mhz=int(clock_khz) / 1000 if clock_khz and clock_khz.isdigit() else None,
        governor=_read(core / "cpufreq" / "scaling_governor"),
        temperature_c=max(degrees, default=None),
        throttle_count=int(throttled) if throttled and throttled.isdigit() else None,
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _ms(nanoseconds: Sequence[int]) -> tuple[float, ...]:
    return tuple(value / 1e6 for value in nanoseconds)
