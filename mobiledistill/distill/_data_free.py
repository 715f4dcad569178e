"""Distillation without data: a generator makes the transfer set from the teacher alone."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from converters import InputError
from mobiledistill._progress import Event, Progress
from mobiledistill._student import as_tuple
from mobiledistill._task import Head, Task
from mobiledistill._workdir import fingerprint, make_folder
from mobiledistill.distill._transfer import TransferSet

__all__ = ["imagined"]

Norms = Mapping[str, _BatchNorm]

_LATENT = 64
_BATCH = 64
_STUDENT_STEPS = 4  # to one of the generator
_SHOWN = 50


def imagined(
    teacher: nn.Module,
    task: Task,
    *,
    low: float,
    high: float,
    steps: int = 400,
    count: int = 20_000,
    seed: int = 0,
    workdir: str | Path | None = None,
    progress: Progress | None = None,
) -> TransferSet:
    """A transfer set that a generator made from the teacher, without one real sample.

    The generator looks for inputs that the teacher is sure of, of all classes alike, with the statistics that its
    batch norms remember (Chen et al. 2019; Yin et al. 2020), and on which a student that learns along still disagrees
    (Micaelli and Storkey 2019; Fang et al. 2019). You gain a student where data may not leave their owner; it stays a
    few points behind one that saw real data, and no input looks like a real one. The more classes and the larger the
    input, the more steps it takes; noise in its place teaches next to nothing.

    What ships is then distilled on it as on any task: give the set to ``compress`` or ``train_model``, whose batches
    are all unlabelled, so take a loss without a hard part.

    Example:
        >>> transfer = imagined(teacher, task, low=0.0, high=1.0)  # doctest: +SKIP
        >>> student = md.train_model(net, transfer, recipe, workdir="runs/free", teacher=teacher,
        ...                          distill=SoftTargets(hard=0.0, soft=1.0))  # doctest: +SKIP

    Args:
        teacher: a trained torch module of one input and categorical answers ``(batch, classes)``; not changed.
        task: how it is called and scored; its batches are never asked.
        low: the least value of the input.
        high: the greatest.
        steps: of the generator; more are not better: later images mislead more than they teach.
        count: samples in the set.
        seed: of everything random.
        workdir: where the set is kept; the same call again loads it. None: nowhere.
        progress: called as work gets done.

    Raises:
        InputError: the signature has several inputs or other answers, or an argument is out of range.
    """
    signature = task.signatures["main"]
    outputs = [name for name, output in signature.outputs.items() if output.head is Head.CATEGORICAL]
    if len(signature.inputs) != 1 or len(outputs) != 1 or len(signature.outputs[outputs[0]].shape) != 2:
        raise InputError(
            "A transfer set can be imagined for one input and one categorical answer (batch, classes), but this"
            f" signature has the inputs {', '.join(signature.inputs)} and outputs {', '.join(signature.outputs)}."
        )
    if not low < high or steps < 1 or count < _BATCH:
        raise InputError(
            f"imagined needs low < high, steps >= 1 and count >= {_BATCH}, but got {low}, {high}, {steps}, {count}."
        )
    (name, spec), place = next(iter(signature.inputs.items())), list(signature.outputs).index(outputs[0])
    kept = None if workdir is None else _kept(Path(workdir), teacher, (spec.shape, low, high, steps, count, seed))
    if kept is not None and (known := _known(kept)) is not None:
        return TransferSet(task, known, batch_size=_BATCH, seed=seed)

    asked = task.exported(copy.deepcopy(teacher), "main").eval().requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        images = _images(
            lambda values: as_tuple(asked(values))[place], asked, task, place, spec.shape, (low, high), steps, count,
            progress,
        )  # fmt: skip
    if kept is not None:
        from safetensors.torch import save_file

        aside = kept.with_suffix(".partial")
        save_file({name: images}, aside)
        aside.replace(kept)
    return TransferSet(task, {name: images}, batch_size=_BATCH, seed=seed)


def _images(
    answer: Callable[[Tensor], Tensor],
    teacher: nn.Module,
    task: Task,
    place: int,
    shape: tuple[int, ...],
    bounds: tuple[float, float],
    steps: int,
    count: int,
    progress: Progress | None,
) -> Tensor:
    generator = _Generator(shape, bounds)
    pupil = _untrained(task.exported(copy.deepcopy(teacher), "main"))
    norms: Norms = {path: layer for path, layer in teacher.named_modules() if isinstance(layer, _BatchNorm)}
    making = torch.optim.Adam(generator.parameters(), lr=1e-3)
    learning = torch.optim.Adam(pupil.parameters(), lr=1e-3)
    memory: list[Tensor] = []
    for step in range(steps):
        generator.train(), pupil.eval()
        drawn = generator(torch.randn(_BATCH, _LATENT))
        said, seen = _with_norm_inputs(answer, teacher, drawn, norms)
        loss = _plausible(said, seen, norms) - _apart(as_tuple(pupil(drawn))[place], said)
        making.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        making.step()
        pupil.train()
        for batch in range(_STUDENT_STEPS):  # the new images, then some that it saw before, lest it forget them
            old = memory[int(torch.randint(len(memory), ()))] if memory and batch else drawn.detach()
            with torch.no_grad():
                truth = answer(old)
            away = _apart(as_tuple(pupil(old))[place], truth)
            learning.zero_grad()
            away.backward()  # type: ignore[no-untyped-call]
            learning.step()
        memory.append(drawn.detach())
        if progress is not None and (step % _SHOWN == 0 or step == steps - 1):
            progress(Event("imagine", step + 1, steps, f"student still apart by {float(away.detach()):.3f}"))
    found = torch.cat(memory[len(memory) // 10 :])  # the first ones are blots
    chosen = torch.randperm(len(found))[:count]
    if len(chosen) < count:  # fewer steps than samples: the generator as it is now makes the rest
        generator.eval()
        with torch.no_grad():
            more = [generator(torch.randn(_BATCH, _LATENT)) for _ in range(-(-(count - len(chosen)) // _BATCH))]
        return torch.cat([found[chosen], *more])[:count].contiguous()
    return found[chosen].contiguous()


def _with_norm_inputs(
    answer: Callable[[Tensor], Tensor], teacher: nn.Module, images: Tensor, norms: Norms
) -> tuple[Tensor, dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[path] = inputs[0]

        return hook

    handles = [layer.register_forward_pre_hook(keep(path)) for path, layer in norms.items()]
    try:
        return answer(images), seen
    finally:
        for handle in handles:
            handle.remove()


def _plausible(said: Tensor, seen: dict[str, Tensor], norms: Norms) -> Tensor:
    """How far the images are from what the teacher knows: unsure answers, few classes, strange statistics."""
    sure = functional.cross_entropy(said, said.argmax(1))
    shares = functional.softmax(said, 1).mean(0)
    loss = sure + 5 * (shares * (shares + 1e-8).log()).sum()
    for path, values in seen.items():
        dims = [0, *range(2, values.dim())]
        mean, variance = values.mean(dims), values.var(dims, unbiased=False)
        known = (cast(Tensor, part) for part in (norms[path].running_mean, norms[path].running_var))
        loss = loss + sum(_mean_square(now - then) for now, then in zip((mean, variance), known, strict=True)) / len(
            seen
        )
    return loss


def _mean_square(values: Tensor) -> Tensor:
    return values.square().mean()


def _apart(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of logits, each answer's own mean taken out."""
    apart = student - teacher
    return (apart - apart.mean(1, keepdim=True)).abs().mean()


