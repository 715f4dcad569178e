"""What every distillation loss is: a wish that is bound to a student and a teacher, and then judges their steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from torch import Tensor, nn

from converters import InputError
from mobiledistill._task import Output

T = TypeVar("T")

__all__ = ["Bound", "BoundParts", "Loss", "OutputLoss", "Pair", "Step", "check_temperature", "check_weights"]


@dataclass(frozen=True)
class Step:
    """What a loss may look at in one training step.

    Attributes:
        student: the student's outputs by name, with gradients.
        teacher: the teacher's outputs by name, without; empty where there is no teacher.
        outputs: what each output means.
        hard: the task's own loss on the true targets, a scalar with gradients; 0 where the batch has no labels.
        targets: the batch's, masks among them.
        inputs: what the student read, by name.
        student_layers: outputs of the student's layers that the loss is bound to, by path.
        teacher_layers: likewise of the teacher's, without gradients.
        progress: how much of the training is over, 0 to 1.
        ask: the step that other inputs would have been, with the same targets.
        hard_of: the task's own loss of other outputs.
    """

    student: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    outputs: Mapping[str, Output]
    hard: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    student_layers: Mapping[str, Tensor] = field(default_factory=dict)
    teacher_layers: Mapping[str, Tensor] = field(default_factory=dict)
    progress: float = 0.0
    ask: Callable[[Mapping[str, Tensor]], Step] | None = None
    hard_of: Callable[[Mapping[str, Tensor]], Tensor] | None = None

    def mask(self, name: str) -> Tensor | None:
        """Which places of an output count, and how much; None: all alike."""
        mask = self.outputs[name].mask
        return None if mask is None else self.targets[mask]


@dataclass(frozen=True)
class Pair:
    """Student and teacher before training, for what a loss has to look up or to make once.

    Attributes:
        student_layers: shape of every layer's output at batch 1, by path, in the order in which they answer.
        teacher_layers: likewise; empty where the teacher has no layers to look into (a file, answers on disk).
        outputs: what each output means.
    """

    student_layers: Mapping[str, tuple[int, ...]]
    teacher_layers: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, Output]


class Bound(nn.Module):
    """A loss bound to one student and one teacher; what it learns itself, it learns with the student.

    Args:
        student_layers: paths of the student's layers whose outputs ``forward`` reads.
        teacher_layers: likewise of the teacher's.
    """

    def __init__(self, student_layers: tuple[str, ...] = (), teacher_layers: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.student_layers = student_layers
        self.teacher_layers = teacher_layers

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The scalar loss of one step."""


class Loss(ABC):
    """A distillation loss; ``2 * a + b`` is one too, and ``a.then(b)``."""

    @abstractmethod
    def bind(self, pair: Pair) -> Bound:
        """Looks up the layers it wants and makes what it has to learn.

        Raises:
            InputError: a layer does not exist or does not fit.
        """

    @abstractmethod
    def of_outputs(self) -> OutputLoss | None:
        """The part that needs outputs alone; None: there is none.

        It is what a student with rounded weights goes on with, whose layers are no longer the ones it had.
        """

    @property
    def reads_layers(self) -> bool:
        """Whether it looks into student and teacher; then both are asked for their layers before training."""
        return True

    def then(self, later: Loss, at: float = 0.5) -> Loss:
        """This loss for the first share of the training, another one for the rest.

        Args:
            later: what comes after, for example both targets after soft ones alone.
            at: share of the training, above 0 and below 1.
        """
        if not 0 < at < 1:
            raise InputError(f"at must lie between 0 and 1, but got {at!r}.")
        return _Then(self, later, at)

    def on(self, *outputs: str) -> Loss:
        """This loss on some of the outputs alone; the task's own loss stays as it is.

        Args:
            outputs: their names.
        """
        if not outputs:
            raise InputError("on() needs the name of one output or more.")
        return _On(self, outputs)

    def __add__(self, other: Loss) -> Loss:
        return _Sum(self, other)

    def __mul__(self, factor: float) -> Loss:
        if not factor >= 0:
            raise InputError(f"A loss cannot be weighted with {factor!r}; give 0 or more.")
        return _Scaled(self, factor)

    __rmul__ = __mul__


class OutputLoss(Loss):
    """A loss that needs the outputs of one step, and nothing more."""

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """The scalar loss of one step."""

    def bind(self, pair: Pair) -> Bound:
        return _BoundOutputs(self)

    def of_outputs(self) -> OutputLoss | None:
        return self

    @property
    def reads_layers(self) -> bool:
        return False


class _BoundOutputs(Bound):
    def __init__(self, loss: OutputLoss) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, step: Step) -> Tensor:
        return self._loss(step)


