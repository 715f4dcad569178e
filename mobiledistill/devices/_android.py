"""An Android phone on a cable or in the same network: our own small program runs there, started by adb."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from safetensors.numpy import load_file, save_file

from converters import DeviceError, Format
from mobiledistill.devices._adb import Adb, status
from mobiledistill.devices._android_app import BACKENDS, FILES, AppRuns, app_gates, check_app
from mobiledistill.devices._android_programs import PREPARE, AbiPrograms, Programs
from mobiledistill.devices._android_tools import ToolRuns
from mobiledistill.devices._android_visit import ROOT, Visit, abis, put_back
from mobiledistill.devices._base import Inputs, InputsBySignature, Subject
from mobiledistill.devices._gates import Gate, phone_gates
from mobiledistill.devices._host import Answers, answers
from mobiledistill.devices._measurement import Measurement, OutputCheck, PathKind, Telemetry
from mobiledistill.devices._phone_lock import phone_lock
from mobiledistill.devices._replies import result_of
from mobiledistill.devices._runs import BLOCK, REFERENCES, RUNTIMES, Plan, measure, one_signature, refuse_formats

__all__ = ["Android"]

_RUN_S = 900.0
_LARGEST_RESULT_BYTES = 64 << 20


class Android:
    """Measures .tflite and .onnx files on an Android phone's processor.

    What you gain: the phone's own milliseconds and memory, with the temperature, battery and clocks they were taken
    under, and a check that the phone's answers are those of this computer. What you do not without ``app``: the GPU and
    the NPU, and what an app around the model costs.

    Every measurement waits until the phone is cool, wakes its screen, runs fresh processes on the cores of the fastest
    cluster and leaves nothing changed behind. What it has copied stays on the phone until ``clean``.

    Args:
        serial: as ``adb devices`` prints it.
        programs: what is copied to the phone; None: the folder that the variable ``MOBILEDISTILL_ANDROID`` names.
        tool: a ``benchmark_model`` or ``onnxruntime_perf_test`` of yours for this phone, which then measures in place
            of our program. You gain its makers' figures; you lose samples (one mean is left of each process), memory
            that compares, and the check of answers, for these tools draw their inputs themselves.
        app: the APK that you built from ``demo_apps/android``, which then measures in place of our program: what an app
            sees, and the only way to the GPU and the NPU. It is installed where it is not there yet, and stays.
        backend: what is to compute, with ``app`` alone: ``"cpu"``, which is what None means, for .tflite ``"gpu"`` or
            ``"npu"``, for .onnx ``"xnnpack"``, ``"nnapi"`` or ``"qnn"``. What then did is
            ``Measurement.backend.obtained``. ``formats`` are those that it can compute.

    Raises:
        InputError: both a tool and an app are given, or a backend without an app.
    """

    def __init__(
        self,
        serial: str,
        *,
        programs: Programs | None = None,
        tool: Path | None = None,
        app: Path | None = None,
        backend: str | None = None,
    ) -> None:
        check_app(app, tool, backend)
        self._adb = Adb(serial)
        self._programs = programs
        self._tool = tool
        self._app, self._backend = app, backend or "cpu"
        self.formats: Final = tuple(fmt for fmt, backends in BACKENDS.items() if self._backend in backends)
        self._known_ms: dict[int, dict[str, float]] = {}

    @property
    def name(self) -> str:
        """As ``devices.open`` takes it; a tool or the app behind it, so that work folders never mix their times."""
        if self._app is not None:
            return f"adb:{self._adb.serial} by the app on {self._backend}"
        return f"adb:{self._adb.serial}" + ("" if self._tool is None else f" by {self._tool.name}")

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """As ``Host.signatures``: a file's names are the same everywhere."""
        from mobiledistill.devices._host import Host

        return Host().signatures(path, fmt)

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
        """Measures latency and peak memory of one signature of one file; see ``Host.measure``.

        The verdict is also ``throttled`` where the phone slowed down for heat, and ``invalid`` where its answers are
        not those of this computer; ``outputs`` says how far they are apart.

        Raises:
            InputError: there is no such file, the inputs do not fit it, or an argument is out of range.
            ModelFileError: the file is damaged or no such model.
            DeviceError: the phone is not there, not ready to measure, or cannot run the file.
        """
        if fmt not in BACKENDS:
            return None
        signature, own = one_signature(inputs, signature)
        subject = Subject(Path(path), fmt, own, signature)
        plan = Plan(threads, percentile, processes, samples, max(processes, max_processes))
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
        """Measures several files of one format in turns, as ``Host.measure_interleaved``."""
        refuse_formats(subjects, "On a phone")
        return self._measure(subjects, Plan(threads, percentile, processes, samples, processes), memory=memory)

    def examine(self) -> list[Gate]:
        """Everything that a measurement needs, looked at without changing anything on the phone.

        Raises:
            DeviceError: the phone does not answer.
        """
        processors = abis(self._adb)
        found = [Gate("processor", " or ".join(processors), True, "")]
        if self._app is not None:
            return [*found, *app_gates(self._adb, self._app, processors), *phone_gates(self._adb)]
        try:
            programs = (self._programs or Programs.found()).of(processors)
        except DeviceError as error:
            return [*found, Gate("programs", "missing", False, str(error)), *phone_gates(self._adb)]
        seen = {f: f"{RUNTIMES[f]} {programs.version(f)}" for f in self.formats if programs.has(f)}
        told = ", ".join(seen.get(fmt, f"no {RUNTIMES[fmt]}") for fmt in self.formats)
        found.append(Gate("runtimes", told, bool(seen), f"give their packages to {PREPARE}"))
        return [*found, *phone_gates(self._adb)]

    def clean(self) -> int:
        """Removes what was copied to the phone; the app stays.

        Returns:
            How many bytes that were.

        Raises:
            DeviceError: the phone does not answer, or another run uses it.
        """
        with phone_lock(self._adb.serial):
            ours = f"{ROOT} {FILES}/run-*"
            # stat, since du of older phones counts blocks
            sizes = self._adb.script(
                f"find {ours} -type f -exec stat -c %s {{}} + 2>/dev/null", "counting", check=False
            )
            put_back(self._adb)  # how to do that lies there too
            self._adb.script(f"rm -rf {ours}", "removing what was copied")
        return sum(int(size) for size in sizes.out.split() if size.isdigit())

    def _measure(
        self, subjects: Sequence[Subject], plan: Plan, *, limit_ms: float | None = None, memory: bool = True
    ) -> list[Measurement]:
        known_ms = self._known_ms.setdefault(plan.threads, {})
        expected = answers(subjects)
        if self._tool is not None:
            with phone_lock(self._adb.serial), Visit(self._adb) as visit:
                tools = ToolRuns(visit, self._tool, subjects, [one.signature for one in expected], plan)
                return measure(subjects, plan, tools, known_ms, limit_ms=limit_ms, memory=memory)
        if self._app is not None:
            with (
                phone_lock(self._adb.serial),
                Visit(self._adb) as visit,
                AppRuns(visit, self._app, self._backend, subjects, expected, plan) as app,
            ):
                found = measure(subjects, plan, app, known_ms, limit_ms=limit_ms, memory=memory)
                return [app.checked(index, one) for index, one in enumerate(found)]
        programs = (self._programs or Programs.found()).of(abis(self._adb))
        with phone_lock(self._adb.serial), Visit(self._adb) as visit:
            bench = _Processes(visit, programs, subjects, expected, plan)
            found = measure(subjects, plan, bench, known_ms, limit_ms=limit_ms, memory=memory)
            return [bench.checked(index, one) for index, one in enumerate(found)]


