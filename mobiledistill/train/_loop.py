"""The one training loop; teachers, students and quantized students all pass through it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from converters import InputError, TrainingError
from mobiledistill._progress import Event
from mobiledistill._schedule import Recipe
from mobiledistill._task import Batch, Metric
from mobiledistill.train._doctor import Doctor

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["EpochLog", "fit"]

_SCORES = 20
_LARGEST_NORM = 5.0  # of all gradients together
_HELD_BYTES = 2_000_000_000  # of an epoch's batches, which are held to know how many there are


@dataclass(frozen=True)
class EpochLog:
    """What one epoch came to: its mean training loss and, where it was asked for, the validation score."""

    epoch: int
    loss: float
    score: float | None

    def event(self, phase: str, training: str, epochs: int, metric: Metric) -> Event:
        """What those who watch are told."""
        numbers, note = {"loss": self.loss}, f"loss {self.loss:.3f}"
        if self.score is not None:
            numbers[metric.name] = self.score
            note += f", {metric.told(self.score)}"
        return Event(phase, self.epoch + 1, epochs, note, training, numbers)


def fit(
    lesson: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    recipe: Recipe,
    *,
    seed: int = 0,
    validate: Callable[[], float] | None = None,
    higher_is_better: bool = True,
    checkpoint: Path | None = None,
    report: Callable[[EpochLog], None] | None = None,
    doctor: Doctor | None = None,
) -> tuple[EpochLog, ...]:
    """Trains ``lesson`` in place.

    With a ``checkpoint`` the state is written after every epoch, and a later call with the same arguments goes on
    from there and ends with the same weights as if it had never stopped.

    Under ``accelerate launch`` every process takes its share of each batch, so that together they do what one process
    does with the whole of it; what is computed over a batch (batch norm, relations) sees the process's share alone.

    Args:
        lesson: a batch and the training's progress (0 to 1) to a scalar loss; all its parameters learn.
        batches: epoch number -> that epoch's batches, the same in every process and at every call.
        recipe: epochs, rate, decay.
        seed: of torch's generator, set anew at each epoch.
        validate: scores what has been learned, after each epoch or some of them.
        higher_is_better: of those scores.
        checkpoint: file to write and to go on from.
        report: called after each epoch.
        doctor: watches, and may leave a batch out or go back to an earlier epoch.

    Raises:
        InputError: a batch cannot be shared by the processes.
        TrainingError: the loss is no longer finite.
    """
    accelerator = _accelerator(recipe)
    optimizer = torch.optim.AdamW(_decay_groups(lesson, recipe.weight_decay), lr=recipe.learning_rate, fused=True)
    average = _Average(lesson, recipe.average)
    best = _Best(recipe.patience, higher_is_better)
    logs = _resume(checkpoint, lesson, optimizer, average, best, doctor)
    trainer = _Trainer(lesson, optimizer, average, recipe, accelerator, doctor)
    if doctor is not None:
        doctor.start(trainer.condition)
    for epoch in range(len(logs), recipe.epochs):
        if best.is_over:
            break
        torch.manual_seed(seed * 100_003 + epoch)
        mean, score = trainer.epoch(epoch, batches), None
        if validate is not None and math.isfinite(mean) and (best.is_wanted or _is_due(epoch, recipe.epochs)):
            with average.in_place():
                score = _agreed(validate, accelerator)
                best.offer(score, lesson)
        earlier = None
        if doctor is not None:
            earlier = doctor.epoch(epoch, recipe.epochs, mean, score, higher_is_better, trainer.condition)
        if earlier is not None:
            trainer.go_back(earlier)
        elif not math.isfinite(mean):
            raise TrainingError(
                f"The loss of epoch {epoch + 1} is {mean}: training diverged (or an epoch held no batch)."
                f" Lower learning_rate (now {recipe.learning_rate:g}) or check the inputs for NaN."
            )
        logs.append(EpochLog(epoch, mean, score))
        if accelerator.is_main_process:
            _save(checkpoint, lesson, optimizer, logs, average, best, doctor)
            if report is not None:
                report(logs[-1])
    average.keep()
    best.keep(lesson)
    lesson.eval()
    return tuple(logs)


class _Trainer:
    """Takes a lesson through one epoch after the other."""

    def __init__(
        self,
        lesson: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: _Average,
        recipe: Recipe,
        accelerator: Accelerator,
        doctor: Doctor | None,
    ) -> None:
        self._lesson, self._optimizer, self._average = lesson, optimizer, average
        self._recipe, self._accelerator, self._doctor = recipe, accelerator, doctor
        self._prepared, self._stepping = accelerator.prepare(lesson, optimizer)

    def epoch(self, epoch: int, batches: Callable[[int], Iterable[Batch]]) -> float:
        """The mean loss of an epoch; NaN where it held no batch."""
        self._prepared.train()
        losses: list[Tensor] = []
        waiting = 0  # batches whose gradients no update has used
        first = float(epoch)  # where the first of them lies
        came = time.perf_counter()
        count, all_batches = _counted(batches, epoch)
        for place, batch in enumerate(all_batches):
            began, taught = time.perf_counter(), self._teacher_s
            if self._doctor is not None and not self._doctor.accepts(batch, epoch):
                continue
            position = epoch + place / count
            first = position if waiting == 0 else first
            losses.append(self._learn(batch, position / self._recipe.epochs))
            waiting += 1
            if waiting == self._recipe.accumulate:
                self._update(first)
                waiting = 0
            if self._doctor is not None:
                ended = time.perf_counter()
                self._doctor.step(float(losses[-1]), began - came, ended - began, self._teacher_s - taught)
                came = ended
        if waiting:
            self._update(first)
        self._prepared.eval()
        return float(self._accelerator.reduce(torch.stack(losses).mean(), "mean")) if losses else math.nan

    def condition(self) -> dict[str, Any]:
        """All that going back to this moment needs."""
        return copy.deepcopy(
            {
                "lesson": self._lesson.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "average": self._average.state_dict(),
            }
        )

    def go_back(self, condition: dict[str, Any]) -> None:
        """Takes an earlier condition; it can be taken again."""
        self._lesson.load_state_dict(condition["lesson"])
        self._optimizer.load_state_dict(copy.deepcopy(condition["optimizer"]))
        self._average.load_state_dict(copy.deepcopy(condition["average"]))

    @property
    def _teacher_s(self) -> float:
        return getattr(self._lesson, "teacher_s", 0.0)

    def _learn(self, batch: Batch, progress: float) -> Tensor:
        share, weight = _share(batch, self._accelerator)
        loss: Tensor = self._prepared(_to(share, self._accelerator.device), progress) * weight
        self._accelerator.backward(loss / self._recipe.accumulate)
        return loss.detach()

    def _update(self, position: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = _rate(self._recipe, position) * (1.0 if self._doctor is None else self._doctor.rate)
        self._accelerator.clip_grad_norm_(self._prepared.parameters(), _LARGEST_NORM)
        self._stepping.step()
        self._stepping.zero_grad()
        self._average.step()


class _Best:
    """The best weights so far, and how long nothing better has come; without patience it wants nothing."""

    def __init__(self, patience: int | None, higher_is_better: bool) -> None:
        self._patience = patience
        self._sign = 1.0 if higher_is_better else -1.0
        self._score: float | None = None
        self._weights: dict[str, Tensor] = {}
        self._waited = 0

    @property
    def is_wanted(self) -> bool:
        return self._patience is not None

    @property
    def is_over(self) -> bool:
        return self._patience is not None and self._waited > self._patience

    def offer(self, score: float, module: nn.Module) -> None:
        """Takes the weights where no score was as good."""
        if not self.is_wanted:
            return
        if self._score is None or self._sign * score > self._sign * self._score:
            self._score, self._waited = score, 0
            self._weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
        else:
            self._waited += 1

    def keep(self, module: nn.Module) -> None:
        """Gives the module the best weights for good."""
        if self._weights:
            module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"score": self._score, "weights": self._weights, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._score, self._weights, self._waited = state["score"], state["weights"], state["waited"]


class _Average:
    """The running mean of what a module has learned (weights, and what norms have seen); 0 keeps what it has."""

    def __init__(self, module: nn.Module, share: float) -> None:
        self._module = module
        self._share = share
        self.values = {name: value.detach().clone() for name, value in self._learned()} if share else {}
        self._steps = 0

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.values, self._steps = state["values"], state["steps"]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"values": self.values, "steps": self._steps}

    def step(self) -> None:
        """Takes the weights of one more step in."""
        self._steps += 1
        if not self.values:
            return
        share = min(self._share, self._steps / (self._steps + 9))  # the first weights are soon forgotten
        with torch.no_grad():
            for name, value in self._learned():
                self.values[name].lerp_(value.detach().to(self.values[name].device), 1 - share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module with its mean weights, for as long as the block lasts."""
        last = {name: value.detach().clone() for name, value in self._learned()} if self.values else {}
        self.keep()
        try:
            yield
        finally:
            self._set(last)

    def keep(self) -> None:
        """Gives the module its mean weights for good."""
        self._set(self.values)

    def _set(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._learned():
                if name in values:
                    value.copy_(values[name])

    def _learned(self) -> list[tuple[str, Tensor]]:
        """What training changes; a norm's statistics belong to the weights that it saw."""
        weights = [(name, value) for name, value in self._module.named_parameters() if value.requires_grad]
        return [*weights, *((n, value) for n, value in self._module.named_buffers() if value.is_floating_point())]


def _is_due(epoch: int, epochs: int) -> bool:
    """Scores are for people: about twenty in a training, the last epoch's among them."""
    return epoch == epochs - 1 or epoch % max(1, round(epochs / _SCORES)) == 0


def _decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases, norms and scales, which have one dimension or none, do not."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.dim() > 1]
    free = [p for p in module.parameters() if p.requires_grad and p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _counted(batches: Callable[[int], Iterable[Batch]], epoch: int) -> tuple[int, Iterable[Batch]]:
    """How many batches an epoch has, and the batches; of many megabytes they are counted first and then made anew."""
    held: list[Batch] = []
    size = 0
    coming = iter(batches(epoch))
    for batch in coming:
        held.append(batch)
        size += sum(value.nbytes for part in (batch.inputs, batch.targets) for value in part.values())
        if size > _HELD_BYTES:
            return len(held) + sum(1 for _ in coming), batches(epoch)
    return len(held), held


def _rate(recipe: Recipe, position: float) -> float:
    if position < recipe.warmup_epochs:
        return recipe.learning_rate * (0.05 + 0.95 * position / recipe.warmup_epochs)
    left = (recipe.epochs - position) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    return recipe.learning_rate * 0.5 * (1 - math.cos(math.pi * min(1.0, left)))


def _accelerator(recipe: Recipe) -> Accelerator:
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # or the precision of the process's first training would stay
    # A batch asks one signature, and some losses rest: not every parameter has a gradient in every step.
    return Accelerator(
        mixed_precision=recipe.precision, kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
    )


def _share(batch: Batch, accelerator: Accelerator) -> tuple[Batch, float]:
    """This process's rows of a batch, and what their mean counts among those of all processes."""
    processes = accelerator.num_processes
    if processes == 1:
        return batch, 1.0
    rows = len(next(iter(batch.inputs.values())))
    if rows < processes:
        return batch, 1.0  # too few to part: all do the same
    whole = {name for part in (batch.inputs, batch.targets) for name, v in part.items() if v.dim() and len(v) != rows}
    if whole:
        raise InputError(
            f"A batch of {rows} samples cannot be shared by {processes} processes: {', '.join(sorted(whole))} has"
            " another number of rows. Give every input and target one row a sample, or train in one process."
        )
    mine = slice(accelerator.process_index, None, processes)
    weight = len(range(rows)[mine]) * processes / rows
    return _each(batch, lambda value: value[mine] if value.dim() else value), weight


def _to(batch: Batch, device: torch.device) -> Batch:
    return batch if device.type == "cpu" else _each(batch, lambda value: value.to(device))


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    teacher_inputs = batch.teacher_inputs
    return replace(
        batch,
        inputs={name: change(value) for name, value in batch.inputs.items()},
        targets={name: change(value) for name, value in batch.targets.items()},
        teacher_inputs=None if teacher_inputs is None else {n: change(v) for n, v in teacher_inputs.items()},
    )


def _agreed(validate: Callable[[], float], accelerator: Accelerator) -> float:
    """The main process's score, in all of them."""
    if accelerator.num_processes == 1:
        return validate()
    from accelerate.utils import broadcast_object_list

    told = [validate() if accelerator.is_main_process else 0.0]
    broadcast_object_list(told)
    return float(told[0])


def _resume(
    checkpoint: Path | None,
    lesson: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: _Average,
    best: _Best,
    doctor: Doctor | None,
) -> list[EpochLog]:
    """Takes all up from a checkpoint; the epochs that it has seen."""
    if checkpoint is None or not checkpoint.exists():
        return []
    state = torch.load(checkpoint, weights_only=True)
    lesson.load_state_dict(state["lesson"])
    optimizer.load_state_dict(state["optimizer"])
    average.load_state_dict(state["average"])
    best.load_state_dict(state["best"])
    if doctor is not None:
        doctor.load_state_dict(state["doctor"])
    return [EpochLog(**log) for log in state["logs"]]


def _save(
    checkpoint: Path | None,
    lesson: nn.Module,
    optimizer: torch.optim.Optimizer,
    logs: list[EpochLog],
    average: _Average,
    best: _Best,
    doctor: Doctor | None,
) -> None:
    if checkpoint is None:
        return
    state = {
        "lesson": lesson.state_dict(),
        "optimizer": optimizer.state_dict(),
        "logs": [vars(log) for log in logs],
        "average": average.state_dict(),
        "best": best.state_dict(),
        "doctor": {} if doctor is None else doctor.state_dict(),
    }
    aside = checkpoint.with_suffix(".partial")
    torch.save(state, aside)
    aside.replace(checkpoint)
