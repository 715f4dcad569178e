"""Runs model files in a fresh process: a JSON request on stdin, JSON lines on stdout.

This file is run by its path and imports NumPy and one runtime, nothing else: it starts fast, and its memory is the
runtime's and the model's. It is also where foreign files are parsed, so a file that crashes the runtime ends this
process only. The last line holds ``result`` or ``error``; the lines before say how far it came (``phase``), for the
case that it dies.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_WARM_WINDOW = 10  # runs whose median is compared with that of the runs before
_WARM_STABLE = 0.05
_WARM_AT_LEAST_S = 0.05  # a core needs some time to reach its clock
_WARM_AT_MOST_S = 2.0
_SWITCH_RUNS = 2  # not recorded: after another model ran, the first runs find cold caches
_MEMORY_RUNS = 3


class _Refused(Exception):
    """What was given does not fit; the text is for the user."""


class _LiteRT:
    """One signature of a .tflite file."""

    def __init__(self, path: str, signature: str | None, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self.signatures: tuple[str, ...] = tuple(self._interpreter.get_signature_list())
        self.signature = _chosen(self.signatures, signature)
        self._interpreter.allocate_tensors()
        if self.signatures:
            details = self._interpreter.get_signature_runner(self.signature).get_input_details()
        else:
            details = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        self._details = details

    def declared(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
        """Shape (None: any length) and type of each input."""
        return {
            name: (tuple(int(n) if n >= 0 else None for n in detail["shape_signature"]), np.dtype(detail["dtype"]))
            for name, detail in self._details.items()
        }

    def bound(self, inputs: Arrays) -> Callable[[], object]:
        """Puts the inputs in place; what it returns runs the file once on them."""
        # The native object: its wrapper in Python copies, checks and allocates in every call, which no app's does.
        native = self._interpreter._interpreter
        graph = native.GetSubgraphIndexFromSignature(self.signature) if self.signatures else 0
        for name, value in inputs.items():
            native.ResizeInputTensor(self._details[name]["index"], np.array(value.shape, np.int32), False, graph)
        native.AllocateTensors(graph)
        for name, value in inputs.items():
            native.SetTensor(self._details[name]["index"], value, graph)
        return partial(native.Invoke, graph)

    def answers(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """What the file makes of these inputs."""
        if self.signatures:
            return dict(self._interpreter.get_signature_runner(self.signature)(**inputs))
        self.bound(inputs)()
        details = self._interpreter.get_output_details()
        return {detail["name"]: self._interpreter.get_tensor(detail["index"]) for detail in details}

    def backend(self) -> str:
        """What the runtime says it runs on."""
        operators = getattr(self._interpreter, "_get_ops_details", None)
        if operators is None:
            return "unknown"
        delegated = sum(operator["op_name"] == "DELEGATE" for operator in operators())
        return f"xnnpack, {delegated} partition{'s' * (delegated != 1)}" if delegated else "cpu"


class _OnnxRuntime:
    """An .onnx file."""

    signatures = ("main",)

    def __init__(self, path: str, signature: str | None, threads: int) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.signature = signature or "main"
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def declared(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
        """Shape (None: any length) and type of each input."""
        return {
            node.name: (tuple(n if isinstance(n, int) else None for n in node.shape), _onnx_dtype(node.type))
            for node in self._session.get_inputs()
        }

    def bound(self, inputs: Arrays) -> Callable[[], object]:
        """Puts the inputs in place; what it returns runs the file once on them."""
        binding = self._session.io_binding()
        self._given = {name: np.ascontiguousarray(value) for name, value in inputs.items()}  # read where they lie
        for name, value in self._given.items():
            binding.bind_cpu_input(name, value)
        for output in self._session.get_outputs():
            binding.bind_output(output.name)
        return partial(self._session.run_with_iobinding, binding)

    def answers(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """What the file makes of these inputs."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def backend(self) -> str:
        """What the runtime says it runs on."""
        return ", ".join(self._session.get_providers())


_RUNTIMES: dict[str, Callable[[str, str | None, int], _LiteRT | _OnnxRuntime]] = {
    "tflite": _LiteRT,
    "onnx": _OnnxRuntime,
}


