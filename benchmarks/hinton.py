"""The MNIST tables of Hinton, Vinyals and Dean (2015), made again: what soft targets do, counted in test errors.

python -m benchmarks.hinton [--quick] [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--data DIR] [ROW ...]

A teacher of two layers of 1,200 units learns with dropout and jittered images; students of two layers of 800 units
learn without either, alone or from the teacher: the same images, updates and optimiser, only the targets differ. Every
student is written as a file, and its errors on the official test are counted through onnxruntime. What has been trained
is kept in the work folder, so the program can be stopped and started; beside the JSON a page is written, ``hinton.md``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._mnist import Images, Mnist, load_mnist
from benchmarks.tasks import predict_of_file, predict_of_module
from mobiledistill.distill import HardTargets, Loss, SoftTargets

TEMPERATURES = (1.0, 2.5, 4.0, 8.0, 20.0)
_SOFT = SoftTargets(temperature=20.0, hard=0.0, soft=1.0)  # the validation liked it better than 0.1 hard beside it
_THREES, _SEVENS_AND_EIGHTS = (3,), (7, 8)
_SHARE = 0.03


@dataclass(frozen=True)
class Effort:
    """How long everything learns."""

    teacher: md.Recipe
    student: md.Recipe
    narrow: md.Recipe
    few: md.Recipe


FULL = Effort(  # in bf16, where a CPU takes a third of the time
    teacher=md.Recipe(epochs=100, learning_rate=1e-3, weight_decay=1e-4, average=0.999, precision="bf16"),
    student=md.Recipe(epochs=60, learning_rate=1e-3, weight_decay=1e-4, precision="bf16"),
    narrow=md.Recipe(epochs=30, learning_rate=2e-3, weight_decay=1e-4),
    few=md.Recipe(epochs=400, learning_rate=1e-3, weight_decay=1e-4, precision="bf16"),
)
QUICK = Effort(*[md.Recipe(epochs=2, learning_rate=1e-3, weight_decay=1e-4)] * 4)


class Layers(nn.Sequential):
    """Fully connected layers with ReLU, of pixels to logits.

    Args:
        widths: units of each hidden layer.
        dropout: share of hidden units left out in training; of the pixels 0.4 times as much.
    """

    def __init__(self, *widths: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = [nn.Flatten(), *([nn.Dropout(0.4 * dropout)] if dropout else [])]
        before = 28 * 28
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            before = width
        super().__init__(*layers, nn.Linear(before, 10))


class Bench:
    """All that the rows share: images, the teacher, where things are kept."""

    def __init__(self, splits: Mapping[md.Split, Images], effort: Effort, workdir: Path) -> None:
        self.splits = splits
        self.effort = effort
        self.workdir = workdir
        self._teacher: md.teachers.Teacher | None = None

    @property
    def teacher(self) -> md.teachers.Teacher:
        """The teacher of seed 0, each of whose answers is computed once."""
        if self._teacher is None:
            self._teacher = md.teachers.Cached(md.teachers.TorchTeacher(self.teacher_module()), self.workdir)
        return self._teacher

    def teacher_module(self) -> nn.Module:
        """1200-1200, trained or loaded."""
        torch.manual_seed(0)
        return self.train(self.task(0, jitter=True), Layers(1200, 1200, dropout=0.5), self.effort.teacher, 0)

    def task(self, seed: int, jitter: bool = False, labelled: bool = True, keep: Any = None) -> Mnist:
        """The digits, or the training images that ``keep`` chooses by their labels."""
        splits = dict(self.splits)
        if keep is not None:
            pixels, labels = splits["train"]
            splits["train"] = (pixels[keep(labels)], labels[keep(labels)])
        return Mnist(splits, seed=seed, jitter=jitter, labelled=labelled)

    def train(self, task: Mnist, net: nn.Module, recipe: md.Recipe, seed: int, loss: Loss | None = None) -> nn.Module:
        """A net that has learned, alone or with ``loss`` from the teacher."""
        teacher = None if loss is None or isinstance(loss, HardTargets) else self.teacher
        return md.train_model(
            net, task, recipe, workdir=self.workdir, seed=seed, progress=tell, teacher=teacher, distill=loss
        )

    def student(
        self, seed: int, loss: Loss, *widths: int, recipe: md.Recipe | None = None, task: Mnist | None = None
    ) -> nn.Module:
        """A student; its first weights depend on the seed alone, so those of one seed are pairs."""
        torch.manual_seed(seed)
        return self.train(task or self.task(seed), Layers(*widths), recipe or self.effort.student, seed, loss)

    def errors(self, task: Mnist, net: nn.Module) -> tuple[int, Any]:
        """Test errors through the written file, and which images they are."""
        path = self.workdir / "student.onnx"
        example = {"pixels": torch.from_numpy(task.calibration_inputs()["pixels"][:1])}
        md.convert(md.Program(net.eval(), example, ("logits",)), path)
        wrong = task.wrong(predict_of_file(path), "test")
        return int(wrong.sum()), wrong


def teacher(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """1200-1200 with dropout and jitter."""
    return _counted([bench.errors(bench.task(0), bench.teacher_module())[0]])


def student_alone(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """800-800 on the labels."""
    return _counted([_plain(bench, seed, HardTargets(), 800, 800) for seed in seeds])


def student_distilled(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """800-800 from the teacher's answers alone, T = 20."""
    return _counted([_plain(bench, seed, _SOFT, 800, 800) for seed in seeds])


