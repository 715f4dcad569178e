"""compress: a trained model and a budget in, files that keep the budget out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn

from converters import FORMATS, Format, InputError, size_bytes
from mobiledistill._budget import Budget
from mobiledistill._cuts import Cuts
from mobiledistill._files import File, check_limits, quantity, teacher_file, write_and_measure
from mobiledistill._job import Job, Latency, bytes_per_weight
from mobiledistill._plan import Plan
from mobiledistill._progress import Progress
from mobiledistill._result import Artifact, BudgetError, CompressionResult, Ending, LimitCheck, TeacherFacts
from mobiledistill._schedule import Recipe, Schedule
from mobiledistill._sources import FamilyMembers, Source
from mobiledistill._student import (
    Family,
    example_run,
    export,
    file_predictor,
    integers_of,
    programs_of,
    rounded,
    run_in_training,
    run_per_use,
    signature_modules,
)
from mobiledistill._task import Illustrated, Predict, Score, Split, Task
from mobiledistill._workdir import write_text
from mobiledistill.distill import Loss
from mobiledistill.prune import check_layers_called
from mobiledistill.quantize import Fp16, Int8, LayerScheme, Mixed, Scheme, freeze
from mobiledistill.search import LATENCIES, CostModel, Target
from mobiledistill.teachers import Teachers
from mobiledistill.train import Doctor, EpochLog, findings_to_json, fit

if TYPE_CHECKING:
    from mobiledistill.devices import Device

__all__ = ["compress", "run_job"]

_BYTES_AIM = 0.997  # of a limit in bytes: what trained weights add over untrained ones is a few bytes
_LATENCY_AIM = 0.97  # of a limit in milliseconds: the interval's upper end is what must keep it
_NOISY = (*LATENCIES, "peak_memory_bytes")
_REPEATABLE = 0.95  # the same file's milliseconds and memory, measured again, stay above this share as a rule
_WELL_USED = 0.9
_ENOUGH = 0.98  # used to this share, another round cannot gain much
_TRAINED_ROUNDS = 3
_MARGIN = 0.03  # what a plan leaves free for each trained one before it that missed

History = list[tuple[str, int, float, float | None]]


def compress(
    teacher: Teachers,
    task: Task,
    budget: Budget,
    *,
    student: nn.Module | Family | None = None,
    distill: Loss | None = None,
    device: str | Device = "host",
    formats: tuple[Format, ...] = FORMATS,
    quantize: Scheme = Int8(),  # noqa: B008  (frozen)
    schedule: Schedule = Schedule(),  # noqa: B008  (frozen)
    workdir: str | Path = "runs/latest",
    progress: Progress | None = None,
) -> CompressionResult:
    """Finds the most accurate student whose exported files, measured, keep the budget.

    You gain files that are proven: each is scored through its own runtime, compared with the student, and measured.
    You lose the time a training takes; what is killed goes on where it stopped when called again. Early rounds try
    plans on untrained files, since neither bytes nor milliseconds depend on training; the plan that uses the budget
    best is then distilled in full, exported, and measured again.

    Example:
        >>> result = compress(teacher, task, Budget(size_bytes=30_000), workdir="runs/digits")  # doctest: +SKIP
        >>> print(result.summary())  # doctest: +SKIP

    Args:
        teacher: a trained module, not changed; or anything of ``mobiledistill.teachers``, the path of a .tflite, .onnx,
            .mlpackage or .keras file, or a list of all these, an ensemble. What is no module needs a ``student``.
        task: what must be learned and how it is scored.
        budget: upper limits.
        student: None cuts the student out of the teacher; a module is used as it is, or cut where it is too large;
            a function (width, depth) -> module is a family, from which the best member that fits is trained.
        distill: the loss; None: soft targets.
        device: where latency and memory are measured, ``"host"`` or an open device.
        formats: which files to write.
        quantize: how weights are stored; None: 32-bit floats. ``Int8Or4()`` lets the search choose by layer.
        schedule: how long to train, and the seed.
        workdir: every phase is kept here; the same call again resumes.
        progress: called as work gets done.

    Returns:
        The files and everything measured on them. No limit is missed; ``result.met`` holds where ``device`` could
        measure them all.

    Raises:
        BudgetError: no student that was found keeps the budget; it carries the nearest one.
        InputError: the teacher does not fit the task, or the work folder holds another run.
        ParityError: a file does not compute what the student computes.
    """
    return run_job(
        Job.start(teacher, task, budget, student, distill, device, formats, quantize, schedule, workdir, progress)
    )


def run_job(job: Job) -> CompressionResult:
    """What ``compress`` does, once everything it was given is known to fit together."""
    schedule = job.schedule
    source = _source(job)
    cost = CostModel(bytes_per_weight(job.scheme))
    facts = _teacher_facts(job, source, cost)
    for attempt in range(_TRAINED_ROUNDS):
        plan, ending = _search(job, source, cost, facts, margin=attempt * _MARGIN)
        longer = _stretch(source, plan, schedule.stretch)
        modules, history = _train(
            job, source, plan, schedule.distill.stretched(longer), schedule.quantize.stretched(longer)
        )
        files = write_and_measure(job, modules)
        checks = check_limits(job, files, facts)
        trivial = job.trivial_score()
        if not all(_beats(job.task, file.validation_score, trivial) for file in files.values()):
            raise _nearest(job, source, facts)
        if not any(check.status == "missed" for check in checks):
            return _finish(job, source, facts, plan, modules, files, checks, history, ending)
        _learn(job, source, cost, plan, files)
        missed = [asdict(check) for check in checks if check.status == "missed"]
        job.rounds.append({**_shape(plan), "trained": True, "missed": missed})
    result = _finish(job, source, facts, plan, modules, files, checks, history, ending)
    raise _unreachable(result, "after training")


def _source(job: Job) -> Source:
    """Where students come from."""
    bits = round(8 * bytes_per_weight(job.scheme))
    run, per_use = example_run(job.task), run_per_use(job.task)
    with job.phase("analyze"):
        job.report("analyze", 0, 1, "what is coupled, and what matters")
        if job.student is None or isinstance(job.student, nn.Module):
            origin = job.student or cast(nn.Module, job.uncut)
            check_layers_called(origin, run_in_training(job.task), job.losses)
            known, criterion = partial(job.known_sensitivity, origin), job.schedule.importance
            return Cuts(origin, run, per_use, job.losses, bits, known, criterion, half_bits=job.searches_bits)
        return FamilyMembers(job.student, job.uncut, per_use, job.schedule.seed, bits)


def _search(job: Job, source: Source, cost: CostModel, facts: TeacherFacts, margin: float) -> tuple[Plan, Ending]:
    """A plan that keeps every limit on files: of those that the source's ways lead to the one that learns best.

    ``margin`` is the share of each limit to stay below: trained files of an earlier plan came out above.
    """
    limits = {target: limit * (1 - margin) for target, limit in job.file_limits().items()}
    rounds = _Rounds(job, source, cost, limits)
    plans = rounds.fitting()
    if not plans:  # what the narrowest one costs may correct what was predicted
        narrowest = source.narrow(1)
        fits = job.schedule.rounds == 0 or rounds.used(narrowest) <= 1.0
        plans = rounds.fitting() or ([narrowest] if fits else [])
    if not plans:
        raise _nearest(job, source, facts)
    plan = min(plans, key=lambda one: _quick_loss(job, source, one)) if len(plans) > 1 else plans[0]
    if plan.cuts_nothing:
        return plan, Ending.NOTHING_CUT
    well_used = job.schedule.rounds > 0 and rounds.used(plan) >= _WELL_USED
    return plan, Ending.BUDGET_USED if well_used else Ending.NO_LARGER_FITS


class _Rounds:
    """Plans, proposed and tried on untrained files; what each measures corrects the next."""

    def __init__(self, job: Job, source: Source, cost: CostModel, limits: Mapping[Target, float]) -> None:
        self._job = job
        self._source = source
        self._cost = cost
        self._limits = limits
        self._aims = {target: limit * _aim(target[1]) for target, limit in limits.items()}
        self._used: dict[str, float] = {}

    def fitting(self) -> list[Plan]:
        """Of each way the plan that keeps every limit and uses the tightest one best; without rounds the first."""
        found: list[Plan] = []
        for way in range(self._source.ways):
            plan = self._best(way) if self._job.schedule.rounds else self._propose(way)
            if plan is not None and plan.cuts_nothing:
                return [plan]
            if plan is not None and plan not in found:
                found.append(plan)
        return found

    def used(self, plan: Plan) -> float:
        """Which share of its tightest limit a plan's files use, measured once."""
        if plan.to_json() not in self._used:
            measured = _try_untrained(self._job, self._source, self._cost, plan, tuple(self._limits))
            shares = [value / self._limits[target] for target, value in measured.items()]
            self._used[plan.to_json()] = max(shares, default=0.0)
        return self._used[plan.to_json()]

    def _best(self, way: int) -> Plan | None:
        best: tuple[float, Plan] | None = None
        for _ in range(self._job.schedule.rounds):
            plan = self._propose(way)
            if plan is None:
                break
            is_known = plan.to_json() in self._used
            used = self.used(plan)
            if used <= 1.0 and (best is None or used > best[0]):
                best = used, plan
            if is_known or (used <= 1.0 and (used >= _ENOUGH or plan.cuts_nothing)):
                break
        return best and best[1]

    def _propose(self, way: int) -> Plan | None:
        return self._source.propose(self._cost, self._aims, way)