def _untrained(module: nn.Module) -> nn.Module:
    """The module with new first weights."""
    for layer in module.modules():
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset):
            reset()
    return module.requires_grad_(True)


class _Generator(nn.Module):
    """Noise to inputs of a shape: convolutions that double a small map for pictures, a few layers for the rest."""

    def __init__(self, shape: tuple[int, ...], bounds: tuple[float, float]) -> None:
        super().__init__()
        self._shape = shape[1:]
        self._bounds = bounds
        if len(shape) == 4:
            channels, height, width = shape[1:]
            self._small = (-(-height // 4), -(-width // 4))
            self.first = nn.Linear(_LATENT, 64 * self._small[0] * self._small[1])
            self.maps = nn.Sequential(
                nn.BatchNorm2d(64), nn.Upsample(scale_factor=2),
                nn.Conv2d(64, 32, 3, padding=1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2),
                nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16), nn.LeakyReLU(0.2),
                nn.Conv2d(16, channels, 3, padding=1), nn.BatchNorm2d(channels, affine=False),
            )  # fmt: skip
        else:
            size = int(torch.tensor(shape[1:]).prod())
            self.first = nn.Linear(_LATENT, 256)
            self.maps = nn.Sequential(
                nn.BatchNorm1d(256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2),
                nn.Linear(256, size), nn.BatchNorm1d(size, affine=False),
            )  # fmt: skip

    def forward(self, noise: Tensor) -> Tensor:
        values = self.first(noise)
        if len(self._shape) == 3:
            values = values.view(len(noise), 64, *self._small)
            made = self.maps(values)[:, :, : self._shape[1], : self._shape[2]]
        else:
            made = self.maps(values).view(len(noise), *self._shape)
        low, high = self._bounds
        return low + (high - low) * torch.sigmoid(made)


def _known(kept: Path) -> dict[str, Tensor] | None:
    """The set on disk; a damaged one is made anew."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(kept)
    except (SafetensorError, OSError):
        return None


def _kept(folder: Path, teacher: nn.Module, call: tuple[object, ...]) -> Path:
    make_folder(folder)
    digest = hashlib.sha256(repr((fingerprint(teacher), call)).encode()).hexdigest()[:12]
    return folder / f"imagined-{digest}.safetensors"
