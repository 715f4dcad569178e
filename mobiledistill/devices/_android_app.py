"""Our app on a phone: what a foreground app sees, on the processor, the GPU or the NPU.

It is the project of ``demo_apps/android``, which the user builds. Started by ``am``, it reads a configuration, runs the
files as ``mdharness`` does, and writes the very lines that ``mdharness`` prints.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from converters import DeviceError, Format, InputError
from mobiledistill.devices._adb import Adb
from mobiledistill.devices._android_visit import Visit
from mobiledistill.devices._base import Subject
from mobiledistill.devices._gates import Gate
from mobiledistill.devices._host import Answers, answers
from mobiledistill.devices._measurement import Measurement, OutputCheck, PathKind, Telemetry
from mobiledistill.devices._record import Record, first_fault
from mobiledistill.devices._replies import result_of
from mobiledistill.devices._runs import BLOCK, REFERENCES, RUNTIMES, Plan

__all__ = [
    "ACTIVITY",
    "BACKENDS",
    "FILES",
    "PACKAGE",
    "AppFile",
    "AppRuns",
    "AppTensor",
    "Configuration",
    "app_gates",
    "check_app",
]

PACKAGE = "mobiledistill.benchmark"
ACTIVITY = f"{PACKAGE}/.BenchmarkActivity"
BACKENDS: Final[dict[Format, tuple[str, ...]]] = {
    "tflite": ("cpu", "gpu", "npu"),
    "onnx": ("cpu", "xnnpack", "nnapi", "qnn"),
}

FILES = f"/sdcard/Android/data/{PACKAGE}/files"
_RUN_S = 900.0
_PREPARE_S = 20.0
_POLL_S = 2.0  # looking costs the phone time too
_LARGEST_RESULT_BYTES = 64 << 20
_LOG_LINES = 3
_ENDED, _GONE, _SILENT = 0, 3, 4


class AppTensor(Record):
    """An answer as this computer got it: LiteRT's Kotlin interface tells no names, and of types only some.

    Attributes:
        dtype: in the words of .safetensors: "F32", "I8".
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


class AppFile(Record):
    """A model beside the configuration, and the .safetensors files that go in and out.

    Attributes:
        answers: what it gives.
        outputs: where the answers of its last run go; None: nowhere.
    """

    model: str
    inputs: str
    answers: tuple[AppTensor, ...]
    outputs: str | None = None
    signature: str | None = None


class Configuration(Record):
    """What the app reads; its own reader is ``Configuration.kt``, and both are tested on the same files."""

    schema_version: Literal[1] = 1
    run: str
    mode: Literal["latency", "memory"]
    runtime: Literal["litert", "onnxruntime"]
    backend: str
    threads: int
    samples: int
    block: int
    files: tuple[AppFile, ...]
    reference: AppFile | None = None


class _Result(Record):
    """What is used of the app's result; what more it tells is left alone."""

    model_config = ConfigDict(extra="ignore")


_Told = TypeVar("_Told", bound=_Result)


class _FileResult(_Result):
    load_cold_ms: float
    load_warm_ms: float
    first_run_ms: float
    batch: int
    signature: str
    backend: str
    samples_ns: tuple[int, ...]


class _LatencyResult(_Result):
    files: tuple[_FileResult, ...]
    reference_ns: tuple[int, ...]
    preempted_per_run: float
    version: str


class _MemoryResult(_Result):
    peak_memory_bytes: int | None


def check_app(app: Path | None, tool: Path | None, backend: str | None) -> None:
    """Whether what a user gave goes together.

    Raises:
        InputError: it does not, or there is no such file.
    """
    known = sorted({name for names in BACKENDS.values() for name in names})
    if app is None and backend is not None:
        raise InputError(
            f"The backend {backend!r} needs the app: give the APK built from demo_apps/android too (app=, --app)."
        )
    if backend is not None and backend not in known:
        raise InputError(f"There is no backend {backend!r}; the app knows {', '.join(known)}.")
    if app is not None and tool is not None:
        raise InputError("A tool and an app were given; one of them measures: give one.")
    if app is not None and not app.is_file():
        raise InputError(f"{app} does not exist; build it from demo_apps/android (./gradlew assembleRelease).")