def _try_untrained(
    job: Job, source: Source, cost: CostModel, plan: Plan, targets: tuple[Target, ...]
) -> dict[Target, float]:
    """Exports a plan's untrained student, measures what is limited, and corrects the cost model."""
    formats = tuple(dict.fromkeys(target[0] for target in targets))

    def measure() -> dict[str, float]:
        student = source.build(plan)
        folder = job.run.files("untrained")
        programs = programs_of(job.task, integers_of(job.task, student, job.scheme_of(plan, student)))
        paths = export(programs, formats, folder, job.scheme)
        values = {f"{format}/{name}": quantity(job, name, format, paths[format]) for format, name in targets}
        job.run.discard("untrained")
        return {target: value for target, value in values.items() if value is not None}

    with job.phase("search"):
        job.report("search", len(job.rounds), source.ways * job.schedule.rounds, _plan_note(plan))
        known = job.run.recall("rounds", [plan.to_json(), sorted(targets)], measure)
    # What a device cannot measure, memory on some, binds nothing.
    measured = {target: known[key] for target in targets if (key := f"{target[0]}/{target[1]}") in known}
    for target, value in measured.items():
        cost.correct(target, source.amounts(plan), value)
    job.rounds.append({**_shape(plan), "trained": False, "measured": known})
    return measured


