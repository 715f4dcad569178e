"""Which criterion of importance cuts best: spoken digits, every group cut to a half and to a quarter.

python -m benchmarks.importances [--quick] [--json FILE] [--seed N] [--workdir DIR]

For each of three seeds a teacher is trained. Each criterion ranks its channels on 16 training batches; what it ranks
last is cut at once, everywhere by the same share, without any search. Then comes the loss of soft targets on unseen
training batches: as cut, with the batch norms' statistics measured anew on 16 batches, and after two epochs of
distillation, which begin from the student as cut; and the validation accuracy then. "Chance" cuts at random.
Finished trainings lie in the work folder, so the program can be stopped and started at will.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from demo_apps.speech import TEACHER_RECIPE, DigitsTask, digits, digits_net
from mobiledistill._lesson import Lesson
from mobiledistill._student import example_run, predictor
from mobiledistill.distill import SoftTargets
from mobiledistill.prune import (
    Activation,
    BatchNormScale,
    Fisher,
    Importance,
    Magnitude,
    Taylor,
    channel_groups,
    cut,
    importance,
)
from mobiledistill.teachers import as_teacher

_SHARES = (2, 4)
_LOSSES = ("loss_after_cut", "loss_norms_anew", "loss_after_repair")
_REPAIR = md.Recipe(epochs=2, learning_rate=1e-3, warmup_epochs=0.5)
_BATCHES = 16
_UNSEEN = 1000  # an epoch whose batches no training sees


@dataclass(frozen=True)
class Chance(Importance):
    """Ranks by lot."""

    seed: int

    def rate(self, module: nn.Module, groups: Mapping[str, Any], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        """Numbers between 0 and 1."""
        random = torch.Generator().manual_seed(self.seed)
        return {name: torch.rand(len(items[0].idxs), generator=random) for name, items in groups.items()}


def main() -> None:
    """Measures what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, teachers of two epochs")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/importances.json"))
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--workdir", type=Path, default=Path("runs/importances"))
    options = parser.parse_args()
    known = known_figures(options.json)
    for seed in range(options.seed, options.seed + (1 if options.quick else 3)):
        recipe = md.Recipe(epochs=2) if options.quick else TEACHER_RECIPE
        for name, figures in measured(seed, recipe, options.workdir / str(seed), known):
            known[name] = figures
            keep_figures(options.json, known, page)
    print(table(known))


def measured(
    seed: int, recipe: md.Recipe, workdir: Path, known: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, float]]]:
    """The figures of one seed that are not known yet, by seed, criterion and share."""
    torch.manual_seed(seed)
    task = digits(seed=seed)
    teacher = md.train_model(digits_net(), task, recipe, workdir=workdir, seed=seed).eval()
    run = example_run(task)
    groups = channel_groups(teacher, run)
    criteria = (Taylor(), Fisher(), Activation(), Magnitude(), BatchNormScale(), Chance(seed))
    for criterion in criteria:
        name = type(criterion).__name__
        wanted = [divisor for divisor in _SHARES if f"{seed}/{name}/{divisor}" not in known]
        if not wanted:
            continue
        scores = importance(teacher, run, groups, _losses(task, teacher, teacher), criterion)
        for divisor in wanted:
            student = cut(teacher, run, {group.name: group.channels // divisor for group in groups}, scores).eval()
            after_cut = _mean(_losses(task, teacher, student, _UNSEEN))
            norms_anew = _mean(_losses(task, teacher, _with_norms_anew(task, student), _UNSEEN))
            md.train_model(student, task, _REPAIR, workdir=workdir, seed=seed, teacher=teacher)
            yield (
                f"{seed}/{name}/{divisor}",
                {
                    "loss_after_cut": after_cut,
                    "loss_norms_anew": norms_anew,
                    "loss_after_repair": _mean(_losses(task, teacher, student.eval(), _UNSEEN)),
                    "accuracy": task.evaluate(predictor(task, {"main": student}), "validation").value,
                    "teacher_accuracy": task.evaluate(predictor(task, {"main": teacher}), "validation").value,
                },
            )


def page(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The table with what it shows."""
    accuracies = {key.split("/")[0]: row["teacher_accuracy"] for key, row in figures.items()}
    what = " ".join((__doc__ or "").split("\n\n")[2].split())
    teachers = f"The teachers reach {_span(list(accuracies.values()), 1)} %."
    return f"# Criteria of importance\n\n{what}\n{teachers}\n\n{table(figures)}"


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Means over the seeds, and the least and the greatest in brackets."""
    lines = ["| | cut to | loss as cut | norms anew | after 2 epochs | accuracy then |", "|---|---|---|---|---|---|"]
    names = dict.fromkeys(name.split("/")[1] for name in figures)
    for divisor, name in itertools.product(_SHARES, names):
        rows = [row for key, row in figures.items() if key.split("/")[1:] == [name, str(divisor)]]
        if not rows:
            continue
        columns = [_span([row[column] for row in rows]) for column in _LOSSES]
        accuracy = _span([row["accuracy"] for row in rows], 1)
        lines.append(f"| {name} | 1/{divisor} | {' | '.join(columns)} | {accuracy} % |")
    return "\n".join(lines) + "\n"


def _span(values: Sequence[float], digits: int = 2) -> str:
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _losses(task: DigitsTask, teacher: nn.Module, student: nn.Module, epoch: int = 0) -> Iterator[Tensor]:
    lesson = Lesson(task, {"main": student}, as_teacher(teacher), SoftTargets())
    for batch in itertools.islice(task.train_batches(epoch), _BATCHES):
        yield lesson(batch)


@torch.no_grad()
def _with_norms_anew(task: DigitsTask, student: nn.Module) -> nn.Module:
    """A copy whose batch norms have seen training batches since the cut."""
    student = copy.deepcopy(student).train()
    for part in student.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # a plain mean
    for batch in itertools.islice(task.train_batches(0), _BATCHES):
        student(batch.inputs["features"])
    return student.eval()


@torch.no_grad()
def _mean(losses: Iterator[Tensor]) -> float:
    return mean(float(loss) for loss in losses)


if __name__ == "__main__":
    main()
