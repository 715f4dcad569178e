"""Training one model: on a task alone, which is how teachers come to be, or from a teacher."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

from converters import InputError
from mobiledistill._lesson import Lesson
from mobiledistill._progress import Event, Progress
from mobiledistill._schedule import Care, Recipe
from mobiledistill._student import predictor, signature_modules
from mobiledistill._task import Task
from mobiledistill._workdir import code_fingerprint, data_fingerprint, fingerprint, make_folder, write_text
from mobiledistill.distill import HardTargets, Loss, SoftTargets
from mobiledistill.teachers import Teacher, Teachers, as_teacher
from mobiledistill.train import Doctor, EpochLog, Finding, findings_to_json, fit

__all__ = ["train_model"]


def train_model(
    module: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    workdir: str | Path,
    seed: int = 0,
    progress: Progress | None = None,
    teacher: Teachers | None = None,
    distill: Loss | None = None,
    care: Care = Care(),  # noqa: B008  (frozen)
) -> nn.Module:
    """Trains ``module`` on the task, alone or from a teacher, in place, and keeps its weights in ``workdir``.

    Alone it learns by the task's own loss: how teachers come to be. From a teacher it learns as in ``compress``,
    without any cut, integers or files: how one tries losses out. The same call again loads the weights, as long as
    data and code are the same (comments do not count); a training that was killed goes on where it stopped.

    Example:
        >>> teacher = train_model(digits_net(), task, Recipe(epochs=24), workdir="runs/teacher")  # doctest: +SKIP

    Args:
        module: what learns; its first weights count as part of the call.
        task: what it learns.
        recipe: epochs, rate, decay.
        workdir: folder for the weights.
        seed: of everything random.
        progress: called after each epoch.
        teacher: whom it learns from, of any kind that ``compress`` takes; None: from the task alone.
        distill: the loss; None: soft targets where there is a teacher.
        care: what the doctor may do by itself. What it finds goes into ``doctor-....json`` beside the weights, and to
            ``progress``; ``mobiledistill doctor`` shows it.

    Raises:
        InputError: the folder cannot be written or holds weights of another model, or the teacher does not fit.
        TrainingError: the loss is no longer finite.
    """
    folder = Path(workdir)
    make_folder(folder)
    taught_by = None if teacher is None else as_teacher(teacher)
    if taught_by is not None:
        taught_by.check(task)
    loss = distill or (HardTargets() if taught_by is None else SoftTargets())
    call = _call(module, task, recipe, seed, taught_by, loss)
    weights, checkpoint = folder / f"weights-{call}.safetensors", folder / f"training-{call}.pt"
    if weights.exists():
        return _loaded(module, weights)
    phase = "teacher" if taught_by is None else "distill"

    def report(log: EpochLog) -> None:
        if taught_by is not None:
            taught_by.flush()
        if progress is not None:
            progress(log.event(phase, call, recipe.epochs, task.metric))

    def tell(finding: Finding) -> None:
        if progress is not None:
            progress(Event("doctor", max(finding.epoch, 1), recipe.epochs, finding.told()))

    students, doctor = signature_modules(task, module), Doctor(care, tell)
    lesson = Lesson(task, students, taught_by, loss)
    if recipe.epochs:
        healed = doctor.examine(lesson, task, task.train_batches(0), loss)
        lesson = lesson if healed == loss else Lesson(task, students, taught_by, healed)
    fit(
        lesson,
        task.train_batches,
        recipe,
        seed=seed,
        validate=lambda: task.evaluate(predictor(task, signature_modules(task, module)), "validation").value,
        higher_is_better=task.metric.higher_is_better,
        checkpoint=checkpoint,
        report=report,
        doctor=doctor,
    )
    write_text(folder / f"doctor-{call}.json", findings_to_json(doctor.findings))
    _keep(module, weights)
    checkpoint.unlink(missing_ok=True)
    return module


def _call(module: nn.Module, task: Task, recipe: Recipe, seed: int, teacher: Teacher | None, loss: Loss) -> str:
    """A digest of all that the weights depend on."""
    parts: tuple[object, ...] = (
        fingerprint(module), recipe, data_fingerprint(task), code_fingerprint(task, module), seed,
    )  # fmt: skip
    if teacher is not None:
        parts = (*parts, teacher.fingerprint)
    if loss != HardTargets():
        parts = (*parts, loss)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _loaded(module: nn.Module, weights: Path) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{weights} is damaged ({str(error).splitlines()[0]}); delete it to train anew.") from None
    return module.eval()


def _keep(module: nn.Module, weights: Path) -> None:
    from safetensors.torch import save_file

    aside = weights.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, aside)
    aside.replace(weights)
