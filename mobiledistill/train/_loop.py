"""The one training loop; teachers, students and quantized students all pass through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from converters import TrainingError
from mobiledistill._schedule import Recipe
from mobiledistill._task import Batch

__all__ = ["EpochLog", "fit"]

_SCORES = 20


@dataclass(frozen=True)
class EpochLog:
    """What one epoch came to: its mean training loss and, where it was asked for, the validation score."""

    epoch: int
    loss: float
    score: float | None


def fit(
    module: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    loss: Callable[[nn.Module, Batch], Tensor],
    recipe: Recipe,
    *,
    seed: int = 0,
    validate: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    report: Callable[[EpochLog], None] | None = None,
) -> tuple[EpochLog, ...]:
    """Trains ``module`` in place.

    With a ``checkpoint`` the state is written after every epoch, and a later call with the same arguments goes on
    from there and ends with the same weights as if it had never stopped.

    Args:
        module: what learns.
        batches: epoch number -> that epoch's batches.
        loss: scalar loss of the module on a batch.
        recipe: epochs, rate, decay.
        seed: of torch's generator, set anew at each epoch.
        validate: scores the module after each epoch.
        checkpoint: file to write and to go on from.
        report: called after each epoch.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    from accelerate import Accelerator

    accelerator = Accelerator()
    optimizer = torch.optim.AdamW(_decay_groups(module, recipe.weight_decay), lr=recipe.learning_rate)
    logs, state = _resume(checkpoint)
    if state is not None:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    average = _Average(module, recipe.average, None if state is None else state.get("average"))
    prepared, prepared_optimizer = accelerator.prepare(module, optimizer)

    for epoch in range(len(logs), recipe.epochs):
        torch.manual_seed(seed * 100_003 + epoch)
        prepared.train()
        losses = []
        for position, batch in _with_position(batches(epoch)):
            for group in optimizer.param_groups:
                group["lr"] = _rate(recipe, epoch + position)
            value = loss(prepared, _to(batch, accelerator.device))
            prepared_optimizer.zero_grad()
            accelerator.backward(value)
            accelerator.clip_grad_norm_(prepared.parameters(), 5.0)
            prepared_optimizer.step()
            average.step()
            losses.append(value.detach())
        mean = float(torch.stack(losses).mean()) if losses else math.nan
        if not math.isfinite(mean):
            raise TrainingError(
                f"The loss of epoch {epoch + 1} is {mean}: training diverged (or an epoch held no batch)."
                f" Lower learning_rate (now {recipe.learning_rate:g}) or check the inputs for NaN."
            )
        prepared.eval()
        score = None
        if validate is not None and _is_due(epoch, recipe.epochs):
            with average.in_place():
                score = validate(module)
        logs.append(EpochLog(epoch, mean, score))
        _save(checkpoint, module, optimizer, logs, average)
        if report is not None:
            report(logs[-1])
    average.keep()
    module.eval()
    return tuple(logs)


class _Average:
    """The running mean of what a module has learned (weights, and what norms have seen); 0 keeps what it has."""

    def __init__(self, module: nn.Module, share: float, state: dict[str, Any] | None) -> None:
        self._module = module
        self._share = share
        first = {name: value.detach().clone() for name, value in self._learned()} if share else {}
        self.values: dict[str, Tensor] = first if state is None else {**first, **state["values"]}
        self._steps: int = 0 if state is None else state["steps"]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"values": self.values, "steps": self._steps}

    def step(self) -> None:
        """Takes the weights of one more step in."""
        self._steps += 1
        share = min(self._share, self._steps / (self._steps + 9))  # the first weights are soon forgotten
        with torch.no_grad():
            for name, value in self._learned():
                if self.values:
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


def _with_position(batches: Iterable[Batch]) -> Iterable[tuple[float, Batch]]:
    """Each batch with how far into the epoch it lies, 0 to 1."""
    epoch = list(batches)
    for place, batch in enumerate(epoch):
        yield place / len(epoch), batch


def _rate(recipe: Recipe, position: float) -> float:
    if position < recipe.warmup_epochs:
        return recipe.learning_rate * (0.05 + 0.95 * position / recipe.warmup_epochs)
    left = (recipe.epochs - position) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    return recipe.learning_rate * 0.5 * (1 - math.cos(math.pi * min(1.0, left)))


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    teacher_inputs = batch.teacher_inputs
    return Batch(
        inputs={name: value.to(device) for name, value in batch.inputs.items()},
        targets={name: value.to(device) for name, value in batch.targets.items()},
        teacher_inputs=None if teacher_inputs is None else {n: v.to(device) for n, v in teacher_inputs.items()},
        signature=batch.signature,
    )


def _resume(checkpoint: Path | None) -> tuple[list[EpochLog], dict[str, Any] | None]:
    if checkpoint is None or not checkpoint.exists():
        return [], None
    state = torch.load(checkpoint, weights_only=True)
    return [EpochLog(**log) for log in state["logs"]], state


def _save(
    checkpoint: Path | None,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    logs: list[EpochLog],
    average: _Average,
) -> None:
    if checkpoint is None:
        return
    state = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "logs": [vars(log) for log in logs],
        "average": average.state_dict(),
    }
    aside = checkpoint.with_suffix(".partial")
    torch.save(state, aside)
    aside.replace(checkpoint)