def main() -> None:
    """Answers one request and leaves nothing else on stdout, whatever the runtimes write there."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**message: object) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    request = json.load(sys.stdin)
    _limit(request)
    try:
        tell(result=_MODES[request["mode"]](request, tell))
    except _Refused as refused:
        tell(error={"kind": "input", "message": str(refused)})
    except Exception as error:
        text = str(error).strip().splitlines()
        tell(error={"kind": "failure", "message": text[0][:300] if text else type(error).__name__})


def _latency(request: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """Samples of every file in turns with the references of their runtimes, in nanoseconds."""
    threads = request["threads"]
    formats = sorted({file["format"] for file in request["files"]})
    tell(phase="start")
    references = {name: _RUNTIMES[name](request["references"][name], None, threads) for name in formats}
    tell(phase="load")
    loads = [_load_twice(file, threads) for file in request["files"]]
    models = [model for model, _, _ in loads]
    tell(phase="inputs")
    inputs = [_inputs(model, file) for model, file in zip(models, request["files"], strict=True)]
    runs = [model.bound(given) for model, given in zip(models, inputs, strict=True)]
    runs += [references[name].bound(_random_inputs(references[name], 0)) for name in formats]
    tell(phase="run")
    first_ms = [_timed(run) / 1e6 for run in runs]
    gc.collect()
    gc.freeze()
    gc.disable()
    per_round_ns = sum(_warm(run) for run in runs)
    _allow(30 + 10 * request["samples"] * per_round_ns / 1e9)
    preempted = _preemptions()
    samples = _sample(runs, request["samples"], request["block"], references_from=len(models))
    preempted = _preemptions() - preempted
    files = [
        {
            "samples_ns": samples[index],
            "load_cold_ms": cold_ms,
            "load_warm_ms": warm_ms,
            "first_run_ms": first_ms[index],
            "signature": model.signature,
            "backend": model.backend(),
            "batch": _batch(inputs[index]),
        }
        for index, (model, cold_ms, warm_ms) in enumerate(loads)
    ]
    return {
        "files": files,
        "references": {name: samples[len(models) + index] for index, name in enumerate(formats)},
        "versions": {name: _version(name) for name in formats},
        "preempted_per_run": preempted / (request["samples"] * len(runs)),
    }


def _memory(request: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """Peak resident memory of loading and running the one file, over what was resident before."""
    (file,) = request["files"]
    _import_runtime(file["format"])
    for name in ("numpy.random", "zipfile"):  # of inputs, drawn or read: several MB that are not the model's
        import_module(name)
    gc.collect()
    _trim()
    before = _resident_before()
    tell(phase="load")
    model = _RUNTIMES[file["format"]](file["path"], file["signature"], request["threads"])
    tell(phase="inputs")
    run = model.bound(_inputs(model, file))
    tell(phase="run")
    for _ in range(_MEMORY_RUNS):
        run()
    return {"peak_memory_bytes": None if before is None else max(0, _peak() - before)}


def _answers(request: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """Writes the inputs of each file, given or drawn, and what it makes of them, into a folder."""
    written = []
    for index, file in enumerate(request["files"]):
        tell(phase="start")
        _import_runtime(file["format"])
        tell(phase="load")
        model = _RUNTIMES[file["format"]](file["path"], file["signature"], request["threads"])
        tell(phase="inputs")
        inputs = _inputs(model, file)
        tell(phase="run")
        names = {}
        for kind, arrays in (("inputs", inputs), ("outputs", model.answers(inputs))):
            np.savez(Path(request["folder"]) / f"{index}-{kind}.npz", *arrays.values())
            names[kind] = list(arrays)
        written.append({"signature": model.signature, **names})
    return {"files": written}


def _signatures(request: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """The names that the file's signatures are called by."""
    (file,) = request["files"]
    _import_runtime(file["format"])
    tell(phase="load")
    if file["format"] != "tflite":
        return {"signatures": list(_OnnxRuntime(file["path"], None, 1).signatures)}
    from ai_edge_litert.interpreter import Interpreter

    return {"signatures": list(Interpreter(model_path=file["path"]).get_signature_list()) or ["main"]}


_MODES = {"answers": _answers, "latency": _latency, "memory": _memory, "signatures": _signatures}


# -- loading ------------------------------------------------------------------------------------------------------


def _load_twice(file: dict[str, Any], threads: int) -> tuple[_LiteRT | _OnnxRuntime, float, float]:
    _drop_from_page_cache(file["path"])
    times = []
    for _ in range(2):
        started = time.perf_counter_ns()
        model = _RUNTIMES[file["format"]](file["path"], file["signature"], threads)
        times.append((time.perf_counter_ns() - started) / 1e6)
    return model, times[0], times[1]


def _chosen(held: tuple[str, ...], asked: str | None) -> str:
    if asked in held:
        return str(asked)
    if len(held) > 1:
        wanted = "name one" if asked is None else f"{asked!r} is not among them"
        raise _Refused(f"the file holds the signatures {', '.join(held)}; {wanted}")
    return held[0] if held else "main"


