"""What compress gives back: files, what was measured on each, and which limits they keep."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from converters import Format, MobileDistillError, Parity
from mobiledistill._budget import Budget
from mobiledistill._plan import Plan
from mobiledistill._task import Metric, Score

if TYPE_CHECKING:
    from mobiledistill.devices import LatencyPerUse, Measurement
    from mobiledistill.search import Sensitivity

__all__ = ["Artifact", "BudgetError", "CompressionResult", "Ending", "LimitCheck", "Status", "TeacherFacts"]

Status = Literal["met", "missed", "unmeasured"]


class Ending(Enum):
    """Why the search stopped where it did."""

    BUDGET_USED = "the tightest limit is used to 90 % or more"
    NOTHING_CUT = "nothing had to be cut"
    NO_LARGER_FITS = "no larger plan fits"


@dataclass(frozen=True)
class LimitCheck:
    """One limit of the budget against what was measured.

    Attributes:
        format: the file's format; None for ``max_metric_drop``, which is judged on the worst file.
        name: the budget's field.
        limit: the upper limit.
        measured: the measured value; None where no connected device can measure it.
        status: ``met``, ``missed`` or ``unmeasured``.
        predicted: by which share predictions like this one are off at most in 95 % of cases; None where the device
            itself was asked.
    """

    format: Format | None
    name: str
    limit: float
    measured: float | None
    status: Status
    predicted: float | None = None

    @property
    def used(self) -> float:
        """Measured over limit; 0 where nothing was measured."""
        return 0.0 if self.measured is None else self.measured / self.limit


@dataclass(frozen=True)
class Artifact:
    """One exported file and everything measured on it.

    Attributes:
        score: on the test split, through the file and its own runtime.
        validation_score: likewise on the validation split, which the search looked at.
        latency: of the first signature; None where no connected device runs the format.
        use: latency of one use of the product, which may call several signatures, some of them often.
        verdict: why the latency can or cannot be trusted, in one line.
    """

    format: Format
    path: Path
    size_bytes: int
    download_bytes: int
    validation_score: Score
    score: Score
    parity: Parity
    latency: Measurement | None
    use: LatencyPerUse | None

    @property
    def latency_ms(self) -> float | None:
        """Median latency of one use, in milliseconds."""
        return None if self.use is None else self.use.latency_ms

    @property
    def peak_memory_bytes(self) -> int | None:
        """Memory that loading and running adds."""
        return None if self.latency is None else self.latency.peak_memory_bytes

    @property
    def verdict(self) -> str:
        """``valid``, ``throttled`` or ``invalid``; ``unmeasured`` without a device."""
        return "unmeasured" if self.latency is None else self.latency.verdict


@dataclass(frozen=True)
class TeacherFacts:
    """The teacher beside its student.

    Attributes:
        score: on the test split.
        validation_score: on the validation split.
        parameters: how many; None where the teacher is no torch module.
        size_bytes: of its float32 file in the first format, or of the file that it is; None where there is neither.
        latency: of that file's first signature, None where nothing measures it.
        use: of one use of that file.
        quantized_size_bytes: of the uncut teacher stored as the student is; None where it cannot be.
        quantized_latency: of that file's first signature.
        quantized_use: of one use of that file.
    """

    score: Score
    validation_score: Score
    parameters: int | None
    size_bytes: int | None
    latency: Measurement | None
    use: LatencyPerUse | None
    quantized_size_bytes: int | None
    quantized_latency: Measurement | None
    quantized_use: LatencyPerUse | None


@dataclass(frozen=True)
class CompressionResult:
    """The most accurate student found whose files, measured, keep the budget.

    Attributes:
        task: the task's name.
        limits: every limit on every format, with what was measured.
        artifacts: the files, by format.
        plan: what became of every group of channels.
        student: the module whose integers the files hold; not part of ``to_dict``.
        ending: which of the three ends the search reached.
        history: epochs of every training phase, as (phase, epoch, loss, validation score).
        seconds: wall time by phase.
        layers: (layer, weights before, weights after).
        pictures: (caption, PNG file) of what teacher and student answer, where the task can draw it.
        sensitivity: how much the loss rises with each cut alone; None where nothing was cut out of anything.
    """

    task: str
    budget: Budget
    metric: Metric
    teacher: TeacherFacts
    artifacts: Mapping[Format, Artifact]
    limits: Sequence[LimitCheck]
    plan: Plan
    student: nn.Module
    ending: Ending
    history: Sequence[tuple[str, int, float, float | None]]
    layers: Sequence[tuple[str, int, int]]
    seconds: Mapping[str, float]
    rounds: Sequence[Mapping[str, Any]]
    report_path: Path | None = None
    notes: Sequence[str] = field(default_factory=tuple)
    pictures: Sequence[tuple[str, Path]] = field(default_factory=tuple)
    sensitivity: Sensitivity | None = None

    @property
    def met(self) -> bool:
        """Nothing is missed, and every limit was measured on at least one artifact."""
        measured = {check.name for check in self.limits if check.status == "met"}
        wanted = {check.name for check in self.limits}
        return not any(check.status == "missed" for check in self.limits) and wanted <= measured

    @property
    def binding(self) -> LimitCheck | None:
        """The limit that is used the most."""
        return max(self.limits, key=lambda check: check.used, default=None)

    @property
    def score(self) -> Score:
        """The worst file's score on the test split."""
        ordered = sorted(self.artifacts.values(), key=lambda artifact: artifact.score.value)
        return ordered[0 if self.metric.higher_is_better else -1].score

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data; ``null`` stands for what no device could measure."""
        return {
            "met": self.met,
            "task": self.task,
            "budget": str(self.budget),
            "ending": self.ending.value,
            "binding": None if self.binding is None else _check_dict(self.binding),
            "teacher": {
                "score": _score_dict(self.teacher.score),
                "validation_score": _score_dict(self.teacher.validation_score),
                "size_bytes": self.teacher.size_bytes,
                "latency_ms": _latency_dict(self.teacher.latency, self.teacher.use),
                "parameters": self.teacher.parameters,
                "quantized": {
                    "size_bytes": self.teacher.quantized_size_bytes,
                    "latency_ms": _latency_dict(self.teacher.quantized_latency, self.teacher.quantized_use),
                },
            },
            "score": {"metric": self.metric.name, "unit": self.metric.unit, **_score_dict(self.score)},
            "limits": [_check_dict(check) for check in self.limits],
            "artifacts": {format: _artifact_dict(artifact) for format, artifact in self.artifacts.items()},
            "plan": json.loads(self.plan.to_json()),
            "layers": [list(layer) for layer in self.layers],
            "sensitivity": None if self.sensitivity is None else _sensitivity_dict(self.sensitivity),
            "history": [list(entry) for entry in self.history],
            "rounds": list(self.rounds),
            "notes": list(self.notes),
            "pictures": [{"caption": caption, "path": str(path)} for caption, path in self.pictures],
            "seconds": dict(self.seconds),
            "report": None if self.report_path is None else str(self.report_path),
        }

    def summary(self) -> str:
        """A few lines that say what was reached, for a terminal."""
        lines = [
            f"Teacher: {self.metric.told(self.teacher.score.value)}; student: {self.metric.told(self.score.value)}"
            " (worst file)"
        ]
        for artifact in self.artifacts.values():
            latency = "unmeasured" if artifact.latency_ms is None else f"{artifact.latency_ms:.3f} ms"
            if artifact.verdict == "predicted":
                latency = f"~{latency}"
            lines.append(
                f"  {artifact.format:7} {artifact.size_bytes:>9,} bytes  {latency:>11}"
                f"  {self.metric.told(artifact.score.value)}  {artifact.path}"
            )
        for check in self.limits:
            measured = "unmeasured here" if check.measured is None else f"{check.measured:,.4g}"
            lines.append(
                f"  {check.format or 'student':7} {check.name} {measured} / {check.limit:,.4g}: {check.status}"
                f"{_as_predicted(check)}"
            )
        how = ", as far as predictions go" if any(check.predicted is not None for check in self.limits) else ""
        ended = f"the search ended because {self.ending.value}"
        lines.append(f"The budget is {'met' if self.met else 'not met'}{how}; {ended}.")
        return "\n".join(lines)


class BudgetError(MobileDistillError):
    """No student that was found keeps the budget.

    Attributes:
        nearest: the best result found, briefly trained, with its files.
        binding: the limit that cannot be kept, on which format.
        smallest: a value of that limit that works, the other limits held: the smallest that was measured, in time and
            memory with room for what the same file differs from itself.
    """

    def __init__(self, message: str, nearest: CompressionResult, binding: LimitCheck, smallest: float) -> None:
        super().__init__(message)
        self.nearest = nearest
        self.binding = binding
        self.smallest = smallest


def _score_dict(score: Score) -> dict[str, Any]:
    return {"value": score.value, "n": score.n, "ci95": list(score.ci95)}


def _sensitivity_dict(found: Sensitivity) -> dict[str, Any]:
    rises = {
        name: [[kept, rise if math.isfinite(rise) else None] for kept, rise in points.items()]
        for name, points in found.rises.items()
    }
    return {"loss": found.loss, "rises": rises, "seconds": round(found.seconds, 2)}


def _check_dict(check: LimitCheck) -> dict[str, Any]:
    return {
        "format": check.format,
        "name": check.name,
        "limit": check.limit,
        "measured": check.measured,
        "status": check.status,
        "predicted": check.predicted,
    }


def _as_predicted(check: LimitCheck) -> str:
    return "" if check.predicted is None else f" (predicted, within {100 * check.predicted:.0f} % on files held out)"


def _latency_dict(latency: Measurement | None, use: LatencyPerUse | None) -> dict[str, Any] | None:
    """The first signature's latency in detail, and that of one use where it differs."""
    if latency is None or use is None:
        return None
    conditions = {"device", "runtime", "backend", "threads", "reasons", "load_cold_ms", "load_warm_ms", "first_run_ms"}
    conditions |= {"prediction", "repeated_processes", "telemetry_before", "telemetry_after"}
    return {
        "per_use": {"p50": use.latency_ms, "ci95": list(use.ci95_ms)},
        "p50": latency.p50_ms,
        "p90": latency.p90_ms,
        "ci95": list(latency.ci95_ms),
        "runs": sum(len(samples) for samples in latency.samples_ms),
        "samples": [[round(sample, 6) for sample in samples] for samples in latency.samples_ms],
        "reference": None if latency.reference is None else {"largest_drift": latency.reference.largest_drift},
        **latency.model_dump(mode="json", include=conditions),
    }


def _artifact_dict(artifact: Artifact) -> dict[str, Any]:
    return {
        "path": str(artifact.path),
        "size_bytes": artifact.size_bytes,
        "download_bytes": artifact.download_bytes,
        "score": _score_dict(artifact.score),
        "validation_score": _score_dict(artifact.validation_score),
        "latency_ms": _latency_dict(artifact.latency, artifact.use),
        "peak_memory_bytes": artifact.peak_memory_bytes,
        "parity": {
            "sqnr_db": artifact.parity.sqnr_db,
            "max_steps": artifact.parity.max_steps,
            "agreement": artifact.parity.agreement,
            "integers_equal": artifact.parity.integers_equal,
        },
        "verdict": artifact.verdict,
    }