def temperatures(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """800-800 at other temperatures, first seed."""
    return _sweep(bench, seeds[:1], 800, 800)


def narrow(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """30-30: which temperature suits a student that cannot follow."""
    recipe = bench.effort.narrow
    alone = _counted([_plain(bench, seed, HardTargets(), 30, 30, recipe=recipe) for seed in seeds])
    return {"alone": alone, **_sweep(bench, seeds, 30, 30, recipe=recipe)}


def without_threes(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """A transfer set without a single 3; the bias of the 3 is raised as the validation asks."""
    return _mythical(bench, seeds, lambda labels: labels != _THREES[0], _THREES, +1.0)


def only_sevens_and_eights(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """A transfer set of two digits alone; their biases are lowered as the validation asks."""
    return _mythical(
        bench,
        seeds,
        lambda labels: (labels == _SEVENS_AND_EIGHTS[0]) | (labels == _SEVENS_AND_EIGHTS[1]),
        _SEVENS_AND_EIGHTS,
        -1.0,
    )


def few_images(bench: Bench, seeds: list[int]) -> dict[str, Any]:
    """3 % of the training images: soft targets against hard ones."""

    def keep(labels: torch.Tensor) -> torch.Tensor:
        return torch.arange(len(labels)) < _SHARE * len(labels)

    found = {}
    for name, loss in (("hard", HardTargets()), ("soft", _SOFT)):
        errors = [
            _plain(bench, seed, loss, 800, 800, recipe=bench.effort.few, task=bench.task(seed, keep=keep))
            for seed in seeds
        ]
        found[name] = _counted(errors)
    return found


ROWS: dict[str, Callable[[Bench, list[int]], dict[str, Any]]] = {
    row.__name__: row
    for row in (
        teacher, student_alone, student_distilled, without_threes, only_sevens_and_eights, few_images, narrow,
        temperatures,
    )
}  # fmt: skip

PAPER = {"teacher": 67, "student_alone": 146, "student_distilled": 74}


def _plain(bench: Bench, seed: int, loss: Loss, *widths: int, **more: Any) -> int:
    return bench.errors(bench.task(seed), bench.student(seed, loss, *widths, **more))[0]


def _sweep(bench: Bench, seeds: list[int], *widths: int, recipe: md.Recipe | None = None) -> dict[str, Any]:
    return {
        f"T={temperature:g}": _counted(
            [
                _plain(bench, seed, SoftTargets(temperature, hard=0.0, soft=1.0), *widths, recipe=recipe)
                for seed in seeds
            ]
        )
        for temperature in TEMPERATURES
    }


def _mythical(bench: Bench, seeds: list[int], keep: Any, digits: tuple[int, ...], sign: float) -> dict[str, Any]:
    """Errors before and after the biases of ``digits`` are moved by what makes the fewest validation errors."""
    rows = []
    for seed in seeds:
        net = bench.student(seed, _SOFT, 800, 800, task=bench.task(seed, labelled=False, keep=keep))
        task = bench.task(seed)
        before, _ = bench.errors(task, net)
        logits, labels = task.logits(predict_of_module(task, net), "validation"), task.labels("validation")
        change = np.zeros(10, np.float32)
        steps = [0.1 * step for step in range(150)]

        def mistakes(step: float, change: Any = change, logits: Any = logits, labels: Any = labels) -> int:
            change[list(digits)] = sign * step
            return int(((logits + change).argmax(1) != labels).sum())

        chosen = sign * min(steps, key=mistakes)
        with torch.no_grad():
            net[-1].bias[list(digits)] += chosen  # type: ignore[index]
        after, wrong = bench.errors(task, net)
        of_digits = np.isin(task.labels("test"), digits)
        rows.append(
            {
                "errors_before": before,
                "errors": after,
                "bias": round(chosen, 1),
                "right_of_them_percent": round(100 * (1 - wrong[of_digits].mean()), 2),
            }
        )
    return {
        **_counted([row["errors"] for row in rows]),
        "errors_before": [row["errors_before"] for row in rows],
        "bias": [row["bias"] for row in rows],
        "right_of_them_percent": [row["right_of_them_percent"] for row in rows],
        "right_of_them_percent_mean": round(statistics.mean(row["right_of_them_percent"] for row in rows), 2),
    }


def _counted(errors: list[int]) -> dict[str, Any]:
    return {"errors": errors, "errors_mean": round(statistics.mean(errors), 2)}


def main() -> None:
    """Makes the rows that are still missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {', '.join(ROWS)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="2,000 images, two epochs, one seed")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/hinton.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/hinton"))
    parser.add_argument("--data", type=Path, help="a folder that holds mnist")
    options = parser.parse_args()
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; choose some of {', '.join(ROWS)}")
    splits = load_mnist(options.data)
    if options.quick:
        splits = {split: (pixels[:2000], labels[:2000]) for split, (pixels, labels) in splits.items()}
        options.seeds = options.seeds[:1]
    options.workdir.mkdir(parents=True, exist_ok=True)
    bench = Bench(splits, QUICK if options.quick else FULL, options.workdir)
    for name in options.rows or ROWS:
        if name in known_figures(options.json):
            continue
        began = time.monotonic()
        row = ROWS[name](bench, options.seeds)
        row["minutes"] = round((time.monotonic() - began) / 60, 1)
        keep_figures(options.json, {**known_figures(options.json), name: row}, page)
        print(name, row, flush=True)


def page(found: Mapping[str, Any]) -> str:
    """Markdown: the paper's figures beside ours."""
    lines = [
        "# Hinton's MNIST tables, made again",
        "",
        "Made by `python -m benchmarks.hinton` from `hinton.json`. Errors among the 10,000 official test images,",
        "through the written ONNX file; students of three seeds, one teacher. Students see 54,000 images without",
        "jitter, the other 6,000 are the validation, which chooses the biases (the paper chose them on the test). The",
        "wide networks learn in bf16.",
        "",
        "| | paper | ours | each seed |",
        "|---|---|---|---|",
    ]
    for name in ("teacher", "student_alone", "student_distilled"):
        if name in found:
            row = found[name]
            about = (ROWS[name].__doc__ or "").rstrip(".")
            lines.append(f"| {about} | {PAPER[name]} | {row['errors_mean']:g} | {_each(row)} |")
    if "few_images" in found:
        for name, row in _named(found["few_images"]):
            lines.append(f"| 800-800 on 3 % of the images, {name} targets | | {row['errors_mean']:g} | {_each(row)} |")
    if PAPER.keys() <= found.keys():
        top, alone, taught = (found[name]["errors_mean"] for name in PAPER)
        lines += ["", f"Distilling closes {100 * (alone - taught) / (alone - top):.0f} % of the gap (the paper: 91 %)."]
    for name, title, paper in (
        ("without_threes", "Without a single 3", "206 errors before, 109 after; 98.6 % of the threes right"),
        ("only_sevens_and_eights", "Only 7s and 8s", "4,730 errors before, 1,320 after"),
    ):
        if name in found:
            row = found[name]
            lines += [
                "",
                f"## {title}",
                "",
                f"Paper: {paper}. Ours: {statistics.mean(row['errors_before']):,.0f} before, {row['errors_mean']:,.0f}"
                f" after; {row['right_of_them_percent_mean']:g} % of these digits right; biases moved by"
                f" {', '.join(f'{bias:+g}' for bias in row['bias'])}.",
            ]
    for name, title in (("temperatures", "Temperatures, 800-800"), ("narrow", "Temperatures, 30-30")):
        if name in found:
            lines += ["", f"## {title}", "", "| | errors | each seed |", "|---|---|---|"]
            lines += [f"| {key} | {row['errors_mean']:g} | {_each(row)} |" for key, row in _named(found[name])]
    return "\n".join([*lines, ""])


def _named(rows: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, row) for key, row in rows.items() if isinstance(row, dict)]


def _each(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row["errors"]))


if __name__ == "__main__":
    main()
