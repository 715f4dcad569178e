"""A student's files: written, proven, measured, judged against the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from converters import Format, Parity, Program, download_bytes, size_bytes, suffix_of, verify
from mobiledistill._job import Job, Latency
from mobiledistill._result import LimitCheck, Status, TeacherFacts
from mobiledistill._student import export, integers_of, programs_of
from mobiledistill._task import Equipped, Score, Task
from mobiledistill._workdir import digest_of, fingerprint
from mobiledistill.quantize import Fp16, Scheme
from mobiledistill.search import LATENCIES

__all__ = ["ASSETS", "File", "check_limits", "quantity", "teacher_file", "write_and_measure"]

ASSETS = "assets"
"""Folder, beside the exported files, of what an app needs around them."""

_PARITY_SAMPLES = 64


@dataclass(frozen=True)
class File:
    path: Path
    size_bytes: int
    download_bytes: int
    parity: Parity
    validation_score: Score
    latency: Latency | None


def write_and_measure(job: Job, modules: Mapping[str, nn.Module]) -> dict[Format, File]:
    """Writes a student's files, proves each against the student, scores and measures them; each step only once."""
    programs = programs_of(job.task, modules)
    paths = _write(job, programs, nn.ModuleDict(dict(modules)))
    files = {}
    for number, (format, path) in enumerate(paths.items()):
        with job.phase("verify"):
            job.report("verify", number, len(paths), f"{format} against the student")
            parity = _prove(job, path, programs)
        with job.phase("score"):
            score = job.score_file(path, "validation")
        files[format] = File(
            path=path,
            size_bytes=size_bytes(path),
            download_bytes=download_bytes(path),
            parity=parity,
            validation_score=score,
            latency=job.measure(path, format),
        )
    return files


def _write(job: Job, programs: Sequence[Program], student: nn.Module) -> dict[Format, Path]:
    folder = job.run.files("artifacts")
    key = [fingerprint(student), job.formats]
    written: dict[Format, Path] = {}

    def write() -> dict[Format, str]:
        job.report("convert", 0, len(job.formats), ", ".join(job.formats))
        written.update(export(programs, job.formats, folder, job.scheme))
        return {format: digest_of(path) for format, path in written.items()}

    _write_assets(job.task, folder / ASSETS)
    with job.phase("convert"):
        known = job.run.recall("exported", key, write)
        kept = {format: folder / f"student{suffix_of(format)}" for format in job.formats}
        whole = all(path.exists() and digest_of(path) == known[format] for format, path in kept.items())
        if not (written or whole):  # somebody took or changed the files since
            write()
    return kept


def _write_assets(task: Task, folder: Path) -> None:
    if not isinstance(task, Equipped):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in task.assets().items():
        aside = folder / f".{Path(name).name}.partial"
        aside.write_bytes(content)
        aside.replace(folder / Path(name).name)


def _prove(job: Job, path: Path, programs: Sequence[Program]) -> Parity:
    def prove() -> dict[str, object]:
        samples = {
            program.name: {
                name: value[:_PARITY_SAMPLES] for name, value in job.task.calibration_inputs(program.name).items()
            }
            for program in programs
        }
        return asdict(verify(path, programs, samples, "float16" if isinstance(job.scheme, Fp16) else "float32"))

    return Parity(**job.run.recall("parity", digest_of(path), prove))


def check_limits(job: Job, files: Mapping[Format, File], facts: TeacherFacts) -> list[LimitCheck]:
    checks = []
    for limit in job.budget.limits(job.formats):
        if limit.format is None:
            drops = [_drop(job.task, facts.validation_score, file.validation_score) for file in files.values()]
            measured: float | None = max(drops)
            status: Status = "met" if max(drops) <= limit.value else "missed"
        else:
            file = files[limit.format]
            measured = _told(job, file, limit.name, limit.format)
            # What disturbs a latency makes it longer, never shorter: its upper end decides, valid or not.
            decisive = quantity(job, limit.name, limit.format, file.path)
            if measured is None or decisive is None:
                status = "unmeasured"
            else:
                status = "met" if decisive <= limit.value else "missed"
        checks.append(
            LimitCheck(
                limit.format, limit.name, limit.value, measured, status, _predicted(files, limit.format, limit.name)
            )
        )
    return checks


def _predicted(files: Mapping[Format, File], format: Format | None, name: str) -> float | None:
    """By how much what a latency table said may be off; None where a device was asked."""
    if format is None or name not in LATENCIES or (latency := files[format].latency) is None:
        return None
    return None if latency.main.prediction is None else latency.main.prediction.error


def _told(job: Job, file: File, name: str, format: Format) -> float | None:
    """What people are told was measured: of a latency the median."""
    if file.latency is None or name not in LATENCIES:
        return quantity(job, name, format, file.path)
    return file.latency.use.latency_ms / (job.teacher_ms[format] if name == "latency_share" else 1.0)


def _drop(task: Task, teacher: Score, student: Score) -> float:
    """By how much the student is worse, in the metric's unit."""
    lost = teacher.value - student.value
    return max(0.0, lost if task.metric.higher_is_better else -lost)


def teacher_file(job: Job, module: nn.Module, format: Format, scheme: Scheme) -> Path:
    """The uncut teacher's file, written once."""
    folder = job.run.path / "teacher" / ("float32" if scheme is None else "stored")
    path = folder / f"student{suffix_of(format)}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        export(programs_of(job.task, integers_of(job.task, module, scheme)), (format,), folder, scheme)
    return path


def quantity(job: Job, name: str, format: Format, path: Path) -> float | None:
    """What a limit is compared with: bytes, the latency's upper end, memory."""
    if name == "size_bytes":
        return size_bytes(path)
    if name == "download_bytes":
        return download_bytes(path)
    measured = job.measure(path, format)
    if measured is None:
        return None
    if name == "latency_ms":
        return measured.use.ci95_ms[1]
    if name == "latency_share":
        return measured.use.ci95_ms[1] / job.teacher_ms[format]
    peak = measured.main.peak_memory_bytes
    return None if peak is None else float(peak)