class AppRuns:
    """The app on the phone, each time in a fresh process. Its files go away at the end, it stays."""

    path_kind: PathKind = "app"

    def __init__(
        self,
        visit: Visit,
        app: Path,
        backend: str,
        subjects: Sequence[Subject],
        expected: Sequence[Answers],
        plan: Plan,
    ) -> None:
        self._visit, self._adb, self.backend = visit, visit.adb, backend
        self._app, self._subjects, self._expected, self._plan = app, subjects, expected, plan
        self._fmt = subjects[0].fmt
        if backend not in BACKENDS[self._fmt]:
            known = ", ".join(BACKENDS[self._fmt])
            raise InputError(f"The app runs .{self._fmt} files on {known}, but got the backend {backend!r}.")
        self.device = visit.described(())
        self._reference = answers([Subject(REFERENCES[self._fmt], self._fmt)])[0]
        self._run_id = f"run-{uuid.uuid4().hex[:12]}"
        self._folder = f"{FILES}/{self._run_id}"

    def __enter__(self) -> AppRuns:
        try:
            _install(self._adb, self._app)
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(DeviceError):  # it went away: the next run sweeps
            self._adb.shell("am", "force-stop", PACKAGE, check=False)
            self._adb.shell("rm", "-rf", self._folder, check=False)

    def latency(self) -> Mapping[str, Any]:
        """As ``Bench``."""
        self._visit.cool()
        files = [self._file(index, f"{index}-outputs.safetensors") for index in range(len(self._subjects))]
        reference = AppFile(
            model=f"reference-{REFERENCES[self._fmt].name}",
            inputs="reference-inputs.safetensors",
            answers=_declared(self._reference),
            signature=self._reference.signature if self._fmt == "tflite" else None,
        )
        found = _checked(_LatencyResult, self._run("latency", files, reference))
        counts = {len(one.samples_ns) for one in found.files} | {len(found.reference_ns)}
        if len(found.files) != len(files) or counts != {self._plan.samples}:
            raise DeviceError(
                f"The app on {self._adb.serial} answered with other files or samples than it was asked for;"
                " build it again from this version's demo_apps/android."
            )
        return {
            "files": [one.model_dump() for one in found.files],
            "references": {self._fmt: found.reference_ns},
            "versions": {self._fmt: found.version or "unknown"},
            "preempted_per_run": found.preempted_per_run,
        }

    def peak_memory_bytes(self, index: int) -> int | None:
        """As ``Bench``."""
        return _checked(_MemoryResult, self._run("memory", [self._file(index, None)], None)).peak_memory_bytes

    def telemetry(self) -> Telemetry:
        """As ``Bench``."""
        return self._visit.telemetry(())

    def checked(self, index: int, found: Measurement) -> Measurement:
        """The measurement, with the app's answers held against this computer's."""
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            local = Path(folder) / "outputs.safetensors"
            self._adb.pull(f"{self._folder}/{index}-outputs.safetensors", local)
            try:
                answered = load_file(local)
            except SafetensorError as error:
                raise DeviceError(
                    f"The app on {self._adb.serial} wrote damaged outputs ({error}); run it again."
                ) from None
        return found.with_outputs(OutputCheck.of(self._expected[index].outputs, answered))

    def _prepare(self) -> None:
        """Copies what is run into the run's folder, which the app itself makes.

        Since Android 11 an app may be kept out of a folder that the shell made under its own.
        """
        self._adb.shell("rm", "-rf", *(f"{FILES}/{name}" for name in self._left_behind()), check=False)
        self._start("prepare")
        wait = f"i=0; while [ ! -d {self._folder} ] && [ $i -lt 40 ]; do sleep {_PREPARE_S / 40}; i=$((i+1)); done"
        self._adb.script(wait, "waiting for the app", timeout_s=2 * _PREPARE_S + 30)
        if self._adb.shell("test", "-d", self._folder, check=False).code:
            raise DeviceError(f"The app on {self._adb.serial} does not start.{self._last_words()} Unlock the phone.")
        reference = REFERENCES[self._fmt]
        self._push_inputs("reference", self._reference.inputs)
        self._adb.push(reference, f"{self._folder}/reference-{reference.name}")
        for index, (subject, one) in enumerate(zip(self._subjects, self._expected, strict=True)):
            self._push_inputs(str(index), one.inputs)
            self._adb.push(subject.file, f"{self._folder}/{index}-{subject.file.name}")

    def _left_behind(self) -> list[str]:
        """Folders of runs whose cable was pulled; the lock sees to it that none is in use."""
        return [name for name in self._adb.shell("ls", FILES, check=False).out.split() if name.startswith("run-")] or [
            self._run_id
        ]

    def _push_inputs(self, name: str, inputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            local = Path(folder) / f"{name}-inputs.safetensors"
            save_file({key: np.ascontiguousarray(value) for key, value in inputs.items()}, local)
            self._adb.push(local, f"{self._folder}/{local.name}")

    def _file(self, index: int, outputs: str | None) -> AppFile:
        return AppFile(
            model=f"{index}-{self._subjects[index].file.name}",
            inputs=f"{index}-inputs.safetensors",
            answers=_declared(self._expected[index]),
            outputs=outputs,
            signature=self._expected[index].signature if self._fmt == "tflite" else None,
        )

    def _run(
        self, mode: Literal["latency", "memory"], files: Sequence[AppFile], reference: AppFile | None
    ) -> dict[str, Any]:
        configuration = Configuration(
            run=self._run_id,
            mode=mode,
            runtime="litert" if self._fmt == "tflite" else "onnxruntime",
            backend=self.backend,
            threads=self._plan.threads,
            samples=self._plan.samples,
            block=BLOCK,
            files=tuple(files),
            reference=reference,
        )
        result = f"{self._folder}/result.json"
        self._adb.shell("rm", "-f", result, f"{result}.partial")
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            local = Path(folder) / "config.json"
            local.write_text(configuration.model_dump_json())
            self._adb.push(local, f"{self._folder}/config.json")
        since = self._adb.shell("date", "+%m-%d %H:%M:%S.000").out.strip()
        self._start("run")
        ended = self._wait(result)
        names = " or ".join(dict.fromkeys(file.model.partition("-")[2] for file in files))
        if ended != _ENDED:
            died = "ended before it answered" if ended == _GONE else f"gave no answer within {_RUN_S:.0f} s"
            raise DeviceError(
                f"The app on {self._adb.serial} {died}, in the phase {self._phase(result)!r} of {names} on"
                f" {self.backend}.{self._last_words(since)} Try the backend cpu, or unlock the phone and run it again."
            )
        said, where = self._pulled(result), f"in the app on {self._adb.serial}"
        return result_of(said, "it wrote no whole result", names, RUNTIMES[self._fmt], where)

    def _start(self, verb: Literal["prepare", "run"]) -> None:
        # -S: a process that is there ends first, so that each run has a fresh one.
        words = ["am", "start", "-S", "-W", "-n", ACTIVITY, "--es", verb, self._run_id]
        answer = self._adb.shell(*words, timeout_s=60.0, check=False)
        told = [line.strip() for line in (answer.out + answer.err).splitlines() if "Error" in line]
        if answer.code or told:
            why = (told or [f"am ended with status {answer.code}"])[-1]
            raise DeviceError(
                f"The app does not start on {self._adb.serial}: {why}. Is it built from demo_apps/android?"
            )

    def _wait(self, result: str) -> int:
        rounds = max(1, round(_RUN_S / _POLL_S))
        # Death is looked for before the result: a result that was renamed in between still counts.
        text = (
            f"i=0; while [ $i -lt {rounds} ]; do pidof {PACKAGE} > /dev/null; gone=$?;"
            f" [ -f {result} ] && exit {_ENDED}; [ $gone -ne 0 ] && exit {_GONE};"
            f" sleep {_POLL_S}; i=$((i+1)); done; exit {_SILENT}"
        )
        return self._adb.script(text, "waiting for the app", timeout_s=_RUN_S + 60, check=False).code

    def _phase(self, result: str) -> str:
        lines = self._pulled(f"{result}.partial").splitlines()
        for line in reversed(lines):
            with suppress(ValueError, TypeError, KeyError):
                return str(json.loads(line)["phase"])[:40]
        return "start"

    def _last_words(self, since: str | None = None) -> str:
        sources = ["mobiledistill:*", "AndroidRuntime:E", "libc:F", "DEBUG:F", "lowmemorykiller:I"]
        told = self._adb.shell(
            "logcat", "-d", "-v", "raw", *(["-T", since] if since else []), "-s", *sources, check=False
        )
        lines = [line.strip()[:160] for line in told.out.splitlines() if line.strip() and not line.startswith("-----")]
        return f" Its last words: {' | '.join(lines[-_LOG_LINES:]).rstrip('.')}." if lines else " It left no log."

    def _pulled(self, remote: str) -> str:
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            local = Path(folder) / "said"
            if not self._adb.pull(remote, local, missing_ok=True):
                return ""
            with local.open("rb") as file:
                return file.read(_LARGEST_RESULT_BYTES).decode(errors="replace")


_DTYPES = {
    **{np.dtype(f"float{bits}"): f"F{bits}" for bits in (16, 32, 64)},
    **{np.dtype(f"int{bits}"): f"I{bits}" for bits in (8, 16, 32, 64)},
    np.dtype("uint8"): "U8",
    np.dtype("bool"): "BOOL",
}


def _declared(one: Answers) -> tuple[AppTensor, ...]:
    for name, value in one.outputs.items():
        if value.dtype not in _DTYPES:
            raise InputError(f"The output {name} is {value.dtype}, which the app does not read; take it off the file.")
    return tuple(
        AppTensor(name=name, dtype=_DTYPES[value.dtype], shape=value.shape) for name, value in one.outputs.items()
    )


def app_gates(adb: Adb, app: Path, abis: Sequence[str]) -> list[Gate]:
    """Of the app on a phone with processors of these kinds: whether it is there, and whether it would run.

    Raises:
        DeviceError: the phone does not answer.
    """
    try:
        with zipfile.ZipFile(app) as archive:
            files = [name.split("/") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return [Gate("app", f"{app.name} is no whole APK", False, "build it from demo_apps/android")]
    built = {parts[1] for parts in files if parts[0] == "lib" and len(parts) == 3}
    there = _installed(adb)
    seen = (
        "not installed" if there is None else "installed" if _is_this(adb, there, app) else "another build is installed"
    )
    return [
        Gate("app", seen, seen == "installed", "nothing: a measurement installs it", waits=True),
        Gate(
            "app's processor",
            ", ".join(sorted(built)) or "any",
            not built or not built.isdisjoint(abis),
            f"build it for {' or '.join(abis)}",
        ),
    ]


def _install(adb: Adb, app: Path) -> None:
    """Installs the app where not this very file is installed already."""
    there = _installed(adb)
    if there is not None and _is_this(adb, there, app):
        return
    adb.install(app)
    if _installed(adb) is None:
        raise DeviceError(f"{app.name} is another app than {PACKAGE}; give the APK built from demo_apps/android.")


def _installed(adb: Adb) -> str | None:
    """Where the app's APK lies on the phone, which may hold parts of it beside."""
    lines = adb.shell("pm", "path", PACKAGE, check=False).out.splitlines()
    return lines[0].strip().removeprefix("package:") if lines else None


def _is_this(adb: Adb, there: str, app: Path) -> bool:
    digest = hashlib.sha256(app.read_bytes()).hexdigest()
    return adb.shell("sha256sum", there, check=False).out.startswith(digest)


def _checked(kind: type[_Told], said: dict[str, Any]) -> _Told:
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        raise DeviceError(
            f"The app's result is not understood ({first_fault(error)}); build it again from this version's"
            " demo_apps/android."
        ) from None
