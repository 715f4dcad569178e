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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters import DeviceError, Format, InputError, MissingExtraError
from mobiledistill.devices._base import Inputs, InputsBySignature, Subject
from mobiledistill.devices._measurement import DeviceInfo, Measurement, PathKind, Telemetry
from mobiledistill.devices._replies import result_of
from mobiledistill.devices._runs import BLOCK, REFERENCES, RUNTIMES, Plan, measure, one_signature

__all__ = ["Answers", "Host", "answers", "cpu_name"]

_CHILD = Path(__file__).with_name("_host_child.py")
_LIBRARIES = {"tflite": ("ai_edge_litert", "tflite"), "onnx": ("onnxruntime", "onnx")}
"""Of each format: the library that must be there, and the extra that brings it."""

_BRIEF_SAMPLES = 50
_LOAD_LIMIT_S = 60
_RUN_LIMIT_S = 3600
_MEMORY_LIMIT_BYTES = 8 << 30


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
        signature, own = one_signature(inputs, signature)
        subject = Subject(Path(path), fmt, own, signature)
        plan = self._plan(threads, percentile, processes, samples, max_processes)
        return self._measure([subject], plan, limit_ms=limit_ms)[0]

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
        return self._measure(subjects, plan, memory=memory)

    def _measure(
        self, subjects: Sequence[Subject], plan: Plan, *, limit_ms: float | None = None, memory: bool = True
    ) -> list[Measurement]:
        for subject in subjects:
            _check(subject)
        known_ms = self._known_ms.setdefault(plan.threads, {})
        with _requests(subjects) as files:
            bench = _Processes(subjects, files, plan)
            return measure(subjects, plan, bench, known_ms, limit_ms=limit_ms, memory=memory)

    def _plan(self, threads: int, percentile: float, processes: int, samples: int, max_processes: int) -> Plan:
        if self._brief:
            return Plan(threads, percentile, 1, _BRIEF_SAMPLES, 1, brief=True)
        return Plan(threads, percentile, processes, samples, max(processes, max_processes))


@dataclass(frozen=True)
class Answers:
    """What a file makes of its inputs, given or drawn, on this machine."""

    signature: str
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def answers(subjects: Sequence[Subject]) -> list[Answers]:
    """Runs each file once.

    Raises:
        InputError, ModelFileError, DeviceError: as ``Host.measure``.
    """
    for subject in subjects:
        _check(subject)
    with _requests(subjects) as files, tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
        found = _ask("answers", subjects, files, threads=1, folder=folder)["files"]
        return [
            Answers(
                one["signature"],
                _arrays(Path(folder) / f"{index}-inputs.npz", one["inputs"]),
                _arrays(Path(folder) / f"{index}-outputs.npz", one["outputs"]),
            )
            for index, one in enumerate(found)
        ]


def _arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"arr_{index}"] for index, name in enumerate(names)}


class _Processes:
    """Python's runtimes, each time in a fresh process of this machine."""

    path_kind: PathKind = "host"
    backend = "cpu"

    def __init__(self, subjects: Sequence[Subject], files: list[dict[str, Any]], plan: Plan) -> None:
        self.device = DeviceInfo(name=Host.name, os=f"{platform.system()} {platform.release()}", cpu=cpu_name())
        self._subjects, self._files, self._plan = subjects, files, plan

    def latency(self) -> Mapping[str, Any]:
        return _ask("latency", self._subjects, self._files, threads=self._plan.threads, samples=self._plan.samples)

    def peak_memory_bytes(self, index: int) -> int | None:
        one, file = [self._subjects[index]], [self._files[index]]
        answer = _ask("memory", one, file, threads=self._plan.threads)
        return None if answer["peak_memory_bytes"] is None else int(answer["peak_memory_bytes"])

    def telemetry(self) -> Telemetry:
        return _telemetry()


def _check(subject: Subject) -> None:
    if subject.fmt not in _LIBRARIES:
        raise InputError(f"{subject.path} is {subject.fmt}, which this machine cannot run; it runs tflite and onnx.")
    library, extra = _LIBRARIES[subject.fmt]
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
    mode: str,
    subjects: Sequence[Subject],
    files: list[dict[str, Any]],
    *,
    threads: int,
    samples: int = 1,
    folder: str | None = None,
) -> dict[str, Any]:
    """One fresh process's answer; arrays go into a folder."""
    request = {
        "folder": folder,
        "mode": mode,
        "files": files,
        "references": {name: str(path) for name, path in REFERENCES.items()},
        "threads": threads,
        "samples": samples,
        "block": BLOCK,
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
    return result_of(child.stdout, _death(child), _names(subjects), RUNTIMES[subjects[0].fmt], "on this machine")


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


def cpu_name() -> str:
    """The name of this computer's processor."""
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