class BoundParts(Bound):
    """Several bound losses; reads what any of them reads."""

    def __init__(self, parts: list[Bound]) -> None:
        super().__init__(
            tuple(dict.fromkeys(path for part in parts for path in part.student_layers)),
            tuple(dict.fromkeys(path for part in parts for path in part.teacher_layers)),
        )
        self.parts = nn.ModuleList(parts)


class _BoundMany(BoundParts):
    """Their sum, weighted by a function of the step and their number."""

    def __init__(self, parts: list[Bound], weigh: Callable[[Step, int], float]) -> None:
        super().__init__(parts)
        self._weigh = weigh

    def forward(self, step: Step) -> Tensor:
        weights = [self._weigh(step, place) for place in range(len(self.parts))]
        found: Tensor = sum(
            (part(step) * weight for part, weight in zip(self.parts, weights, strict=True) if weight),
            start=step.hard * 0,
        )
        return found


@dataclass(frozen=True)
class _Sum(Loss):
    first: Loss
    second: Loss

    def bind(self, pair: Pair) -> Bound:
        return _BoundMany([self.first.bind(pair), self.second.bind(pair)], lambda *_: 1.0)

    @property
    def reads_layers(self) -> bool:
        return self.first.reads_layers or self.second.reads_layers

    def of_outputs(self) -> OutputLoss | None:
        first, second = self.first.of_outputs(), self.second.of_outputs()
        return _OutputSum(((first, 1.0), (second, 1.0))) if first and second else first or second


@dataclass(frozen=True)
class _Scaled(Loss):
    loss: Loss
    factor: float

    def bind(self, pair: Pair) -> Bound:
        return _BoundMany([self.loss.bind(pair)], lambda *_: self.factor)

    @property
    def reads_layers(self) -> bool:
        return self.loss.reads_layers

    def of_outputs(self) -> OutputLoss | None:
        loss = self.loss.of_outputs()
        return loss and _OutputSum(((loss, self.factor),))


@dataclass(frozen=True)
class _Then(Loss):
    first: Loss
    later: Loss
    at: float

    def bind(self, pair: Pair) -> Bound:
        return _BoundMany(
            [self.first.bind(pair), self.later.bind(pair)],
            lambda step, place: float((step.progress >= self.at) == bool(place)),
        )

    @property
    def reads_layers(self) -> bool:
        return self.first.reads_layers or self.later.reads_layers

    def of_outputs(self) -> OutputLoss | None:
        return self.later.of_outputs()


@dataclass(frozen=True)
class _On(Loss):
    loss: Loss
    names: tuple[str, ...]

    def bind(self, pair: Pair) -> Bound:
        if missing := [name for name in self.names if name not in pair.outputs]:
            raise InputError(f"There is no output {missing[0]!r}; the signature has {', '.join(pair.outputs)}.")
        return _BoundOn(self.loss.bind(replace(pair, outputs=self._some(pair.outputs))), self)

    @property
    def reads_layers(self) -> bool:
        return self.loss.reads_layers

    def of_outputs(self) -> OutputLoss | None:
        loss = self.loss.of_outputs()
        return loss and _OutputOn(loss, self)

    def narrowed(self, step: Step) -> Step:
        """The step as if it had these outputs alone."""
        ask = step.ask
        return replace(
            step,
            student=self._some(step.student),
            teacher=self._some(step.teacher),
            outputs=self._some(step.outputs),
            ask=None if ask is None else lambda inputs: self.narrowed(ask(inputs)),
        )

    def _some(self, named: Mapping[str, T]) -> dict[str, T]:
        return {name: value for name, value in named.items() if name in self.names}


class _BoundOn(Bound):
    def __init__(self, loss: Bound, on: _On) -> None:
        super().__init__(loss.student_layers, loss.teacher_layers)
        self.loss = loss
        self._on = on

    def forward(self, step: Step) -> Tensor:
        value: Tensor = self.loss(self._on.narrowed(step))
        return value


@dataclass(frozen=True)
class _OutputOn(OutputLoss):
    loss: OutputLoss
    where: _On

    def __call__(self, step: Step) -> Tensor:
        return self.loss(self.where.narrowed(step))


@dataclass(frozen=True)
class _OutputSum(OutputLoss):
    parts: tuple[tuple[OutputLoss, float], ...]

    def __call__(self, step: Step) -> Tensor:
        found: Tensor = sum((loss(step) * weight for loss, weight in self.parts), start=step.hard * 0)
        return found


def check_temperature(temperature: float) -> None:
    """What divides logits must be above 0."""
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, but got {temperature!r}.")


def check_weights(**weights: float) -> None:
    """Weights of the parts of one loss; ``SoftTargets`` has ``hard`` and ``soft``."""
    if not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
        names, values = " and ".join(weights), ", ".join(map(repr, weights.values()))
        raise InputError(f"{names} must not be negative nor both 0, but got {values}.")
