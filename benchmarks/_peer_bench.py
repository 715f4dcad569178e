"""What every method makes of one teacher: the largest network that keeps a limit, trained as long as ours."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import mobiledistill as md
from benchmarks._figures import known_figures, tell
from benchmarks._peer_tools import (
    ai_edge_quantizer,
    coremltools_palettes,
    nncf_quantization,
    onnxruntime_quantization,
    plain_onnx,
    plain_tflite,
    predict_by_index,
    pruned,
    stripped,
)
from benchmarks.tasks import Unmeasured, predict_of_file, predict_of_module
from converters import Format, size_bytes, suffix_of
from demo_apps.speech import TEACHER_RECIPE, demo, digits, digits_net, load_recordings
from demo_apps.speech._data import split_recordings
from mobiledistill.devices import Host, Subject
from mobiledistill.distill import Loss, SoftTargets
from mobiledistill.teachers import Cached, TorchTeacher

__all__ = ["FULL", "METHODS", "OURS", "QUICK", "Bench", "Effort"]

OURS = "ours"
_CALIBRATED_ON = 128
_MEASURED_AT_MOST = 3
_CHOSEN_BY_AT_MOST = 10


@dataclass(frozen=True)
class Effort:
    """How long everything learns, ours and theirs."""

    teacher: md.Recipe
    schedule: md.Schedule


FULL = Effort(TEACHER_RECIPE, md.Schedule())
_FEW, _ONE = md.Recipe(epochs=4), md.Recipe(epochs=1)
QUICK = Effort(_FEW, md.Schedule(cut_steps=1, distill=_FEW, quantize=_ONE, stretch=1.0, quick=_ONE, rounds=1))


@dataclass(frozen=True)
class Method:
    """How somebody without this library gets a network of a given size.

    Attributes:
        about: for the table.
        build: the network of a level before its training; higher levels are larger.
        levels: how many there are.
        told: what a level means.
        loss: None: labels alone.
        bits: of Core ML's palettes; None: 8-bit integers in a .tflite file.
    """

    about: str
    build: Callable[[Bench, int], nn.Module]
    levels: int
    told: Callable[[int], str]
    loss: Loss | None = None
    bits: int | None = None

    @property
    def format(self) -> Format:
        """Of its files."""
        return "tflite" if self.bits is None else "coreml"


def _member(bench: Bench, width: int) -> nn.Module:
    torch.manual_seed(bench.seed)
    return digits_net(width)


def _alike(bench: Bench, level: int) -> nn.Module:
    return pruned(bench.teacher, bench.one[0], 1 - level / 64, isomorphic=False)  # the widest layers have 64 channels


def _globally(bench: Bench, level: int) -> nn.Module:
    return pruned(bench.teacher, bench.one[0], 1 - level / 256, isomorphic=True)


_HINTON = SoftTargets(temperature=4.0, hard=0.1, soft=0.9)

# All train; .tflite files are quantized by ai-edge-quantizer afterwards, Core ML's get coremltools' palettes.
METHODS: dict[str, Method] = {
    "pruned": Method("Torch-Pruning, every layer alike", _alike, 64, lambda level: f"ratio {1 - level / 64:.3f}"),
    "pruned globally": Method(
        "Torch-Pruning, global and isomorphic", _globally, 256, lambda level: f"ratio {1 - level / 256:.3f}"
    ),
    "alone": Method("small network on the labels", _member, 32, "width {}".format),
    "distilled": Method("small network, Hinton's distillation", _member, 32, "width {}".format, _HINTON),
}
METHODS |= {
    f"pruned, {bits} bits": replace(METHODS["pruned"], about=f"Torch-Pruning, then palettes of {bits} bits", bits=bits)
    for bits in (8, 6, 4)
}


class Bench:
    """One seed: task, teacher, and every method's networks and files.

    Args:
        seed: of the teacher, of first weights, of batches and of what is done to clips.
        effort: how long everything learns.
        workdir: where everything is kept, several seeds beside each other.
    """

    def __init__(self, seed: int, effort: Effort, workdir: Path) -> None:
        self.seed, self.effort = seed, effort
        self._shared = workdir / "untrained"
        self._folder = workdir / f"seed{seed}"
        for folder in (self._shared, self._folder / "files"):
            folder.mkdir(parents=True, exist_ok=True)
        self.task = digits(split="speaker", seed=seed)
        heard = self.task.calibration_inputs()
        few = np.linspace(0, len(heard["features"]) - 1, _CALIBRATED_ON).round().astype(int)
        self._samples = {name: torch.from_numpy(value[few]) for name, value in heard.items()}
        self.one = tuple(value[:1] for value in self._samples.values())
        clips = split_recordings(load_recordings(None).recordings, "speaker").test
        self._labels = np.array([clip.label for clip in clips], np.int64)
        torch.manual_seed(seed)
        self.teacher = md.train_model(
            digits_net(), self.task, effort.teacher, workdir=self._folder / "teacher", seed=seed, progress=tell
        )
        self._taught_by = Cached(TorchTeacher(self.teacher), self._folder / "answers")

    # -- what is asked --------------------------------------------------------------------------------------------

    def teacher_cells(self) -> dict[str, Any]:
        """The teacher in floats, and what tools make of it without training."""
        files = self._folder / "files"
        floats = plain_tflite(self.teacher, self.one, files / "teacher.tflite")
        as_onnx = plain_onnx(self.teacher, self.one, files / "teacher.onnx")
        found = {"teacher": self._cell(predict_of_module(self.task, self.teacher), floats, "32-bit floats")}
        integers = ai_edge_quantizer(floats, self._samples, self._kept("ai-edge-quantizer", ".tflite"))
        found["ai-edge-quantizer"] = self._peers_cell(integers, "the teacher")
        for name, quantize in (("onnxruntime", onnxruntime_quantization), ("nncf", nncf_quantization)):
            path = self._kept(name, ".onnx")
            try:
                quantize(as_onnx, self._samples, path)
            except ModuleNotFoundError as error:
                found[name] = {"none": f"{error.name} is not installed"}
                continue
            found[name] = self._cell(predict_of_file(path), path, "the teacher")
        return found

    def peer(self, name: str, case: str, budget: md.Budget) -> dict[str, Any]:
        """The cell of a peer that trains."""
        began, method = time.monotonic(), METHODS[name]
        level = self._largest(method, budget)
        while level:
            net, epochs = self._trained(method, level)
            path = self._kept(f"{case}-{name}", suffix_of(method.format))
            self._write(method, net, path)
            if method.format == "tflite":
                cell = self._peers_cell(path, method.told(level))
            else:
                cell = self._cell(predict_of_file(path), path, method.told(level))
            if budget.size_bytes is None or cell["bytes"] <= budget.size_bytes:
                return {**cell, "epochs": epochs, "parameters": _parameters(net), **_spent(began)}
            level -= 1  # trained weights took a few bytes more
        return {"none": "none of this method's networks is so small, even untrained"}

    def ours(self, case: str, budget: md.Budget, format: Format = "tflite") -> dict[str, Any]:
        """The cell of ``compress``; again with fewer epochs where it compared more plans than was allowed for."""
        began, reserved = time.monotonic(), 2
        while (found := self._searched(budget, format, reserved)).met and (compared := _compared(found)) > reserved:
            reserved = compared
        if not found.met:
            return {"none": f"cannot be kept: {found.limits}", **_spent(began)}
        written = found.artifacts[format].path
        path = self._kept(f"{case}-{OURS}", suffix_of(format))
        if written.is_dir():
            shutil.copytree(written, path, dirs_exist_ok=True)
        else:
            shutil.copyfile(written, path)
        channels = found.plan.channels.values()
        return {
            **self._cell(predict_of_file(path), path, f"{sum(channels)} channels, {len(found.plan.dropped)} dropped"),
            "epochs": len(found.history) + _compared(found) * self.effort.schedule.quick.epochs,
            "trained_rounds": 1 + sum(bool(one["trained"]) for one in found.rounds),
            "parameters": sum(after for _, _, after in found.layers),
            **_spent(began),
        }

    def _searched(self, budget: md.Budget, format: Format, compared: int) -> md.CompressionResult:
        """What ``compress`` finds when epochs are set aside for so many brief trainings that compare plans."""
        (result,) = md.sweep(
            self._taught_by,
            self.task,
            [budget],
            workdir=self._folder / f"ours-{compared}",
            progress=tell,
            device="host" if budget.size_bytes is None else Unmeasured(),
            distill=demo.tasks["digits"].distill,
            formats=(format,),
            schedule=replace(self._with_comparisons(compared), seed=self.seed),
        ).results
        return result

    def latencies(self, case: str, names: list[str], host: Host) -> dict[str, Any]:
        """Milliseconds of these files, measured in turns; again where other work disturbed it."""
        paths = {name: self._path(case, name) for name in names}
        found: dict[str, Any] = {}
        for _ in range(_MEASURED_AT_MOST):
            measured = host.measure_interleaved([Subject(path, _format(path)) for path in paths.values()])
            found = {"ms": {name: one.p50_ms for name, one in zip(paths, measured, strict=True)}}
            found |= {"verdict": measured[0].verdict, "reasons": list(measured[0].reasons)}
            if found["verdict"] == "valid":
                break
        return found

    def palettes(self) -> dict[str, Any]:
        """The teacher with coremltools' palettes, without training."""
        found = {}
        for bits in (8, 4, 2):
            path = self._kept(f"teacher-{bits}", ".mlpackage")
            if not path.exists():
                coremltools_palettes(self.teacher, self.one, bits, path)
            found[f"palettes of {bits} bits"] = self._cell(predict_of_file(path), path, "the teacher")
        return found

    # -- sizes ----------------------------------------------------------------------------------------------------

    def _largest(self, method: Method, budget: md.Budget) -> int:
        """The highest level whose untrained file keeps the budget; 0 where none does."""
        if budget.latency_ms is not None:
            known = self._milliseconds(method)
            limit = float(budget.latency_ms)  # type: ignore[arg-type]  # cases here give a number, no mapping
            return max((level for level, ms in known.items() if ms <= limit), default=0)
        low, high = 0, method.levels + 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = size_bytes(self._untrained(method, middle)) <= budget.size_bytes  # type: ignore[operator]
            low, high = (middle, high) if fits else (low, middle)
        return low

    def _milliseconds(self, method: Method) -> dict[int, float]:
        """Of untrained files of 32 levels, all measured in turns; seeds share those of the same shapes."""
        step = method.levels // 32  # of 64 channels two are one of 32: pruned alike, the shapes are a small network's
        files = {level: self._untrained(method, level) for level in range(2 * step, method.levels + 1, step)}
        digest = hashlib.sha256(repr([file.name for file in files.values()]).encode()).hexdigest()[:12]
        kept = self._shared / f"latency-{digest}.json"
        known = known_figures(kept)
        for _ in range(_CHOSEN_BY_AT_MOST):  # what is chosen by it trains for long
            if known.get("verdict") == "valid":
                break
            measured = Host().measure_interleaved([Subject(file, "tflite") for file in files.values()])
            known = {"verdict": measured[0].verdict, "ms": [one.p50_ms for one in measured]}
            kept.write_text(json.dumps(known))
        return dict(zip(files, known["ms"], strict=True))

    def _untrained(self, method: Method, level: int) -> Path:
        """The file that counts of a network of this shape; neither bytes nor milliseconds depend on the weights."""
        net = method.build(self, level)
        shapes = repr([(name, tuple(value.shape)) for name, value in net.state_dict().items()])
        how = "" if method.bits is None else f"-{method.bits}"
        path = self._shared / f"{hashlib.sha256(shapes.encode()).hexdigest()[:12]}{how}{suffix_of(method.format)}"
        if not path.exists():
            aside = path.with_name(f"partial{path.suffix}")
            self._write(method, net, aside)
            (_counted(aside) if method.format == "tflite" else aside).replace(path)
        return path

    # -- making ---------------------------------------------------------------------------------------------------

    def _trained(self, method: Method, level: int) -> tuple[nn.Module, int]:
        net = method.build(self, level)
        epochs = self._epochs_of_ours(net)
        recipe = replace(self.effort.schedule.distill, epochs=epochs)
        taught_by = None if method.loss is None else self._taught_by
        trained = md.train_model(
            net, self.task, recipe, workdir=self._folder / "peers", seed=self.seed, progress=tell,
            teacher=taught_by, distill=method.loss,
        )  # fmt: skip
        return trained, epochs

    def _epochs_of_ours(self, net: nn.Module) -> int:
        """All that ``compress`` spends on a student that computes as much: between cuts, the long one, in integers."""
        from torch_pruning.utils import count_ops_and_params

        schedule = self.effort.schedule
        saved = count_ops_and_params(self.teacher, self.one[0])[0] / count_ops_and_params(net, self.one[0])[0]
        longer = min(schedule.stretch, max(1.0, math.sqrt(saved)))
        long = schedule.distill.stretched(longer).epochs + schedule.quantize.stretched(longer).epochs
        return long + (schedule.cut_steps - 1) * schedule.cut.epochs

    def _with_comparisons(self, compared: int) -> md.Schedule:
        """As many epochs as peers train at most, of which comparing plans takes its share."""
        schedule = self.effort.schedule
        long = schedule.distill.stretched(schedule.stretch)
        return replace(
            schedule,
            distill=replace(long, epochs=max(1, long.epochs - compared * schedule.quick.epochs)),
            quantize=schedule.quantize.stretched(schedule.stretch),
            stretch=1.0,
        )

    def _write(self, method: Method, net: nn.Module, to: Path) -> None:
        """The file as the tools write it, and beside a .tflite file the one that counts."""
        if method.bits is not None:
            shutil.rmtree(to, ignore_errors=True)
            coremltools_palettes(net, self.one, method.bits, to)
            return
        floats = plain_tflite(net, self.one, to.with_suffix(".float.tflite"))
        ai_edge_quantizer(floats, self._samples, to)
        floats.unlink()
        stripped(to, _counted(to))

    def _peers_cell(self, path: Path, what: str) -> dict[str, Any]:
        """Of an int8 file, by what is left without names."""
        counted = stripped(path, _counted(path))
        return {**self._cell(predict_by_index(counted, "logits"), counted, what), "bytes_with_names": size_bytes(path)}

    def _cell(self, predict: md.Predict, path: Path, what: str) -> dict[str, Any]:
        right = self._right(predict)
        return {
            "what": what,
            "accuracy": round(100 * float(right.mean()), 3),
            "right": np.packbits(right).tobytes().hex(),
            "recordings": len(right),
            "bytes": size_bytes(path),
        }

    def _right(self, predict: md.Predict) -> NDArray[np.bool_]:
        """Which test recordings are answered rightly."""
        answers: list[NDArray[Any]] = []

        def noted(inputs: Mapping[str, Any], signature: str = "main") -> dict[str, Any]:
            (logits,) = predict(inputs, signature).values()  # tools call it as they like
            answers.append(np.asarray(logits).argmax(1))
            return {"logits": logits}

        score = self.task.evaluate(noted, "test")
        right: NDArray[np.bool_] = np.concatenate(answers) == self._labels
        if abs(100 * right.mean() - score.value) > 1e-6:
            raise RuntimeError("The labels are not in the order of the task's own test.")
        return right

    def _kept(self, name: str, suffix: str) -> Path:
        return self._folder / "files" / f"{name.replace(' ', '-')}{suffix}"

    def _path(self, case: str, name: str) -> Path:
        """The file of a cell that counts."""
        if name in ("onnxruntime", "nncf"):
            return self._kept(name, ".onnx")
        if name == "teacher":
            return self._kept(name, ".tflite")
        if name == "ai-edge-quantizer":
            return _counted(self._kept(name, ".tflite"))
        path = self._kept(f"{case}-{name}", ".tflite")
        return path if name == OURS else _counted(path)


def _counted(path: Path) -> Path:
    return path.with_suffix(".counted.tflite")


def _format(path: Path) -> Any:
    return "onnx" if path.suffix == ".onnx" else "tflite"


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _compared(result: md.CompressionResult) -> int:
    """How many plans were trained briefly, to be told apart."""
    return sum("quick_loss" in one for one in result.rounds)


def _spent(began: float) -> dict[str, Any]:
    return {"minutes": round((time.monotonic() - began) / 60, 1), "load": round(os.getloadavg()[0], 1)}