class _Processes:
    """Our program on the phone, each time in a fresh process."""

    path_kind: PathKind = "shell"
    backend = "cpu"

    def __init__(
        self,
        visit: Visit,
        programs: AbiPrograms,
        subjects: Sequence[Subject],
        expected: Sequence[Answers],
        plan: Plan,
    ) -> None:
        self._visit, self._subjects, self._expected, self._plan = visit, subjects, expected, plan
        self._fmt = subjects[0].fmt
        self._cores = visit.fastest(plan.threads)
        self.device = visit.described(self._cores)
        self._version = programs.version(self._fmt)
        self._harness = visit.lay(programs.harness)
        self._library = visit.lay(programs.library(self._fmt))
        self._reference = visit.lay(REFERENCES[self._fmt])
        self._models = [f"{visit.folder}/{index}-{subject.file.name}" for index, subject in enumerate(subjects)]
        for subject, model in zip(subjects, self._models, strict=True):
            visit.adb.push(subject.file, model)
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            for index, one in enumerate(expected):
                local = Path(folder) / f"{index}-inputs.safetensors"
                save_file(one.inputs, local)
                visit.adb.push(local, f"{visit.folder}/{local.name}")

    def latency(self) -> Mapping[str, Any]:
        self._visit.cool()
        words = ["--reference", self._reference, "--samples", str(self._plan.samples), "--block", str(BLOCK)]
        answer = self._run("latency", range(len(self._subjects)), words, outputs=True)
        return {
            **answer,
            "references": {self._fmt: answer["reference_ns"]},
            "versions": {self._fmt: answer["version"] or self._version},
        }

    def peak_memory_bytes(self, index: int) -> int | None:
        answer = self._run("memory", [index], [])
        return None if answer["peak_memory_bytes"] is None else int(answer["peak_memory_bytes"])

    def telemetry(self) -> Telemetry:
        return self._visit.telemetry(self._cores)

    def checked(self, index: int, found: Measurement) -> Measurement:
        """The measurement, with the phone's answers held against this computer's."""
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            local = Path(folder) / "outputs.safetensors"
            self._visit.adb.pull(f"{self._visit.folder}/{index}-outputs.safetensors", local)
            check = OutputCheck.of(self._expected[index].outputs, load_file(local))
        return found.with_outputs(check)

    def _run(self, mode: str, which: Sequence[int], words: Sequence[str], *, outputs: bool = False) -> dict[str, Any]:
        folder = self._visit.folder
        call = [self._harness, mode, "--runtime", RUNTIMES[self._fmt].lower(), "--library", self._library]
        call += ["--threads", str(self._plan.threads), *words]
        if self._cores:
            call += ["--cores", ",".join(str(core) for core in self._cores)]
        for index in which:
            call += ["--model", self._models[index], "--inputs", f"{folder}/{index}-inputs.safetensors"]
            if self._fmt == "tflite":
                call += ["--signature", self._expected[index].signature]
            if outputs:
                call += ["--outputs", f"{folder}/{index}-outputs.safetensors"]
        libraries = self._library.rpartition("/")[0]
        text = f"cd {folder} && LD_LIBRARY_PATH={libraries} {shlex.join(call)} > reply.jsonl 2> log.txt"
        ended = self._visit.adb.script(
            text, f"measuring with {self._harness.rpartition('/')[2]}", timeout_s=_RUN_S, check=False
        )
        said = self._pulled("reply.jsonl")
        death = status(ended.code)
        if log := self._pulled("log.txt").strip().splitlines():
            death = f"{death}: {log[-1].strip()[:200]}"
        names = " or ".join(dict.fromkeys(str(self._subjects[index].file) for index in which))
        return result_of(said, death, names, RUNTIMES[self._fmt], f"on {self._visit.adb.serial}")

    def _pulled(self, name: str) -> str:
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            local = Path(folder) / name
            if not self._visit.adb.pull(f"{self._visit.folder}/{name}", local, missing_ok=True):
                return ""
            with local.open("rb") as file:
                return file.read(_LARGEST_RESULT_BYTES).decode(errors="replace")