def _quick_loss(job: Job, source: Source, plan: Plan) -> float:
    """The loss that a short training leads to, of what students answer: how any two of them compare."""
    recipe = job.schedule.quick
    modules = signature_modules(job.task, source.build(plan))
    name = hashlib.sha256(f"{plan.to_json()}{recipe}".encode()).hexdigest()[:8]
    history = _fit(job, modules, recipe, "probe", f"probe-{name}", layers=False)
    loss = history[-1][2] if history else 0.0  # untrained they do not compare: the first stays
    job.rounds.append({**_shape(plan), "trained": False, "quick_loss": loss})
    return loss if math.isfinite(loss) else math.inf


def _aim(name: str) -> float:
    return _LATENCY_AIM if name in _NOISY else _BYTES_AIM


def _learn(job: Job, source: Source, cost: CostModel, plan: Plan, files: Mapping[Format, File]) -> None:
    """Corrects the cost model by the trained files."""
    for target in job.file_limits():
        value = quantity(job, target[1], target[0], files[target[0]].path)
        if value is not None:
            cost.correct(target, source.amounts(plan), value)


def _train(
    job: Job, source: Source, plan: Plan, long: Recipe, rounding: Recipe
) -> tuple[Mapping[str, nn.Module], History]:
    """The plan's student, distilled in floats and then with its integers; frozen, by signature."""
    name = hashlib.sha256(f"{plan.to_json()}{long}{rounding}".encode()).hexdigest()[:8]
    history: History = []
    steps = source.steps(plan, job.schedule.cut_steps)
    student = source.build(steps[0])
    for number, step in enumerate(steps, start=1):
        last = number == len(steps)
        recipe = long if last else job.schedule.cut
        if number > 1:
            student = source.shrink(student, step)
        phase = "distill" if last else f"cut {number}/{len(steps)}"
        history += _fit(job, signature_modules(job.task, student), recipe, phase, f"{name}-{number}")
    if job.scheme is None or isinstance(job.scheme, Fp16):
        return signature_modules(job.task, student.eval()), history
    prepared = rounded(job.task, student, cast(LayerScheme | Mixed, job.scheme_of(plan, student)))
    history += _fit(job, dict(prepared.items()), rounding, "quantize", f"{name}-int8", layers=False)
    return dict(freeze(prepared).items()), history


