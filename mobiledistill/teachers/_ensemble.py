"""Several teachers as one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from converters import InputError
from mobiledistill._task import Head, Task
from mobiledistill.teachers._base import Answers, Teacher

__all__ = ["Ensemble", "Specialist"]

_TINY = 1e-12


class Specialist(Teacher):
    """A teacher who knows some of the classes only (Hinton, Vinyals and Dean 2015, section 5).

    In an :class:`Ensemble` it decides how its classes share what the others give them together; between these classes
    and the rest it has no say. You gain a small expert for classes that are easily confused.

    Example:
        >>> from tests.networks import Residual
        >>> expert = Specialist(TorchTeacher(Residual()), classes=(1, 3))

    Args:
        teacher: who answers; its logits for other classes are not read.
        classes: which it knows; two or more.

    Raises:
        InputError: there are fewer than two classes, or one is negative.
    """

    def __init__(self, teacher: Teacher, classes: Sequence[int]) -> None:
        if len(set(classes)) < 2 or min(classes) < 0:
            raise InputError(f"A specialist knows two classes or more, 0 and above, but got {tuple(classes)!r}.")
        self.classes = tuple(sorted(set(classes)))
        self._teacher = teacher

    @property
    def fingerprint(self) -> str:
        return _digest([self._teacher.fingerprint, self.classes])

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        return self._teacher.answers(task, inputs, signature, layers)

    def flush(self) -> None:
        self._teacher.flush()


class Ensemble(Teacher):
    """The weighted mean of several teachers' softened answers.

    You gain what independent errors cancel, often more than a larger teacher would; it costs each teacher's time, so
    put it into a :class:`Cached`. Categories are averaged as probabilities at ``temperature`` and given back as logits
    of that temperature, so that soft targets at the same one see exactly that mean; binary answers likewise, numbers
    as they are. An ensemble cannot be looked into.

    Example:
        >>> from mobiledistill.teachers import TorchTeacher
        >>> from tests.networks import Residual
        >>> teacher = Ensemble([TorchTeacher(Residual()), TorchTeacher(Residual())], temperature=4.0)

    Args:
        teachers: two or more, at least one of them no specialist.
        weights: of each teacher, above 0; None: all alike.
        temperature: at which answers are averaged, above 0; that of the loss.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self, teachers: Sequence[Teacher], *, weights: Sequence[float] | None = None, temperature: float = 4.0
    ) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if len(teachers) < 2 or len(weights) != len(teachers) or not all(weight > 0 for weight in weights):
            raise InputError(
                f"An ensemble needs two teachers or more and a weight above 0 for each, but got {len(teachers)} and"
                f" {weights!r}."
            )
        if all(isinstance(teacher, Specialist) for teacher in teachers):
            raise InputError("An ensemble needs a teacher who knows all classes, but all of these are specialists.")
        if not temperature > 0:
            raise InputError(f"temperature must be above 0, but got {temperature!r}.")
        self._members = list(zip(teachers, weights, strict=True))
        self._temperature = temperature

    @property
    def fingerprint(self) -> str:
        members = [(teacher.fingerprint, weight) for teacher, weight in self._members]
        return _digest([members, self._temperature])

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        said = [teacher.answers(task, inputs, signature).outputs for teacher, _ in self._members]
        outputs = task.signatures[signature].outputs
        return Answers({name: self._mean([one[name] for one in said], output.head) for name, output in outputs.items()})

    def flush(self) -> None:
        for teacher, _ in self._members:
            teacher.flush()

    def _mean(self, said: list[Tensor], head: Head) -> Tensor:
        if head in (Head.REGRESSION, Head.STATE):
            return self._weighted(said)
        if head is Head.BINARY:
            likely = self._weighted([torch.sigmoid(one / self._temperature) for one in said])
            return self._temperature * torch.logit(likely, eps=1e-7)
        likely = self._weighted([torch.softmax(one / self._temperature, -1) for one in said])
        for (teacher, weight), one in zip(self._members, said, strict=True):
            if isinstance(teacher, Specialist):
                likely = self._shared_anew(likely, one, teacher.classes, weight)
        return self._temperature * likely.clamp_min(_TINY).log()

    def _weighted(self, values: list[Tensor]) -> Tensor:
        """The mean over those who know everything."""
        known = [
            (value, weight)
            for (teacher, weight), value in zip(self._members, values, strict=True)
            if not isinstance(teacher, Specialist)
        ]
        total = sum(weight for _, weight in known)
        return torch.stack([value * (weight / total) for value, weight in known]).sum(0)

    def _shared_anew(self, likely: Tensor, said: Tensor, classes: tuple[int, ...], weight: float) -> Tensor:
        """What some classes have together, shared by the mean of what all say and what the specialist says."""
        general = sum(w for teacher, w in self._members if not isinstance(teacher, Specialist))
        mass = likely[..., classes].sum(-1, keepdim=True)
        shares = likely[..., classes] / mass.clamp_min(_TINY)
        expert = torch.softmax(said[..., classes] / self._temperature, -1)
        changed = likely.clone()
        changed[..., classes] = mass * (general * shares + weight * expert) / (general + weight)
        return changed


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
