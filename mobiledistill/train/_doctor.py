"""The doctor: looks at a training before and while it runs, says what is wrong, and does what it may."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from converters import InputError
from mobiledistill._schedule import Care
from mobiledistill._task import Batch, Head, Task
from mobiledistill.prune import is_masked
from mobiledistill.quantize._modules import QuantizedLayer
from mobiledistill.quantize._weights import CodedLayer

if TYPE_CHECKING:
    from mobiledistill._lesson import Lesson
    from mobiledistill.distill import Loss

__all__ = ["Doctor", "Finding", "Illness", "findings_to_json", "read_findings"]

_EXAMINED = 4  # batches that the examination looks at in full
_FEW_SAMPLES = 40  # to a class or a kind of answer
_SAMPLED_VALUES = 64  # of a sample, to know it again
_UNIFORM = 0.985  # of all classes: what a softened answer may be spread over
_DUPLICATES = 0.15
_FAR = 3.0  # deviations, or times a deviation
_STARVED = 0.5
_SLOW_TEACHER = 0.6
_BLOWN_UP = 4.0
_RISING = 3  # epochs in a row
_NEAR = 1.5
_NO_PROGRESS = 0.97
_NO_BETTER = 0.95  # of the loss of an answer that never looks
_ENOUGH_STEPS = 100  # before a training can be said to learn nothing
_ENOUGH_SCORES = 10  # before a validation score can be said to fall behind
_FINE_TEMPERATURE = 4.0


class Illness(Enum):
    """What can be wrong with a training.

    Attributes:
        DIVERGES: the loss runs away, or is no longer a number.
        LEARNS_NOTHING: the loss stays where it began.
        FROZEN: most of the student's weights cannot learn.
        TARGETS_TOO_SOFT: the temperature makes all answers alike.
        TEACHER_KNOWS_NOTHING: the teacher is no better on the labels than an answer that never looks.
        LABELS_DISAGREE: the teacher knows something, but the labels say something else; hard and soft losses fight.
        NOT_FINITE: a batch holds NaN or infinity.
        TOO_LITTLE_DATA: few different samples, so that the student learns them by heart.
        DUPLICATES: many samples come twice in an epoch.
        OTHER_INPUTS: training inputs have another scale than those that the model is calibrated and scored on.
        FALLS_BEHIND: the validation score gets worse while the loss falls.
        STARVED: training waits for its batches.
        SLOW_TEACHER: most time goes into answers that were computed before.
    """

    DIVERGES = "diverges"
    LEARNS_NOTHING = "learns nothing"
    FROZEN = "frozen"
    TARGETS_TOO_SOFT = "targets too soft"
    TEACHER_KNOWS_NOTHING = "teacher knows nothing"
    LABELS_DISAGREE = "labels disagree"
    NOT_FINITE = "not finite"
    TOO_LITTLE_DATA = "too little data"
    DUPLICATES = "duplicates"
    OTHER_INPUTS = "other inputs"
    FALLS_BEHIND = "falls behind"
    STARVED = "starved"
    SLOW_TEACHER = "slow teacher"


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor saw.

    Attributes:
        illness: its kind.
        epoch: when, from 1 on; 0: before the first.
        seen: what was measured.
        advice: what to do about it.
        action: what the doctor did; None: nothing.
    """

    illness: Illness
    epoch: int
    seen: str
    advice: str
    action: str | None = None

    def told(self) -> str:
        """One line for people."""
        when = "before training" if self.epoch == 0 else f"epoch {self.epoch}"
        return f"{when}: {self.seen} {f'Done: {self.action}' if self.action else self.advice}"