def _stretch(source: Source, plan: Plan, most: float) -> float:
    """How many times longer a student trains for being cheaper than the uncut model."""
    saved = source.uncut().macs / max(source.amounts(plan).macs, 1.0)
    return min(most, max(1.0, math.sqrt(saved)))


def _fit(
    job: Job, modules: Mapping[str, nn.Module], recipe: Recipe, phase: str, checkpoint: str, *, layers: bool = True
) -> History:
    def report(log: EpochLog) -> None:
        job.teacher.flush()
        job.tell(log.event(phase, checkpoint, recipe.epochs, job.task.metric))

    doctor = Doctor(job.schedule.care, job.hear, fresh=False)
    lesson = job.lesson(modules, layers=layers)
    with job.phase(phase.split()[0]):
        if not job.examined:
            job.examined = True
            job.distill = doctor.examine(lesson, job.task, job.task.train_batches(0), job.distill)
            lesson = job.lesson(modules, layers=layers)
        logs = fit(
            lesson,
            job.task.train_batches,
            recipe,
            seed=job.schedule.seed,
            validate=lambda: job.score(modules, "validation").value,
            higher_is_better=job.task.metric.higher_is_better,
            checkpoint=job.run.checkpoint(checkpoint),
            report=report,
            doctor=doctor,
        )
    for finding in doctor.findings:  # those of a phase that was killed and taken up again too
        job.hear(finding)
    return [(phase, log.epoch + 1, log.loss, log.score) for log in logs]


