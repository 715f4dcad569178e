"""A browser as a device: a page of ours runs files in WebAssembly and sends its samples back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from converters import DeviceError, Format, InputError
from mobiledistill.devices._base import Inputs, InputsBySignature, Subject
from mobiledistill.devices._browser_invite import invite, lan_address
from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES, Runtimes
from mobiledistill.devices._browser_server import Job, Server
from mobiledistill.devices._browser_wire import BrowserBackend, Failed, Finished, Result, Work
from mobiledistill.devices._gates import Gate, browser_gates
from mobiledistill.devices._host import Answers, answers
from mobiledistill.devices._measurement import (
    BrowserInfo,
    DeviceInfo,
    Measurement,
    OutputCheck,
    PathKind,
    RuntimeInfo,
    Telemetry,
)
from mobiledistill.devices._replies import result_of
from mobiledistill.devices._runs import BLOCK, REFERENCES, Plan, measure, one_signature, refuse_formats

__all__ = ["LOOPBACK", "PORT", "Browser"]

LOOPBACK = "127.0.0.1"
PORT = 8391
_LARGEST_CLOCK_SHARE = 0.01
_HEADER_BYTES = 64 << 10
_COMPUTES: dict[BrowserBackend, str] = {"wasm": "WebAssembly", "webgpu": "WebGPU"}
_LITERT_KINDS = ("float32", "int32", "uint8")
_BROWSERS = {  # by the word of theirs in the user agent, the most special first
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "Edg": "Edge",
    "OPR": "Opera",
    "SamsungBrowser": "Samsung Internet",
    "CriOS": "Chrome",
    "Chrome": "Chrome",
    "Version": "Safari",
}


class Browser:
    """Measures .tflite and .onnx files in a browser, on WebAssembly or WebGPU: any phone's, without a cable or an app.

    What you gain: what a web app would take there, with nothing installed. What you do not: what a native app takes,
    which is less; the memory. Never compare the times of both.

    The first measurement prints an address and waits for a browser to open it; the page stays for all that follow.
    Every process is a fresh worker with a fresh runtime. A browser's clock is coarse: a sample is the mean of so many
    runs that the clock's step is at most 1 % of them.

    Args:
        lan: listen in the local network in place of this computer alone; whoever has the address can fetch the model.
            Such a page is given one thread and a coarse clock.
        backend: what is to compute: ``"wasm"``, the processor, or ``"webgpu"``, the GPU. What then did is
            ``Measurement.backend.obtained``.
        port: where to listen; another one where it is in use.
        runtimes: where onnxruntime-web and LiteRT.js lie; None: in the user's cache.
        announce: is given the address; None: it is printed on the error stream, with a QR code on a terminal.

    Raises:
        InputError: there is no such backend, or browsers do not give it to a page of the network.
    """

    formats: Final[tuple[Format, ...]] = ("tflite", "onnx")
    float_ends: Final = True
    """LiteRT.js takes no 8-bit integers where a graph begins and ends; ``calibrate`` parts networks accordingly."""

    def __init__(
        self,
        *,
        lan: bool = False,
        backend: str = "wasm",
        port: int = PORT,
        runtimes: Runtimes | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self._lan, self._port = lan, port
        self._backend = _backend(backend, lan)
        self._runtimes = runtimes or Runtimes.found()
        self._announce = announce or partial(invite, lan=lan)
        self._known_ms: dict[int, dict[str, float]] = {}
        self._server: Server | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """As ``devices.open`` takes it; the GPU behind it, so that work folders never mix their times."""
        if self._backend == "webgpu":
            return "browser on webgpu"
        return "browser:lan" if self._lan else "browser"

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
        """Measures the latency of one signature of one file; see ``Host.measure``.

        The verdict is also ``invalid`` where the browser's answers are not those of this computer; ``outputs`` says how
        far they are apart.

        Raises:
            InputError: there is no such file, the inputs do not fit it, or an argument is out of range.
            ModelFileError: the file is damaged or no such model.
            DeviceError: no browser came, it left, its runtime is not prepared or cannot run the file.
        """
        if fmt not in self.formats:
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
        """Measures several files of one format in turns, as ``Host.measure_interleaved``; memory stays unknown."""
        refuse_formats(subjects, "In a browser")
        return self._measure(subjects, Plan(threads, percentile, processes, samples, processes))

    def examine(self) -> list[Gate]:
        """Everything that a measurement needs on this computer."""
        return browser_gates(self._runtimes)

    def close(self) -> None:
        """Stops serving; the page then says that it is done."""
        with self._lock:
            if self._server is not None:
                self._server.close()
            self._server = None

    def _measure(self, subjects: Sequence[Subject], plan: Plan, *, limit_ms: float | None = None) -> list[Measurement]:
        fmt = subjects[0].fmt
        self._runtimes.files(fmt)
        if plan.threads > 1 and self._lan:
            raise InputError(
                f"threads={plan.threads} need a page from this computer itself, and {self.name} serves it in the"
                " network; use one thread, or browser with adb reverse."
            )
        expected = answers(subjects)
        for subject, one in zip(subjects, expected, strict=True):
            _refuse_kinds(subject, one)
        known_ms = self._known_ms.setdefault(plan.threads, {})
        with self._lock:
            bench = _Workers(self._serving(), subjects, expected, plan, self._backend)
            found = measure(subjects, plan, bench, known_ms, limit_ms=limit_ms, memory=False)
            return [bench.completed(index, one) for index, one in enumerate(found)]

    def _serving(self) -> Server:
        if self._server is None:
            files = {
                f"runtime/{fmt}/{name}": path
                for fmt in self.formats
                if self._runtimes.has(fmt)
                for name, path in self._runtimes.files(fmt).items()
            }
            self._server = Server(lan_address() if self._lan else LOOPBACK, self._port, files)
        if not self._server.seen:
            self._announce(self._server.address)
        return self._server


class _Workers:
    """Workers of the page, each with a runtime of its own."""

    path_kind: PathKind = "browser"
    device: DeviceInfo  # known once the page has answered
    _numbers = itertools.count(1)

    def __init__(
        self,
        server: Server,
        subjects: Sequence[Subject],
        expected: Sequence[Answers],
        plan: Plan,
        backend: BrowserBackend,
    ) -> None:
        self.backend: str = backend
        self._asked = backend
        self._server, self._subjects, self._expected, self._plan = server, subjects, expected, plan
        self._fmt = subjects[0].fmt
        self._results: list[Result] = []
        self._outputs: Mapping[int, dict[str, NDArray[Any]]] = {}
        (reference,) = answers([Subject(REFERENCES[self._fmt], self._fmt)])
        self._files: dict[str, Path | bytes] = {
            "reference": REFERENCES[self._fmt],
            "reference-inputs": save(_plain(reference.inputs)),
        }
        for index, (subject, one) in enumerate(zip(subjects, expected, strict=True)):
            self._files |= {f"models/{index}": subject.file, f"inputs/{index}": save(_plain(one.inputs))}

    def latency(self) -> Mapping[str, Any]:
        runtime = WEB_RUNTIMES[self._fmt]
        work = Work(
            job=next(self._numbers),
            format=self._fmt,
            signatures=tuple(one.signature for one in self._expected),
            backend=self._asked,
            threads=self._plan.threads,
            samples=self._plan.samples,
            block=BLOCK,
            largest_clock_share=_LARGEST_CLOCK_SHARE,
        )
        sizes = (sum(value.nbytes for value in one.outputs.values()) + _HEADER_BYTES for one in self._expected)
        job = Job(work, self._files, tuple(sizes))
        self._server.run(job)
        _refuse_backend(job, self._asked)
        said = "\n".join(message.model_dump_json() for message in job.messages)
        names = " or ".join(dict.fromkeys(str(subject.file) for subject in self._subjects))
        result_of(said, "it gave no result", names, runtime.name, "in the browser")
        result = self._checked(job)
        self._results.append(result)
        self._outputs = job.outputs
        self.device = DeviceInfo(
            name=_browser_name(result.page.user_agent),
            os=result.page.platform or "unknown",
            cpu=f"{result.page.logical_cores} logical cores, {_COMPUTES[self._asked]}",
        )
        batches = [next((len(value) for value in one.inputs.values() if value.ndim), 1) for one in self._expected]
        files = [
            {**file.model_dump(), "batch": max(1, batch)} for file, batch in zip(result.files, batches, strict=True)
        ]
        return {
            "files": files,
            "references": {self._fmt: result.reference.samples_ns},
            "versions": {self._fmt: runtime.version},
            "preempted_per_run": 0.0,
        }

    def peak_memory_bytes(self, index: int) -> int | None:
        return None

    def telemetry(self) -> Telemetry:
        return Telemetry()

    def completed(self, index: int, found: Measurement) -> Measurement:
        """The measurement with what only a browser has, and its answers held against this computer's."""
        first, page = self._results[0].page, self._results[-1].page
        info = BrowserInfo(
            user_agent=page.user_agent,
            logical_cores=page.logical_cores,
            cross_origin_isolated=page.cross_origin_isolated,
            clock_step_ms=page.clock_step_ms,
            runs_per_sample=min(result.files[index].runs_per_sample for result in self._results),
            memory_gb=page.memory_gb,
            heap_bytes=max(result.page.heap_bytes for result in self._results),
        )
        runtime = RuntimeInfo(name=WEB_RUNTIMES[self._fmt].name, version=found.runtime.version)
        try:
            check = OutputCheck.of(self._expected[index].outputs, self._outputs[index])
        except InputError as error:
            raise DeviceError(f"The browser's answers do not compare with this computer's: {error}") from None
        told = {
            "browser": info,
            "runtime": runtime,
            "repeated_processes": found.repeated_processes + sum(result.page.hidden_runs for result in self._results),
            "telemetry_before": Telemetry(battery_percent=first.battery_percent[0]),
            "telemetry_after": Telemetry(battery_percent=page.battery_percent[1]),
        }
        return found.model_copy(update=told).with_outputs(check)

    def _checked(self, job: Job) -> Result:
        last = job.messages[-1]
        complete = isinstance(last, Finished) and (
            [len(file.samples_ns) for file in (*last.result.files, last.result.reference)]
            == [self._plan.samples] * (len(self._subjects) + 1)
            and set(job.outputs) == set(range(len(self._subjects)))
        )
        if not isinstance(last, Finished) or not complete:
            raise DeviceError("The browser's answer is not what was asked for; close its page, and run it again.")
        return last.result