def _inputs(model: _LiteRT | _OnnxRuntime, file: dict[str, Any]) -> Arrays:
    if file["inputs"] is None:
        return _random_inputs(model, file["seed"])
    with np.load(file["inputs"]["path"], allow_pickle=False) as archive:
        given = {name: archive[f"arr_{index}"] for index, name in enumerate(file["inputs"]["names"])}
    declared = model.declared()
    if set(given) != set(declared):
        raise _Refused(f"the file's inputs are {', '.join(declared)}, but {', '.join(given) or 'none'} were given")
    for name, (shape, dtype) in declared.items():
        array = given[name]
        if array.itemsize == 8 and np.can_cast(array.dtype, dtype, "same_kind"):  # as the runtimes' own doors do
            array = given[name] = array.astype(dtype)
        fits = len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if not fits or dtype != array.dtype:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise _Refused(f"input {name} must be {dtype} ({wanted}), but is {array.dtype} {array.shape}")
    return given


def _random_inputs(model: _LiteRT | _OnnxRuntime, seed: int) -> dict[str, NDArray[Any]]:
    """Normal floats, whole bytes, and 0 or 1 for other integers, which may be indices; 1 for an open length."""
    random = np.random.default_rng(seed)
    made = {}
    for name, (declared, dtype) in model.declared().items():
        shape = tuple(n or 1 for n in declared)
        if math.prod(shape) * dtype.itemsize > 1 << 30:
            raise _Refused(f"input {name} is declared with {math.prod(shape)} values; give inputs of your own")
        if dtype.kind == "f":
            made[name] = random.standard_normal(shape, dtype=np.float32).astype(dtype)
        elif dtype.kind in "iu" and dtype.itemsize == 1:
            made[name] = random.integers(0, 256, shape, dtype=np.uint8).view(dtype)
        elif dtype.kind in "iub":
            made[name] = random.integers(0, 2, shape).astype(dtype)
        else:
            raise _Refused(f"input {name} is of type {dtype}; give inputs of your own")
    return made


def _onnx_dtype(name: str) -> np.dtype[Any]:
    inner = name.removeprefix("tensor(").removesuffix(")")
    plain = {"float": "float32", "double": "float64"}.get(inner, inner)
    try:
        return np.dtype(plain)
    except TypeError:
        raise _Refused(f"an input of type {name} cannot be made or checked here") from None


def _batch(inputs: Arrays) -> int:
    first = next(iter(inputs.values()), None)
    return max(1, first.shape[0]) if first is not None and first.ndim else 1


def _import_runtime(name: str) -> None:
    import_module("ai_edge_litert.interpreter" if name == "tflite" else "onnxruntime")


def _version(name: str) -> str:
    return version("ai-edge-litert" if name == "tflite" else "onnxruntime")


# -- timing -------------------------------------------------------------------------------------------------------


def _timed(run: Callable[[], object]) -> int:
    started = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - started


def _warm(run: Callable[[], object]) -> float:
    """Runs until the pace no longer changes; gives the last median, in nanoseconds."""
    started = time.perf_counter()
    last = math.inf
    while True:
        window = []
        for _ in range(_WARM_WINDOW):
            window.append(_timed(run))
            if time.perf_counter() - started > _WARM_AT_MOST_S:
                return float(np.median(window))
        now = float(np.median(window))
        stable = abs(now / last - 1) < _WARM_STABLE
        if stable and time.perf_counter() - started > _WARM_AT_LEAST_S:
            return now
        last = now


def _sample(runs: list[Callable[[], object]], samples: int, block: int, *, references_from: int) -> list[list[int]]:
    """Blocks of each in turns, the order of the files turned round every time, each block behind its references."""
    collected: list[list[int]] = [[] for _ in runs]
    files, references = list(range(references_from)), list(range(references_from, len(runs)))
    for start in range(0, samples, block):
        count = min(block, samples - start)
        for index in references + files:
            run = runs[index]
            for _ in range(_SWITCH_RUNS):
                run()
            collected[index] += [_timed(run) for _ in range(count)]
        files.reverse()
    return collected


def _preemptions() -> int:
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


# -- the process --------------------------------------------------------------------------------------------------


def _limit(request: dict[str, Any]) -> None:
    if request["core"] is not None:
        os.sched_setaffinity(0, {request["core"]})
    try:
        import resource
    except ImportError:
        return
    limit = request["memory_limit_bytes"]
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _allow(request["load_limit_s"])


def _allow(seconds: float) -> None:
    """Ends this process that many seconds from now, even inside a runtime that never returns."""
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds))


def _drop_from_page_cache(path: str) -> None:
    if hasattr(os, "posix_fadvise"):
        with Path(path).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _trim() -> None:
    """Gives freed memory back, or the model would move into it unseen."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def _resident_before() -> int | None:
    """Resident bytes now, with the high-water mark put back to it where the system allows; None: unknown here."""
    with suppress(OSError):  # the mark then stands where the imports left it: hardly above what is resident
        Path("/proc/self/clear_refs").write_text("5")
    status = _status_bytes("VmRSS")
    return status if status is not None else _usage_peak()


def _peak() -> int:
    return _status_bytes("VmHWM") or _usage_peak() or 0


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def _usage_peak() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