class Doctor:
    """Watches one training.

    Args:
        care: what it may do.
        tell: called with each finding as it is made.
        fresh: whether the student begins with first weights; one that was cut out of a trained model, or only rounds
            what it has learned, need not get better at once.

    Attributes:
        findings: so far.
        rate: what the learning rate is multiplied by.
    """

    def __init__(
        self,
        care: Care = Care(),  # noqa: B008  (frozen)
        tell: Callable[[Finding], None] | None = None,
        *,
        fresh: bool = True,
    ) -> None:
        self._fresh = fresh
        self._prunes = False  # while weights leave, a loss rises and nothing is wrong
        self.findings: list[Finding] = []
        self.rate = 1.0
        self._care = care
        self._tell = tell
        self._first_loss: float | None = None
        self._worst = 0.0
        self._skipped = 0
        self._rollbacks = 0
        self._waited_s = self._spent_s = self._teacher_s = 0.0
        self._steps = self._all_steps = 0
        self._samples: list[set[int]] = []
        self._rows = 0
        self._classes = 0
        self._has_learned = False
        self._good: dict[str, Any] | None = None
        self._losses: list[float] = []
        self._scores: list[float] = []

    # ---------------------------------------------------------------------------------------- before the training

    def examine(self, lesson: Lesson, task: Task, batches: Iterable[Batch], loss: Loss) -> Loss:
        """Looks at the first batches, the teacher's answers and the student; returns the loss to train with.

        Args:
            lesson: student and teacher.
            task: what is learned.
            batches: of the first epoch.
            loss: what was asked for.
        """
        first = list(islice(batches, _EXAMINED))
        self._classes = min(
            (
                output.shape[-1]
                for batch in first
                for output in task.signatures[batch.signature].outputs.values()
                if output.head is Head.CATEGORICAL and len(output.shape) == 2
            ),
            default=0,
        )
        self._look_at_student(lesson)
        self._look_at_inputs(task, first)
        return self._look_at_teacher(lesson, task, first, loss)

    def _look_at_student(self, lesson: Lesson) -> None:
        self._prunes = is_masked(lesson.students)
        rounds = any(isinstance(part, CodedLayer | QuantizedLayer) for part in lesson.students.modules())
        self._fresh = self._fresh and not rounds
        parameters = list(lesson.students.parameters())
        learning = sum(p.numel() for p in parameters if p.requires_grad)
        total = sum(p.numel() for p in parameters)
        if total and learning < total / 2:
            self._find(
                Illness.FROZEN,
                f"only {learning:,} of the student's {total:,} weights can learn.",
                "Set requires_grad on those that should, or lower the budget's hopes.",
            )

    def _look_at_inputs(self, task: Task, batches: list[Batch]) -> None:
        for name in {batch.signature for batch in batches}:
            calibration = task.calibration_inputs(name)
            for key, known in calibration.items():
                values = [batch.inputs[key] for batch in batches if batch.signature == name and key in batch.inputs]
                if not values or not values[0].is_floating_point():
                    continue
                seen = torch.cat([value.flatten()[:: max(1, value.numel() // 50_000)] for value in values])
                seen = seen[torch.isfinite(seen)]
                like = torch.from_numpy(known).flatten().float()
                spread, apart = float(like.std()), abs(float(seen.mean() - like.mean()))
                wide = float(seen.std()) / max(spread, 1e-12)
                if spread > 0 and (apart > _FAR * spread or not 1 / _FAR < wide < _FAR):
                    self._find(
                        Illness.OTHER_INPUTS,
                        f"input {key!r} has mean {float(seen.mean()):.3g} and deviation {float(seen.std()):.3g} in"
                        f" training, but {float(like.mean()):.3g} and {spread:.3g} where it is calibrated and scored.",
                        "Normalise both the same way.",
                    )

    def _look_at_teacher(self, lesson: Lesson, task: Task, batches: list[Batch], loss: Loss) -> Loss:
        from mobiledistill.distill import HardTargets

        taught = [(batch, lesson.answers(batch)) for batch in batches]
        taught = [(batch, answers) for batch, answers in taught if answers]
        if not taught:
            return loss
        labelled = [(batch, answers) for batch, answers in taught if batch.labelled and _is_finite(batch)]
        if labelled:
            own, blind = _hard_losses(task, labelled)
            if own > _NO_BETTER * blind:
                if _informed(task, labelled):
                    changed = _rewritten(loss, _without_hard) if self._care.change_loss else loss
                    if not _learns_from_teacher(changed):  # it has nothing but the labels
                        changed = loss
                    self._find(
                        Illness.LABELS_DISAGREE,
                        f"the teacher knows its classes apart, but the labels contradict it: their loss is {own:.3g} on"
                        f" its answers and {blind:.3g} on an answer that never looks.",
                        "Check that labels belong to their samples, and that the teacher's classes have their order.",
                        "left the labels out." if changed != loss else None,
                    )
                    return changed
                self._find(
                    Illness.TEACHER_KNOWS_NOTHING,
                    f"the teacher's answers cost {own:.3g} on the labels, an answer that never looks {blind:.3g}.",
                    "Give a teacher that was trained, with inputs normalised as it knows them.",
                    "left the teacher out." if self._care.change_loss else None,
                )
                return HardTargets() if self._care.change_loss else loss
        return self._look_at_temperature(task, taught, loss)

    def _look_at_temperature(self, task: Task, taught: list[tuple[Batch, Mapping[str, Tensor]]], loss: Loss) -> Loss:
        temperatures = [one.temperature for one in _parts(loss) if hasattr(one, "temperature")]
        logits = [
            answers[name].flatten(0, -2)
            for batch, answers in taught
            for name, output in task.signatures[batch.signature].outputs.items()
            if output.head in (Head.CATEGORICAL, Head.SEQUENCE, Head.CTC)
        ]
        if not temperatures or not logits:
            return loss
        hottest = max(temperatures)
        spread = sum(_perplexity(rows / hottest) / rows.shape[-1] for rows in logits) / len(logits)
        if spread < _UNIFORM:
            return loss
        changed = loss
        if self._care.change_loss:
            changed = _rewritten(loss, lambda one: _cooled(one, _FINE_TEMPERATURE))
        self._find(
            Illness.TARGETS_TOO_SOFT,
            f"at temperature {hottest:g} the teacher's answers are {100 * spread:.1f} % of the way to all alike.",
            f"Lower the temperature; {_FINE_TEMPERATURE:g} suits most.",
            f"lowered the temperature to {_FINE_TEMPERATURE:g}." if changed != loss else None,
        )
        return changed

    # ---------------------------------------------------------------------------------------- while it trains

    def accepts(self, batch: Batch, epoch: int) -> bool:
        """Whether a batch may be learned from; called before each step, so it looks at little."""
        self._notice(batch, epoch)
        if _is_finite(batch):
            return True
        self._skipped += 1
        may = self._skipped <= self._care.skip_batches
        if self._skipped == 1 or not may:
            names = [name for name, value in _floats(batch).items() if not bool(torch.isfinite(value).all())]
            self._find(
                Illness.NOT_FINITE,
                f"a batch holds NaN or infinity in {', '.join(names)}.",
                "Find the damaged sample: the batch's number depends on seed and epoch alone.",
                "left the batch out." if may else None,
                epoch + 1,
            )
        return not may

    def step(self, loss: float, waited_s: float, spent_s: float, teacher_s: float) -> None:
        """Takes note of a step: its loss, how long its batch took to come, how long it and its teacher took."""
        self._first_loss = loss if self._first_loss is None else self._first_loss
        self._worst = max(self._worst, loss) if math.isfinite(loss) else math.inf
        self._waited_s += waited_s
        self._spent_s += spent_s
        self._teacher_s += teacher_s
        self._steps += 1
        self._all_steps += 1

    def epoch(
        self,
        epoch: int,
        epochs: int,
        loss: float,
        score: float | None,
        higher_is_better: bool,
        state: Callable[[], dict[str, Any]],
    ) -> dict[str, Any] | None:
        """Judges an epoch; returns the state to go back to, or None to go on.

        Args:
            epoch: its number, from 0.
            epochs: how many there will be.
            loss: its mean.
            score: the validation's, where it was asked for.
            higher_is_better: of that score.
            state: gives all that a later rollback would need.
        """
        first = self._first_loss if self._first_loss is not None else loss
        blew_up = self._worst > _BLOWN_UP * max(abs(first), 1e-6) + 1 or self._rises(loss)
        ran_away = not math.isfinite(loss) or (blew_up and not self._prunes)
        late = epoch >= 2 and self._all_steps >= _ENOUGH_STEPS
        stuck = self._fresh and not self._prunes and late and not self._has_learned and loss > _NO_PROGRESS * first
        self._has_learned = self._has_learned or (late and not stuck)
        if ran_away or stuck:
            if self._rollbacks < self._care.rollbacks and self._good is not None:
                self._rollbacks += 1
                self.rate *= 0.1
                self._find_training(
                    ran_away, first, loss, epoch, f"went back and lowered the rate to {self.rate:g} of it."
                )
                self._worst, self._losses = 0.0, []
                return self._good
            if ran_away or not any(f.illness is Illness.LEARNS_NOTHING for f in self.findings):
                self._find_training(ran_away, first, loss, epoch, None)
        elif self._is_near_the_lowest(loss):
            self._good = state()
        self._losses.append(loss)
        if score is not None:
            self._scores.append(score if higher_is_better else -score)
        self._look_at_gap(epoch)
        self._look_at_time(epoch)
        if epoch == 0:
            self._look_at_samples()
        self._skipped, self._worst = 0, 0.0
        self._waited_s = self._spent_s = self._teacher_s = 0.0
        self._steps = 0
        return None

    def _rises(self, loss: float) -> bool:
        """Whether the loss, low once, has been rising for some epochs and is far from where it was."""
        last = [*self._losses[-_RISING:], loss]
        rising = len(last) > _RISING and all(one < two for one, two in pairwise(last))
        return rising and loss > _BLOWN_UP * min(self._losses) > 0

    def _is_near_the_lowest(self, loss: float) -> bool:
        lowest = min(self._losses, default=loss)
        return lowest <= 0 or loss <= _NEAR * lowest  # some losses are below 0 at their best

    def start(self, state: Callable[[], dict[str, Any]]) -> None:
        """Keeps what a rollback from the first epoch would need."""
        if self._care.rollbacks:
            self._good = state()

    def _find_training(self, ran_away: bool, first: float, loss: float, epoch: int, action: str | None) -> None:
        if ran_away:
            lowest = min([first, *self._losses])
            seen = f"the loss began at {first:.3g}, fell to {lowest:.3g} and reached {self._worst:.3g}."
            self._find(Illness.DIVERGES, seen, "Lower learning_rate by ten, or warm up longer.", action, epoch + 1)
        else:
            seen = f"the loss began at {first:.3g} and is {loss:.3g} after {epoch + 1} epochs."
            advice = "Change learning_rate by ten, or look at what the student is given."
            self._find(Illness.LEARNS_NOTHING, seen, advice, action, epoch + 1)

    def _notice(self, batch: Batch, epoch: int) -> None:
        """Remembers which samples came, by a few of their values."""
        if epoch > 1:
            return
        while len(self._samples) <= epoch:
            self._samples.append(set())
        value = next(iter(batch.inputs.values()))
        rows = value.flatten(1)
        sampled = rows[:, :: max(1, rows.shape[1] // _SAMPLED_VALUES)].contiguous().cpu().numpy()
        self._samples[epoch].update(zlib.crc32(row) for row in sampled)
        self._rows += len(rows) if epoch == 0 else 0

    def _look_at_samples(self) -> None:
        different = len(self._samples[0]) if self._samples else 0
        if self._rows and different < (1 - _DUPLICATES) * self._rows:
            self._find(
                Illness.DUPLICATES,
                f"an epoch of {self._rows:,} samples holds {different:,} different ones.",
                "Leave the copies out: they count double and cost time; a copy in another split makes scores lie.",
                epoch=1,
            )
        if 0 < different < _FEW_SAMPLES * self._classes:
            self._find(
                Illness.TOO_LITTLE_DATA,
                f"{different:,} different samples teach {self._classes} classes.",
                "Add data without labels (TransferSet) or augment more: the teacher answers whatever it is shown.",
                epoch=1,
            )

    def _look_at_gap(self, epoch: int) -> None:
        known = any(finding.illness is Illness.FALLS_BEHIND for finding in self.findings)
        if len(self._scores) >= _ENOUGH_SCORES and not known and len(self._losses) >= _ENOUGH_SCORES:
            best = max(self._scores[:-3])
            span = max(self._scores) - min(self._scores)
            if all(score < best - 0.3 * span for score in self._scores[-3:]) and self._losses[-1] < self._losses[-4]:
                self._find(
                    Illness.FALLS_BEHIND,
                    "the validation score has been getting worse while the loss fell.",
                    "Stop earlier (Recipe(patience=...)), augment more, or add unlabelled data (TransferSet).",
                    epoch=epoch + 1,
                )

    def _look_at_time(self, epoch: int) -> None:
        told = {finding.illness for finding in self.findings}
        total = self._waited_s + self._spent_s
        share = self._teacher_s / total if total else 0.0
        if share > _SLOW_TEACHER and Illness.SLOW_TEACHER not in told and self._comes_again(epoch):
            self._find(
                Illness.SLOW_TEACHER,
                f"the teacher takes {100 * share:.0f} % of the time to answer samples that it has answered before.",
                "Keep its answers: teacher=md.teachers.Cached(teacher, folder).",
                epoch=epoch + 1,
            )
        if total and self._waited_s > _STARVED * total and self._steps > 3 and Illness.STARVED not in told:
            self._find(
                Illness.STARVED,
                f"training waits for its batches {100 * self._waited_s / total:.0f} % of the time.",
                "Prepare samples once instead of in each epoch, or load them in worker processes.",
                epoch=epoch + 1,
            )

    def _comes_again(self, epoch: int) -> bool:
        """Whether the samples of the second epoch are those of the first, unchanged."""
        if epoch != 1 or len(self._samples) < 2 or not self._samples[1]:
            return False
        return len(self._samples[0] & self._samples[1]) > 0.9 * len(self._samples[1])

    def _find(self, illness: Illness, seen: str, advice: str, action: str | None = None, epoch: int = 0) -> None:
        finding = Finding(illness, epoch, seen, advice, action)
        self.findings.append(finding)
        if self._tell is not None:
            self._tell(finding)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "findings": [_plain(one) for one in self.findings],
            "rate": self.rate,
            "rollbacks": self._rollbacks,
            "first_loss": self._first_loss,
            "steps": self._all_steps,
            "learned": self._has_learned,
            "losses": self._losses,
            "scores": self._scores,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.findings = [_finding(one) for one in state["findings"]]
        self.rate, self._rollbacks, self._first_loss = state["rate"], state["rollbacks"], state["first_loss"]
        self._all_steps, self._has_learned = state["steps"], state["learned"]
        self._losses, self._scores = list(state["losses"]), list(state["scores"])


def findings_to_json(findings: Iterable[Finding]) -> str:
    """Findings as JSON text, for ``read_findings``."""
    return json.dumps([_plain(finding) for finding in findings], indent=1)


def read_findings(path: Path) -> list[Finding]:
    """What ``findings_to_json`` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return [_finding(one) for one in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no findings of the doctor ({type(error).__name__}): run again.") from None


def _plain(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "illness": finding.illness.value}


def _finding(one: Mapping[str, Any]) -> Finding:
    return Finding(**{**one, "illness": Illness(one["illness"])})


def _hard_losses(task: Task, labelled: list[tuple[Batch, Mapping[str, Tensor]]]) -> tuple[float, float]:
    """The task's loss on the teacher's answers, and on their mean, which never looks."""
    own, blind = 0.0, 0.0
    with torch.no_grad():
        for batch, answers in labelled:
            own += float(task.loss(answers, batch))
            means = {
                name: value.mean(0, keepdim=True).expand_as(value) if value.is_floating_point() else value
                for name, value in answers.items()
            }
            blind += float(task.loss(means, batch))
    return own / len(labelled), blind / len(labelled)


def _informed(task: Task, labelled: list[tuple[Batch, Mapping[str, Tensor]]]) -> bool:
    """Whether single answers are much surer than all together: then the teacher tells its classes apart."""
    shares = []
    for batch, answers in labelled:
        for name, output in task.signatures[batch.signature].outputs.items():
            if output.head in (Head.CATEGORICAL, Head.SEQUENCE, Head.CTC):
                likely = functional.softmax(answers[name].flatten(0, -2), -1)
                together = _entropy(likely.mean(0, keepdim=True))
                shares.append(float((together - _entropy(likely)) / together.clamp_min(1e-6)))
    return bool(shares) and sum(shares) / len(shares) > 0.4


def _entropy(likely: Tensor) -> Tensor:
    return -(likely * likely.clamp_min(1e-12).log()).sum(-1).mean()


def _perplexity(rows: Tensor) -> float:
    return float(_entropy(functional.softmax(rows, -1)).exp())


def _parts(loss: Any) -> list[Any]:
    """A loss and all losses inside it."""
    found = [loss]
    for field in dataclasses.fields(loss) if dataclasses.is_dataclass(loss) else ():
        value = getattr(loss, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if hasattr(one, "bind") and hasattr(one, "of_outputs"):
                found += _parts(one)
    return found


def _rewritten(loss: Any, change: Callable[[Any], Any]) -> Any:
    """The same loss with some of those inside it changed."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(loss) if dataclasses.is_dataclass(loss) else ():
        value = getattr(loss, field.name)
        if isinstance(value, tuple) and value and all(hasattr(one, "bind") for one in value):
            values[field.name] = tuple(_rewritten(one, change) for one in value)
        elif hasattr(value, "bind") and hasattr(value, "of_outputs"):
            values[field.name] = _rewritten(value, change)
    if any(values[name] != getattr(loss, name) for name in values):
        loss = copy.copy(loss)
        for name, value in values.items():
            object.__setattr__(loss, name, value)
    return change(loss)


def _learns_from_teacher(loss: Any) -> bool:
    from mobiledistill.distill import HardTargets

    return any(not isinstance(one, HardTargets) for one in _parts(loss) if len(_parts(one)) == 1)


def _without_hard(loss: Any) -> Any:
    from mobiledistill.distill import HardTargets

    if isinstance(loss, HardTargets):
        return 0 * loss
    if getattr(loss, "hard", 0) and getattr(loss, "soft", 0):
        return replace(loss, hard=0.0)
    return loss


def _cooled(loss: Any, temperature: float) -> Any:
    hot = getattr(loss, "temperature", 0.0)
    return replace(loss, temperature=temperature) if hot > temperature else loss


def _floats(batch: Batch) -> dict[str, Tensor]:
    return {
        name: value
        for part in (batch.inputs, batch.targets)
        for name, value in part.items()
        if value.is_floating_point()
    }


def _is_finite(batch: Batch) -> bool:
    # A sum is finite where all its terms are; infinities of both signs give NaN.
    return all(math.isfinite(float(value.sum())) for value in _floats(batch).values())
