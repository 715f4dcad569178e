"""Training a model on a task alone, without a teacher: how teachers come to be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor, nn

from converters import InputError
from mobiledistill._progress import Event, Progress
from mobiledistill._schedule import Recipe
from mobiledistill._student import as_tuple, predictor, signature_modules
from mobiledistill._task import Batch, Task
from mobiledistill._workdir import code_fingerprint, data_fingerprint, fingerprint, make_folder
from mobiledistill.train import EpochLog, fit

__all__ = ["train_model"]


def train_model(
    module: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    workdir: str | Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> nn.Module:
    """Trains ``module`` on the task's own loss, in place, and keeps its weights in ``workdir``.

    The same call again loads them, as long as data and code are the same (comments do not count); a training that was
    killed goes on where it stopped.

    Example:
        >>> teacher = train_model(digits_net(), task, Recipe(epochs=24), workdir="runs/teacher")  # doctest: +SKIP

    Args:
        module: what learns; its first weights count as part of the call.
        task: what it learns.
        recipe: epochs, rate, decay.
        workdir: folder for the weights.
        seed: of everything random.
        progress: called after each epoch.

    Raises:
        InputError: the folder cannot be written or holds weights of another model.
        TrainingError: the loss is no longer finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    folder = Path(workdir)
    make_folder(folder)
    first = fingerprint(module)
    parts = (first, recipe, data_fingerprint(task), code_fingerprint(task, module), seed)
    call = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    weights = folder / f"weights-{call}.safetensors"
    if weights.exists():
        try:
            module.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError) as error:
            raise InputError(f"{weights} is damaged ({str(error).splitlines()[0]}); delete it to train anew.") from None
        return module.eval()

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        outputs = as_tuple(task.exported(model, batch.signature)(*batch.inputs.values()))
        return task.loss(dict(zip(task.signatures[batch.signature].outputs, outputs, strict=True)), batch)

    def report(log: EpochLog) -> None:
        if progress is not None:
            score = "" if log.score is None else f", {task.metric.told(log.score)}"
            progress(Event("teacher", log.epoch + 1, recipe.epochs, f"loss {log.loss:.3f}{score}"))

    fit(
        module,
        task.train_batches,
        loss,
        recipe,
        seed=seed,
        validate=lambda model: task.evaluate(predictor(task, signature_modules(task, model)), "validation").value,
        checkpoint=folder / f"training-{call}.pt",
        report=report,
    )
    aside = weights.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, aside)
    aside.replace(weights)
    (folder / f"training-{call}.pt").unlink(missing_ok=True)
    return module