def _finish(
    job: Job,
    source: Source,
    facts: TeacherFacts,
    plan: Plan,
    modules: Mapping[str, nn.Module],
    files: Mapping[Format, File],
    checks: list[LimitCheck],
    history: History,
    ending: Ending,
) -> CompressionResult:
    """Reads the test split, once, and writes the result and its report."""
    artifacts = {}
    for number, (format, file) in enumerate(files.items()):
        with job.phase("score"):
            job.report("score", number, len(files), f"test split through the {format} file")
            score = job.score_file(file.path, "test")
        artifacts[format] = Artifact(
            format=format,
            path=file.path,
            size_bytes=file.size_bytes,
            download_bytes=file.download_bytes,
            validation_score=file.validation_score,
            score=score,
            parity=file.parity,
            latency=None if file.latency is None else file.latency.main,
            use=None if file.latency is None else file.latency.use,
        )
    if any(check.format is not None and check.used >= _WELL_USED for check in checks) and not plan.cuts_nothing:
        ending = Ending.BUDGET_USED
    result = CompressionResult(
        task=job.task.name,
        budget=job.budget,
        metric=job.task.metric,
        teacher=facts,
        artifacts=artifacts,
        limits=checks,
        plan=plan,
        student=nn.ModuleDict(dict(modules)) if len(modules) > 1 else next(iter(modules.values())),
        ending=ending,
        history=history,
        layers=source.layers(plan),
        seconds={name: round(value, 2) for name, value in job.seconds.items()},
        rounds=job.rounds,
        notes=(
            *(str(note) for note in getattr(job.task, "notes", ())),
            *source.notes,
            *(f"The doctor, {finding.told()}" for finding in job.findings),
        ),
        pictures=_pictures(job, files),
        sensitivity=source.sensitivity,
    )
    return _report(job, result)


def _pictures(job: Job, files: Mapping[Format, File]) -> list[tuple[str, Path]]:
    """What the teacher and the first file answer, drawn by the task and kept as PNG files."""
    if not isinstance(job.task, Illustrated):
        return []
    format, file = next(iter(files.items()))
    answers: dict[str, Predict] = {
        "teacher": job.teacher_predict(),
        format: file_predictor(file.path),
    }
    folder = job.run.files("pictures")
    drawn = []
    for number, picture in enumerate(job.task.pictures(answers)):
        path = folder / f"{number}.png"
        path.write_bytes(picture.png)
        drawn.append((picture.caption, path))
    return drawn


def _report(job: Job, result: CompressionResult) -> CompressionResult:
    from mobiledistill.report import write_report

    result = replace(result, report_path=job.run.path / "report.html")
    write_text(job.run.path / "doctor.json", findings_to_json(job.findings))
    write_text(job.run.path / "result.json", json.dumps(result.to_dict(), indent=1))
    write_report(result, job.run.path / "report.html")
    return result


def _nearest(job: Job, source: Source, facts: TeacherFacts) -> BudgetError:
    """The narrowest student that beats the trivial answer, briefly trained, with its files."""
    trivial = job.trivial_score()
    none = Recipe(epochs=0)
    for level in (1, 2, 4, 8, 16):
        plan = source.narrow(level)
        short = replace(job.schedule.quantize, epochs=min(2, job.schedule.quantize.epochs))
        modules, history = _train(job, source, plan, job.schedule.quick, short if short.epochs else none)
        learned = _beats(job.task, job.score(modules, "validation"), trivial)
        if learned or plan.cuts_nothing:
            break
    files = write_and_measure(job, modules)
    checks = check_limits(job, files, facts)
    result = _finish(job, source, facts, plan, modules, files, checks, history, Ending.NO_LARGER_FITS)
    return _unreachable(result, "even at its narrowest", learned=learned)


def _unreachable(result: CompressionResult, when: str, *, learned: bool = True) -> BudgetError:
    missed = [check for check in result.limits if check.status == "missed"]
    binding = max(missed or result.limits, key=lambda check: check.used)
    alike = [check for check in result.limits if (check.name, check.limit) == (binding.name, binding.limit)]
    worked = max((check.measured for check in alike if check.measured is not None), default=binding.limit)
    smallest = worked / _REPEATABLE if binding.name in _NOISY else worked
    where = f" on {binding.format}" if binding.format else ""
    told = result.metric.told(result.score.value)
    if missed and learned:
        message = (
            f"No student keeps {binding.name} = {binding.limit:,g}{where} {when}: the smallest value that worked is"
            f" {worked:,.6g} (with {told} after a short training). Raise that limit to {smallest:,.6g} or above."
        )
    else:
        message = (
            f"Students that keep {binding.name} = {binding.limit:,g}{where} answer no better than one that never looks"
            f" at its input ({told} after a short training): raise the limits, train longer, or check the loss."
        )
    folder = next(iter(result.artifacts.values())).path.parent
    return BudgetError(f"{message} The nearest files lie in {folder}.", result, binding, smallest)


