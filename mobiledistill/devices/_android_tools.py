"""The makers' own benchmark tools on a phone, for those who trust their figures: means of whole runs, no samples.

Two programs are called ``benchmark_model``, with different flags and different output: which one it is its help tells.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters import DeviceError, Format, InputError
from mobiledistill.devices._adb import Adb, status
from mobiledistill.devices._android_visit import Visit
from mobiledistill.devices._base import Subject
from mobiledistill.devices._measurement import PathKind, Telemetry
from mobiledistill.devices._runs import REFERENCES, Plan
from mobiledistill.devices._tool_output import (
    ToolTimes,
    benchmark_model,
    litert_benchmark_model,
    onnxruntime_perf_test,
)

__all__ = ["ToolRuns"]

_RUN_S = 900.0
_WARM_UP_RUNS = 10
_REFUSED = 126  # from here on a shell tells how a program died, not what it answered


@dataclass(frozen=True)
class Tool:
    """One of them.

    Attributes:
        name: what its makers call it.
        fmt: what it runs.
        words: its arguments for a model, so many runs and threads.
        read: its output.
    """

    name: str
    fmt: Format
    words: Callable[[str, int, int], list[str]]
    read: Callable[[str], ToolTimes]

    def run(self, adb: Adb, there: str, model: str, runs: int, threads: int, cores: Sequence[int]) -> ToolTimes:
        """Times a model that lies on the phone, on these cores.

        Raises:
            DeviceError: it died, or came to no result.
        """
        mask = f"{sum(1 << core for core in cores):x}"
        pinned = ["taskset", mask] if cores else []
        libraries = f"LD_LIBRARY_PATH={shlex.quote(there.rpartition('/')[0])}"
        text = f"{libraries} {shlex.join([*pinned, there, *self.words(model, runs, threads)])} 2>&1"
        ended = adb.script(text, f"measuring with {self.name}", timeout_s=_RUN_S, check=False)
        try:
            return self.read(ended.out)
        except DeviceError as error:
            died = f" It {status(ended.code)}." if ended.code else ""
            raise DeviceError(f"{error}{died}") from None


def recognised(adb: Adb, there: str) -> Tool:
    """Which tool a file on the phone is, by its help.

    Raises:
        DeviceError: it is none of those that are known, or does not run on this phone.
    """
    said = adb.script(f"{shlex.quote(there)} --help 2>&1", "asking a tool for its help", check=False)
    for sign, tool in _SIGNS.items():
        if sign in said.out:
            return tool
    lines = [line.strip() for line in said.out.splitlines() if line.strip()]
    told = f"it {status(said.code)}" if said.code >= _REFUSED else f"its help begins with {(lines or [''])[0][:100]!r}"
    raise DeviceError(
        f"{there.rpartition('/')[2]} is no benchmark_model or onnxruntime_perf_test that runs on this phone: {told}."
    )


def _of_tflite(model: str, runs: int, threads: int) -> list[str]:
    # Without a least time it runs as often as asked.
    least = ["--min_secs=0", "--warmup_min_secs=0"]
    return [
        f"--graph={model}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        f"--warmup_runs={_WARM_UP_RUNS}",
        *least,
    ]


def _of_litert(model: str, runs: int, threads: int) -> list[str]:
    return [*_of_tflite(model, runs, threads), "--use_cpu=true"]


def _of_onnxruntime(model: str, runs: int, threads: int) -> list[str]:
    return ["-I", "-e", "cpu", "-m", "times", "-r", str(runs), "-x", str(threads), model]


_SIGNS = {
    "--use_xnnpack": Tool("TFLite's benchmark_model", "tflite", _of_tflite, benchmark_model),
    "--dispatch_library_path": Tool("LiteRT's benchmark_model", "tflite", _of_litert, litert_benchmark_model),
    "perf_test": Tool("onnxruntime_perf_test", "onnx", _of_onnxruntime, onnxruntime_perf_test),
}


class ToolRuns:
    """A user's tool on the phone, which times each file and the reference once in a process of its own."""

    path_kind: PathKind = "shell"

    def __init__(
        self, visit: Visit, tool: Path, subjects: Sequence[Subject], signatures: Sequence[str], plan: Plan
    ) -> None:
        self._visit, self._plan, self._signatures = visit, plan, signatures
        self._there = visit.lay(tool)
        self._tool = recognised(visit.adb, self._there)
        if wrong := [subject.file for subject in subjects if subject.fmt != self._tool.fmt]:
            raise InputError(f"{wrong[0]} is no {self._tool.fmt} file, which is what {self._tool.name} runs.")
        digest = hashlib.sha256(tool.read_bytes()).hexdigest()
        self._version = f"unknown, in {self._tool.name} (sha256 {digest[:12]})"
        self._cores = visit.fastest(plan.threads)
        self.device = visit.described(self._cores)
        self._reference = visit.lay(REFERENCES[self._tool.fmt])
        self._models = [f"{visit.folder}/{index}-{subject.file.name}" for index, subject in enumerate(subjects)]
        for subject, model in zip(subjects, self._models, strict=True):
            visit.adb.push(subject.file, model)
        self._peaks: dict[int, int | None] = {}

    def latency(self) -> Mapping[str, Any]:
        self._visit.cool()
        files = []
        for index, model in enumerate(self._models):
            times = self._run(model)
            self._peaks[index] = times.memory_bytes
            files.append(
                {
                    "samples_ns": [round(1e6 * times.mean_ms)],
                    "signature": self._signatures[index],
                    "backend": times.backend or "cpu",
                    "batch": 1,
                    "load_cold_ms": times.init_ms,
                    "load_warm_ms": None,
                    "first_run_ms": times.first_ms,
                }
            )
        reference = [round(1e6 * self._run(self._reference).mean_ms)]
        fmt = self._tool.fmt
        return {
            "files": files,
            "references": {fmt: reference},
            "versions": {fmt: self._version},
            "preempted_per_run": 0.0,
        }

    def peak_memory_bytes(self, index: int) -> int | None:
        return self._peaks.get(index)

    def telemetry(self) -> Telemetry:
        return self._visit.telemetry(self._cores)

    def _run(self, model: str) -> ToolTimes:
        plan = self._plan
        return self._tool.run(self._visit.adb, self._there, model, plan.samples, plan.threads, self._cores)