def _backend(name: str, lan: bool) -> BrowserBackend:
    for known in get_args(BrowserBackend):
        if name == known == "webgpu" and lan:
            raise InputError(
                "The backend 'webgpu' needs a page from this computer itself, and browser:lan serves it in the network;"
                " use browser with adb reverse."
            )
        if name == known:
            return known  # type: ignore[no-any-return]  # get_args forgets that these are its literals
    raise InputError(f"There is no backend {name!r} in a browser; give one of {', '.join(get_args(BrowserBackend))}.")


def _refuse_backend(job: Job, asked: BrowserBackend) -> None:
    last = job.messages[-1]
    if isinstance(last, Failed) and last.error.kind == "backend":
        raise DeviceError(
            f"The browser computes nothing on {asked}: {last.error.message.rstrip('.')}. Open the page in another"
            " browser, or take the backend wasm."
        )


def _plain(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(value) for name, value in arrays.items()}


def _refuse_kinds(subject: Subject, expected: Answers) -> None:
    if subject.fmt != "tflite":
        return
    for name, value in {**expected.inputs, **expected.outputs}.items():
        if value.dtype.name not in _LITERT_KINDS:
            runtime = WEB_RUNTIMES["tflite"]
            raise DeviceError(
                f"{subject.file} has {name} in {value.dtype.name}, and {runtime.name} {runtime.version} takes"
                f" {', '.join(_LITERT_KINDS)} alone at a graph's ends; write it with float inputs and outputs, or"
                " measure the .onnx file."
            )


def _browser_name(user_agent: str) -> str:
    """The browser that an agent's text names; nearly all claim to be Chrome or Safari besides."""
    words = user_agent.replace("HeadlessChrome", "Chrome").split()
    for mark, name in _BROWSERS.items():
        for word in words:
            if word.startswith(f"{mark}/"):
                return f"{name} {word.partition('/')[2].partition('.')[0]}"
    return "a browser"
