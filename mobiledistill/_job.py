"""One call of ``compress``: what was asked, where it stands, and what every part of the loop needs."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from converters import FORMATS, Format, InputError
from mobiledistill._budget import Budget
from mobiledistill._lesson import Lesson
from mobiledistill._plan import Plan
from mobiledistill._progress import Event, Progress
from mobiledistill._schedule import Schedule
from mobiledistill._student import (
    Family,
    check_module,
    exported_signatures,
    file_predictor,
    predictor,
    signature_modules,
)
from mobiledistill._task import Arrays, Predict, Score, Split, Task
from mobiledistill._workdir import Workdir, code_fingerprint, data_fingerprint, digest_of, fingerprint, write_text
from mobiledistill.distill import HardTargets, Loss, SoftTargets
from mobiledistill.quantize import Int8Or4, Scheme
from mobiledistill.search import LATENCIES, Sensitivity, Target
from mobiledistill.teachers import Teacher, Teachers, as_teacher
from mobiledistill.train import Finding

if TYPE_CHECKING:
    from mobiledistill.devices import Device, LatencyPerUse, Measurement

__all__ = ["Job", "Latency", "bytes_per_weight", "teacher_predict"]

_IMPORTANCE_BATCHES = 16
_MEASURED_AT_MOST = 4


@dataclass(frozen=True)
class Latency:
    """The latency of one use, over all signatures, and of the first signature in detail."""

    use: LatencyPerUse
    main: Measurement


@dataclass
class Job:
    """One call of ``compress``: what was asked, and where it stands."""

    teacher: Teacher
    task: Task
    budget: Budget
    student: nn.Module | Family | None
    distill: Loss
    device: Device
    formats: tuple[Format, ...]
    scheme: Scheme
    schedule: Schedule
    run: Workdir
    progress: Progress | None
    teacher_ms: dict[Format, float] = field(default_factory=dict)
    """Latency of one use of the teacher's 32-bit file, where a limit is a share of it."""
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    analysis: Path | None = None
    """Folder of what was found out about the uncut model, where runs share one."""
    examined: bool = False
    """Whether the doctor has looked at teacher, data and loss."""

    @classmethod
    def start(
        cls,
        teacher: Teachers,
        task: Task,
        budget: Budget,
        student: nn.Module | Family | None,
        distill: Loss | None,
        device: str | Device,
        formats: tuple[Format, ...],
        scheme: Scheme,
        schedule: Schedule,
        workdir: str | Path,
        progress: Progress | None,
        analysis: Path | None = None,
    ) -> Job:
        from mobiledistill.devices import TableDevice
        from mobiledistill.devices import open as open_device

        unknown = [format for format in formats if format not in FORMATS]
        if unknown or not formats:
            raise InputError(f"formats must name some of {', '.join(FORMATS)}, but got {tuple(formats)!r}.")
        taught_by = as_teacher(teacher)
        if taught_by.module is not None:
            check_module(task, taught_by.module, "teacher")
        elif student is None:
            raise InputError(
                f"A {type(taught_by).__name__} holds no torch module that a student could be cut out of: give student="
                " a module or a (width, depth) family."
            )
        taught_by.check(task)
        if isinstance(student, nn.Module):
            check_module(task, student, "student")
        if not isinstance(scheme, Scheme):
            raise InputError(
                f"quantize must be a scheme such as quantize.Int8(), or None for 32-bit floats, but got {scheme!r}."
            )
        if not any(budget.limits(tuple(formats))) and (elsewhere := {limit.format for limit in budget.limits(FORMATS)}):
            raise InputError(
                f"The budget limits only {', '.join(sorted(map(str, elsewhere)))}, but the files are"
                f" {', '.join(formats)}: name that format in formats."
            )
        distill = distill or SoftTargets()
        opened = open_device(device) if isinstance(device, str) else device
        call = {
            "task": task.name,
            "data": data_fingerprint(task),
            "teacher": taught_by.fingerprint,
            "student": _identity(student),
            "device": [opened.name, *([opened.table.digest] if isinstance(opened, TableDevice) else [])],
            "budget": repr(budget),
            "formats": list(formats),
            "quantize": repr(scheme),
            "distill": repr(distill),
            "schedule": repr(schedule),
        }
        return cls(
            teacher=taught_by,
            task=task,
            budget=budget,
            student=student,
            distill=distill,
            device=opened,
            formats=tuple(formats),
            scheme=scheme,
            schedule=schedule,
            run=Workdir(Path(workdir), call),
            progress=progress,
            analysis=analysis,
        )

    @property
    def uncut(self) -> nn.Module | None:
        """What students are cut out of, and whose files they are compared with: the teacher, where it is a module."""
        return self.teacher.module

    def teacher_predict(self) -> Predict:
        """Lets the task's evaluation ask the teacher."""
        return teacher_predict(self.task, self.teacher)

    def lesson(self, students: Mapping[str, nn.Module], *, layers: bool = True) -> Lesson:
        """What students learn; without layers only what the teacher answers, not how it comes to it."""
        loss = self.distill if layers else self.distill.of_outputs() or HardTargets()
        return Lesson(self.task, students, self.teacher, loss)

    def score(self, modules: Mapping[str, nn.Module], split: Split) -> Score:
        """A module's score."""
        return self.task.evaluate(predictor(self.task, modules), split)

    def score_file(self, path: Path, split: Split) -> Score:
        """A file's score, through its own runtime; counted once."""

        def score() -> dict[str, Any]:
            return asdict(self.task.evaluate(file_predictor(path), split))

        return self.recalled_score([digest_of(path), split], score)

    def recalled_score(self, key: object, score: Callable[[], dict[str, Any]]) -> Score:
        """A score that is computed once and remembered."""
        known = self.run.recall("scores", key, score)
        return Score(known["value"], known["n"], (known["ci95"][0], known["ci95"][1]))

    def trivial_score(self) -> Score:
        """The validation score of the answer that never looks: the teacher's mean output."""
        predict = self.teacher_predict()
        means = {
            name: {
                output: value.mean(axis=0, keepdims=True)
                for output, value in predict(self.task.calibration_inputs(name), name).items()
            }
            for name in self.task.signatures
        }

        def constant(inputs: Mapping[str, Any], signature: str = "main") -> Arrays:
            count = len(next(iter(inputs.values())))
            return {name: np.repeat(value, count, axis=0) for name, value in means[signature].items()}

        return self.task.evaluate(constant, "validation")

    def measure(self, path: Path, format: Format) -> Latency | None:
        """Latency and memory of a file, remembered by its bytes.

        Where a limit seems missed, but other work disturbed the measurement, it is taken again: what follows from it,
        another plan or another training, takes far longer.
        """
        from mobiledistill.devices import Measurement, latency_per_use

        if format not in self.device.formats:
            return None
        exported = exported_signatures(self.task)
        limit = self._latency_limit_ms(format)
        asked = {"limit_ms": limit, "percentile": self.budget.latency_percentile, "threads": self.budget.threads}

        def measure() -> list[Measurement]:
            found = []
            for name, signature in exported.items():
                inputs = {key: value[:1] for key, value in self.task.calibration_inputs(name).items()}
                per_call = None if limit is None or len(exported) > 1 else limit / signature.calls_per_use
                found.append(
                    self.device.measure(
                        path,
                        format,
                        inputs,
                        signature=name,
                        threads=self.budget.threads,
                        percentile=self.budget.latency_percentile,
                        limit_ms=per_call,
                    )
                )
            return [measurement for measurement in found if measurement is not None]

        def use_of(found: Sequence[Measurement]) -> LatencyPerUse:
            calls = {name: signature.calls_per_use for name, signature in exported.items()}
            return latency_per_use(dict(zip(exported, found, strict=True)), calls)

        def in_doubt(use: LatencyPerUse) -> bool:
            return limit is not None and use.verdict != "valid" and use.ci95_ms[1] > limit

        def settle() -> list[str]:
            self.report("measure", 0, 1, f"latency of the {format} file on {self.device.name}")
            found = measure()
            for _ in range(1, _MEASURED_AT_MOST):
                if not in_doubt(use_of(found)):
                    break
                found = measure()
            return [measurement.to_json() for measurement in found]

        with self.phase("measure"):
            texts = self.run.recall("latency", [digest_of(path), asked], settle)
        measurements = [Measurement.from_json(text) for text in texts]
        return Latency(use_of(measurements), measurements[0])

    def _latency_limit_ms(self, format: Format) -> float | None:
        """The tighter of the limit in milliseconds and that in shares of the teacher, as far as it is known yet."""
        share, teacher_ms = self.budget.limit("latency_share", format), self.teacher_ms.get(format)
        limits = [self.budget.limit("latency_ms", format), share and teacher_ms and share * teacher_ms]
        return min((limit for limit in limits if limit is not None), default=None)

    def file_limits(self) -> dict[Target, float]:
        """The limits on files that can be measured here."""
        from mobiledistill.devices import TableDevice

        measurable = {"size_bytes", "download_bytes"}
        elsewhere = {"peak_memory_bytes"} if isinstance(self.device, TableDevice) else set()
        return {
            (limit.format, limit.name): limit.value
            for limit in self.budget.limits(self.formats)
            if limit.format is not None
            and limit.name not in elsewhere
            and (limit.name in measurable or limit.format in self.device.formats)
        }

    @property
    def searches_bits(self) -> bool:
        """Whether layers may lie in fewer bits; not where time is limited, since TFLite's 4-bit kernels are slow."""
        timed = any(limit.name in LATENCIES for limit in self.budget.limits(self.formats))
        return isinstance(self.scheme, Int8Or4) and not timed

    def scheme_of(self, plan: Plan, student: nn.Module) -> Scheme:
        """How the plan's student is stored; its layers may lie elsewhere in what a signature exports."""
        if not isinstance(self.scheme, Int8Or4):
            return self.scheme
        narrow = {id(part) for path in plan.layer_bits for part in student.get_submodule(path).modules()}
        exported = signature_modules(self.task, student).values()
        parts = (found for module in exported for found in module.named_modules(remove_duplicate=False))
        return self.scheme.mixed([path for path, part in parts if id(part) in narrow])

    def hear(self, finding: Finding) -> None:
        """Takes in what the doctor found, once."""
        if finding not in self.findings:
            self.findings.append(finding)
            self.report("doctor", 1, 1, finding.told())

    def report(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Tells whoever watches how far a phase is."""
        self.tell(Event(phase, done, total, note))

    def tell(self, event: Event) -> None:
        """Tells whoever watches."""
        if self.progress is not None:
            self.progress(event)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts a phase's seconds."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def known_sensitivity(self, origin: nn.Module, measure: Callable[[], Sensitivity]) -> Sensitivity:
        """What was measured before of the same model, data and loss, by this run or one that shares its analysis."""
        models = (fingerprint(origin), self.teacher.fingerprint)
        code, criterion = code_fingerprint(self.task, *origin.modules()), self.schedule.importance
        about: tuple[object, ...] = (models, data_fingerprint(self.task), self.distill, code, criterion)
        if self.searches_bits:  # more is tried
            about = (*about, self.scheme)
        digest = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
        file = (self.analysis or self.run.path) / f"sensitivity-{digest}.json"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, measure().to_json())
        return Sensitivity.from_json(file.read_text())

    def losses(self, module: nn.Module) -> Iterable[Tensor]:
        """The losses of a module on a few training batches, one after the other."""
        lesson = self.lesson(signature_modules(self.task, module), layers=False)
        for batch in itertools.islice(self.task.train_batches(0), _IMPORTANCE_BATCHES):
            yield lesson(batch)


def _identity(student: nn.Module | Family | None) -> list[str]:
    """What must be the same where a run goes on: a module's weights, layers and code, or a family's code."""
    if student is None:
        return []
    if isinstance(student, nn.Module):
        return [fingerprint(student), code_fingerprint(*student.modules())]
    return ["family", code_fingerprint(student)]


def teacher_predict(task: Task, teacher: Teacher) -> Predict:
    """Lets a task's evaluation ask a teacher of any kind."""

    def predict(inputs: Mapping[str, Any], signature: str = "main") -> Arrays:
        tensors = {name: torch.as_tensor(value) for name, value in inputs.items()}
        outputs = teacher.answers(task, tensors, signature).outputs
        return {name: value.cpu().numpy() for name, value in outputs.items()}

    return predict


def bytes_per_weight(scheme: Scheme) -> float:
    return 4.0 if scheme is None else scheme.bytes_per_weight
