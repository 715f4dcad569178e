"""advise: which teacher for which student is worth a long training, from short ones."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from converters import FORMATS, InputError, size_bytes
from mobiledistill._budget import Budget
from mobiledistill._job import teacher_predict
from mobiledistill._progress import Event, Progress
from mobiledistill._schedule import Recipe
from mobiledistill._student import check_module, export, integers_of, predictor, programs_of, signature_modules
from mobiledistill._task import Metric, Score, Task
from mobiledistill._teach import train_model
from mobiledistill.distill import Loss
from mobiledistill.quantize import Int8, Scheme
from mobiledistill.teachers import Teacher, Teachers, as_teacher

__all__ = ["Advice", "PairAdvice", "advise"]

_WIDE_GAP = 30.0  # times the student's weights: where papers begin to take assistants
_PROBE = Recipe(epochs=3, learning_rate=3e-3)


@dataclass(frozen=True)
class PairAdvice:
    """One pair after a short training.

    Attributes:
        teacher: its name; None: the student learned from the task alone.
        student: its name.
        score: the student's, on the validation.
        teacher_score: likewise.
        gain: how much better than alone, in the metric's unit; above 0 is better.
        capacity_gap: the teacher's weights to one of the student's; None where nobody knows them.
        fits: whether the student's file, untrained, keeps the budget's bytes in every format.
        why: the verdict in words.
    """

    teacher: str | None
    student: str
    score: Score
    teacher_score: Score | None
    gain: float
    capacity_gap: float | None
    fits: bool
    why: str


@dataclass(frozen=True)
class Advice:
    """All pairs, the best first.

    Attributes:
        pairs: those worth a training come first.
        metric: of the scores.

    Example:
        >>> print(advice)  # doctest: +SKIP
        wide -> small: accuracy 91.2 %, +3.1 to learning alone; worth a long training.
    """

    pairs: tuple[PairAdvice, ...]
    metric: Metric

    @property
    def best(self) -> PairAdvice:
        """The pair to train in full."""
        return self.pairs[0]

    def __str__(self) -> str:
        return "\n".join(
            f"{pair.teacher or 'alone'} -> {pair.student}: {self.metric.told(pair.score.value)}, {pair.gain:+.2f} to"
            f" learning alone; {pair.why}"
            for pair in self.pairs
        )


def advise(
    task: Task,
    teachers: Mapping[str, Teachers],
    students: Mapping[str, nn.Module],
    *,
    budget: Budget | None = None,
    distill: Loss | None = None,
    probe: Recipe = _PROBE,
    quantize: Scheme = Int8(),  # noqa: B008  (frozen)
    workdir: str | Path = "runs/advice",
    seed: int = 0,
    progress: Progress | None = None,
) -> Advice:
    """Trains every pair for a short while and says which is worth a long one, and why.

    You gain hours: a teacher far larger than its student often teaches worse than one in between (Mirzadeh et al.
    2020), and a file that is too large shows before any training. A probe is no proof: pairs that lie within each
    other's intervals are as good as equal, and small students gain late. The same call again recalls what it trained.

    Example:
        >>> advice = advise(task, {"large": large, "onnx": "teacher.onnx"}, {"small": small})  # doctest: +SKIP
        >>> print(advice.best.why)  # doctest: +SKIP

    Args:
        task: what is learned; only its training and validation data are looked at.
        teachers: candidates by name: modules, paths, lists, anything of ``mobiledistill.teachers``.
        students: untrained candidates by name; not changed.
        budget: whose limits on bytes a student must keep; None: any size.
        distill: the loss; None: soft targets.
        probe: how each pair is trained.
        quantize: how students will be stored, for the bytes.
        workdir: keeps the short trainings.
        seed: of everything random.
        progress: called as work gets done.

    Raises:
        InputError: there is no teacher or no student, or one does not fit the task.
    """
    if not teachers or not students:
        raise InputError(f"advise needs a teacher and a student at least, but got {len(teachers)} and {len(students)}.")
    known = {name: as_teacher(given) for name, given in teachers.items()}
    for teacher in known.values():
        teacher.check(task)
    for name, student in students.items():
        check_module(task, student, f"student {name!r}")
    scores = {name: _teacher_score(task, teacher) for name, teacher in known.items()}
    sign = 1.0 if task.metric.higher_is_better else -1.0
    total = len(students) * (1 + len(known))
    pairs: list[PairAdvice] = []

    def probed(name: str, whose: str | None) -> Score:
        if progress is not None:
            progress(Event("advise", len(pairs), total, f"{whose or 'alone'} -> {name}"))
        teacher = None if whose is None else known[whose]
        net = train_model(
            copy.deepcopy(students[name]), task, probe, workdir=workdir, seed=seed, teacher=teacher,
            distill=distill if teacher is not None else None,
        )  # fmt: skip
        return task.evaluate(predictor(task, signature_modules(task, net)), "validation")

    for name, student in students.items():
        fits = _fits(task, student, budget, quantize)
        alone = probed(name, None)
        pairs.append(
            PairAdvice(None, name, alone, None, 0.0, None, fits, "no teacher: what the others are held against.")
        )
        for whose, teacher in known.items():
            score = probed(name, whose)
            gap = None if teacher.module is None else _weights(teacher.module) / max(1, _weights(student))
            pairs.append(
                PairAdvice(whose, name, score, scores[whose], sign * (score.value - alone.value), gap, fits, "")
            )
    judged = [pair if pair.teacher is None else _judged(pair, pairs, known, students, sign) for pair in pairs]
    return Advice(tuple(sorted(judged, key=lambda pair: (not pair.fits, -sign * pair.score.value))), task.metric)


def _judged(
    pair: PairAdvice,
    pairs: list[PairAdvice],
    teachers: Mapping[str, Teacher],
    students: Mapping[str, nn.Module],
    sign: float,
) -> PairAdvice:
    (alone,) = (other for other in pairs if other.student == pair.student and other.teacher is None)
    mates = [other for other in pairs if other.student == pair.student and other.teacher not in (None, pair.teacher)]
    better = max(mates, key=lambda other: other.gain, default=None)
    if not pair.fits:
        return replace(pair, why="the student's file is too large for the budget before any training.")
    if pair.teacher_score is not None and sign * pair.teacher_score.value < sign * alone.score.value:
        return replace(pair, why="the teacher is worse than the student alone after a short training: leave it out.")
    if pair.gain > 0 and (better is None or pair.gain >= better.gain):
        apart = pair.score.ci95[0] > alone.score.ci95[1] or pair.score.ci95[1] < alone.score.ci95[0]
        doubt = "" if apart else " (the gain lies within the intervals of so short a training)"
        return replace(pair, why=f"worth a long training{doubt}.")
    if pair.capacity_gap is not None and pair.capacity_gap > _WIDE_GAP:
        return replace(pair, why=_through_assistant(pair, teachers, students))
    if better is not None and better.gain > pair.gain:
        return replace(pair, why=f"{better.teacher} teaches it better.")
    return replace(pair, why="no gain yet: train longer before you decide, or take the labels alone.")


def _through_assistant(pair: PairAdvice, teachers: Mapping[str, Teacher], students: Mapping[str, nn.Module]) -> str:
    """Names the candidate whose size lies best between the two."""
    small = _weights(students[pair.student])
    large = small * (pair.capacity_gap or 1.0)
    between = {name: _weights(net) for name, net in students.items()}
    between |= {name: _weights(one.module) for name, one in teachers.items() if one.module is not None}
    middle = {name: size for name, size in between.items() if 2 * small < size < large / 2}
    text = f"the teacher has {pair.capacity_gap:.0f} times the weights, and it shows"
    if not middle:
        return f"{text}: put an assistant of about {math.sqrt(small * large):,.0f} weights between them."
    nearest = min(middle, key=lambda name: abs(math.log(middle[name] / math.sqrt(small * large))))
    return f"{text}: teach {nearest} first, and let that teach {pair.student}."


def _teacher_score(task: Task, teacher: Teacher) -> Score:
    return task.evaluate(teacher_predict(task, teacher), "validation")


def _fits(task: Task, student: nn.Module, budget: Budget | None, scheme: Scheme) -> bool:
    limits = (
        [] if budget is None else [one for one in budget.limits(FORMATS) if one.name == "size_bytes" and one.format]
    )
    if not limits:
        return True
    formats = tuple(dict.fromkeys(limit.format for limit in limits if limit.format is not None))
    with tempfile.TemporaryDirectory() as folder:
        programs = programs_of(task, integers_of(task, copy.deepcopy(student).eval(), scheme))
        paths = export(programs, formats, Path(folder), scheme)
        return all(size_bytes(paths[limit.format]) <= limit.value for limit in limits if limit.format is not None)


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