def _beats(task: Task, score: Score, trivial: Score) -> bool:
    if task.metric.higher_is_better:
        return score.ci95[0] > trivial.value
    return score.ci95[1] < trivial.value


def _teacher_facts(job: Job, source: Source, cost: CostModel) -> TeacherFacts:
    """Scores and files of the uncut teacher; its file stored like the student's is the cost model's first point."""
    first = job.formats[0]
    with job.phase("teacher"):
        job.report("teacher", 0, 1, f"its scores, and its files in {first}")
        facts = TeacherFacts(
            score=_teacher_score(job, "test"),
            validation_score=_teacher_score(job, "validation"),
            parameters=None,
            size_bytes=job.teacher.size_bytes,
            latency=None,
            use=None,
            quantized_size_bytes=None,
            quantized_latency=None,
            quantized_use=None,
        )
        if job.uncut is None:
            if any(name == "latency_share" for _, name in job.file_limits()):
                raise InputError(
                    "latency_share compares with the teacher's own file, but this teacher is no torch module that could"
                    " be written as one: give a limit in milliseconds (latency_ms)."
                )
            return facts
        return _module_facts(job, source, cost, facts, job.uncut)


def _module_facts(job: Job, source: Source, cost: CostModel, facts: TeacherFacts, module: nn.Module) -> TeacherFacts:
    first = job.formats[0]

    def write(scheme: Scheme, format: Format = first) -> tuple[int, Latency | None]:
        path = teacher_file(job, module, format, scheme)
        return size_bytes(path), job.measure(path, format)

    size, latency = write(None)
    for format, name in job.file_limits():
        if name == "latency_share" and (measured := write(None, format)[1]) is not None:
            job.teacher_ms[format] = measured.use.latency_ms
    quantized_size, quantized_latency = (size, latency) if job.scheme is None else write(job.scheme)
    if isinstance(source, Cuts) and job.student is None:
        full = source.uncut()
        cost.correct((first, "size_bytes"), full, quantized_size)
        if quantized_latency is not None:
            cost.correct((first, "latency_ms"), full, quantized_latency.use.ci95_ms[1])
        if quantized_latency is not None and first in job.teacher_ms:
            share = quantized_latency.use.ci95_ms[1] / job.teacher_ms[first]
            cost.correct((first, "latency_share"), full, share)
    return replace(
        facts,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        size_bytes=size,
        latency=None if latency is None else latency.main,
        use=None if latency is None else latency.use,
        quantized_size_bytes=quantized_size,
        quantized_latency=None if quantized_latency is None else quantized_latency.main,
        quantized_use=None if quantized_latency is None else quantized_latency.use,
    )


def _teacher_score(job: Job, split: Split) -> Score:
    return job.recalled_score(
        [job.teacher.fingerprint, split], lambda: asdict(job.task.evaluate(job.teacher_predict(), split))
    )


def _shape(plan: Plan) -> dict[str, object]:
    return {
        "plan": dict(plan.channels),
        "dropped": plan.dropped,
        "ranks": dict(plan.ranks),
        "layer_bits": dict(plan.layer_bits),
        "width": plan.width,
        "depth": plan.depth,
    }


def _plan_note(plan: Plan) -> str:
    if plan.width is not None:
        return f"width {plan.width}, depth {plan.depth}"
    kept, total = sum(plan.channels.values()), sum(plan.original_channels.values())
    dropped = f", {len(plan.dropped)} blocks left out" if plan.dropped else ""
    products = f", {len(plan.ranks)} layers as products" if plan.ranks else ""
    narrow = f", {len(plan.layer_bits)} layers in {min(plan.layer_bits.values())} bits" if plan.layer_bits else ""
    return f"{kept} of {total} channels{dropped}{products}{narrow}"
