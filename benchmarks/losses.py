"""What each loss brings: hard labels alone, soft targets, and soft targets with the loss, after the same steps.

python -m benchmarks.losses [mnist digits] [--json FILE] [--seeds N] [--workdir DIR] [--data DIR] [--quick]

``mnist``: 1,000 labelled images and a narrow convolutional student, ten seeds. ``digits``: the spoken digits, each of
the six speakers held out once. Students of one seed start from the same weights and see the same batches; only the
loss differs. All are scored on the official test, or on the speaker held out, through the written ONNX file;
differences come with paired bootstrap intervals. What is done is kept, so the program can be stopped and started;
beside the JSON a page is written, ``losses.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._mnist import Mnist, load_mnist, scaled
from benchmarks.tasks import predict_of_file
from demo_apps.speech import DigitsTask, digits_net, load_recordings
from demo_apps.speech._augment import Augmentation
from demo_apps.speech._data import Dataset, split_recordings
from demo_apps.speech._recording import HELD_OUT_SPEAKER
from mobiledistill.distill import (
    AdversarialExamples,
    Angles,
    AnnealedTargets,
    AttentionTransfer,
    AuxiliaryHead,
    BatchDivergence,
    Correlations,
    Discriminator,
    Distances,
    HardTargets,
    Hints,
    LearnedTemperature,
    LearnedWeights,
    Loss,
    MeanDiscrepancy,
    MutualLearning,
    Similarities,
    SlicedWasserstein,
    SoftTargets,
    SquaredLogits,
    StandardizedTargets,
    TransferSet,
)
from mobiledistill.teachers import Ensemble, Teacher, TorchTeacher

SOFT = SoftTargets()
"""The default, and what every other loss is added to."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Way:
    """One way to teach.

    Attributes:
        family: for the table.
        loss: what is minimised; None: built from a peer's first weights (mutual learning).
        several: whether an ensemble of three teaches.
        unlabelled: whether images that nobody labelled are learned from too.
    """

    family: str
    loss: Loss | None
    several: bool = False
    unlabelled: bool = False


def ways(middle: str) -> dict[str, Way]:
    """Every way that is compared; ``middle`` is the student's layer for an auxiliary head."""
    return {
        "hard": Way("labels alone", HardTargets()),
        "soft": Way("soft targets", SOFT),
        "soft only": Way("soft targets", SoftTargets(hard=0.0, soft=1.0)),
        "classic, T = 20": Way("soft targets", SoftTargets.classic()),
        "soft only, then both": Way("soft targets", SoftTargets(hard=0.0, soft=1.0).then(SOFT)),
        "squared logits": Way("soft targets", 0.3 * HardTargets() + 0.1 * SquaredLogits()),
        "ensemble of three": Way("ensembles", SOFT, several=True),
        "mutual learning, no teacher": Way("ensembles", None),
        "hints": Way("features", SOFT + 0.5 * Hints()),
        "attention transfer": Way("features", SOFT + 100 * AttentionTransfer()),
        "distances": Way("relations", SOFT + 0.5 * Distances()),
        "angles": Way("relations", SOFT + Angles()),
        "similarities": Way("relations", SOFT + Similarities()),
        "correlations": Way("relations", SOFT + 0.2 * Correlations()),
        "mean discrepancy": Way("distributions", SOFT + MeanDiscrepancy()),
        "sliced Wasserstein": Way("distributions", SOFT + SlicedWasserstein()),
        "batch divergence": Way("distributions", SOFT + 0.5 * BatchDivergence()),
        "standardized": Way("temperature", 0.3 * HardTargets() + 3 * StandardizedTargets()),
        "annealed": Way("temperature", AnnealedTargets()),
        "learned temperature": Way("temperature", LearnedTemperature()),
        "auxiliary head": Way("heads and weights", SOFT + 0.3 * AuxiliaryHead(middle)),
        "learned weights": Way("heads and weights", LearnedWeights(SOFT, Hints())),
        "discriminator": Way("adversarial", SOFT + 0.1 * Discriminator()),
        "adversarial examples": Way("adversarial", AdversarialExamples(SOFT)),
        "unlabelled images too": Way("transfer data", SOFT, unlabelled=True),
    }


class Field(ABC):
    """Where the ways are compared: pairs of the same first weights and the same batches."""

    name: str
    middle: str
    """The student's layer for an auxiliary head."""

    @abstractmethod
    def pairs(self) -> list[int]:
        """Seeds, or speakers held out."""

    @abstractmethod
    def right(self, pair: int, way: Way) -> NDArray[np.bool_]:
        """Which test samples the student of a pair answers rightly."""


class NoSuchDataError(Exception):
    """The field has no data for a way."""


class Small(nn.Module):
    """Three convolutions and a linear layer on 28 x 28.

    Args:
        width: channels of the first.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _block(1, width)
        self.second = _block(width, 2 * width)
        self.third = _block(2 * width, 2 * width)
        self.classify = nn.Linear(2 * width * 4 * 4, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(n, 1, 28, 28)`` to logits ``(n, 10)``."""
        logits: Tensor = self.classify(self.third(self.second(self.first(pixels))).flatten(1))
        return logits


class MnistField(Field):
    """1,000 labelled images; the teacher has seen all 54,000."""

    name = "mnist"
    middle = "second"
    images = 1000

    def __init__(self, workdir: Path, seeds: int, data: Path | None, quick: bool) -> None:
        self._splits = load_mnist(data)
        self._workdir = workdir / self.name
        self._seeds = seeds
        self._quick = quick
        self._recipe = md.Recipe(epochs=2 if quick else 40, learning_rate=3e-3)
        if quick:
            self._splits = {split: (pixels[:1500], labels[:1500]) for split, (pixels, labels) in self._splits.items()}

    def pairs(self) -> list[int]:
        """Ten seeds or as many as were asked for."""
        return list(range(self._seeds))

    def right(self, pair: int, way: Way) -> NDArray[np.bool_]:
        """Of the 10,000 official test images."""
        pixels, labels = self._splits["train"]
        random = torch.Generator().manual_seed(pair)
        chosen = torch.randperm(len(labels), generator=random)
        few = {**self._splits, "train": (pixels[chosen[: self.images]], labels[chosen[: self.images]])}
        task: md.Task = Mnist(few, seed=pair, batch_size=50)
        if way.unlabelled:
            rest = chosen[self.images : 6 * self.images]
            task = TransferSet(task, {"pixels": scaled(pixels[rest])}, share=0.5, batch_size=50, seed=pair)
        recipe = self._recipe
        return _right(
            task,
            lambda: Small(4),
            self._teacher(way),
            way,
            recipe,
            pair,
            self._workdir,
            self._splits["test"][1].numpy(),
        )

    def _teacher(self, way: Way) -> Teacher:
        recipe = md.Recipe(epochs=1 if self._quick else 6, learning_rate=3e-3)
        task = Mnist(self._splits, batch_size=128)

        def learned(seed: int) -> Teacher:
            net = _made(lambda: Small(24), seed)
            return TorchTeacher(
                md.train_model(net, task, recipe, workdir=self._workdir / "teachers", seed=seed, progress=tell)
            )

        return Ensemble([learned(seed) for seed in range(3)]) if way.several else learned(0)


class DigitsField(Field):
    """One speaker held out at a time; teacher and student have heard the other five."""

    name = "digits"
    middle = "blocks.0"

    def __init__(self, workdir: Path, data: Path | None, quick: bool) -> None:
        dataset = load_recordings(data)
        self._dataset = dataset
        self._workdir = workdir / self.name
        self._quick = quick
        self._speakers = sorted({recording.speaker for recording in dataset.recordings})

    def pairs(self) -> list[int]:
        """The six speakers."""
        return list(range(len(self._speakers)))

    def right(self, pair: int, way: Way) -> NDArray[np.bool_]:
        """Of the speaker's 500 clips."""
        dataset = _held_out(self._dataset, self._speakers[pair])
        labels = np.array([one.label for one in split_recordings(dataset.recordings, "speaker").test], np.int64)
        task = DigitsTask(dataset, split="speaker", seed=pair, augmentation=Augmentation())
        if way.unlabelled:
            raise NoSuchDataError
        recipe = md.Recipe(epochs=1 if self._quick else 8, learning_rate=3e-3)

        def learned(seed: int) -> Teacher:
            long = replace(recipe, epochs=1 if self._quick else 20, warmup_epochs=5)
            folder = self._workdir / f"teachers-{self._speakers[pair]}"
            net = _made(lambda: digits_net(32, 1), seed)
            return TorchTeacher(md.train_model(net, task, long, workdir=folder, seed=seed, progress=tell))

        teacher = Ensemble([learned(seed) for seed in range(3)]) if way.several else learned(0)
        return _right(task, lambda: digits_net(5, 1), teacher, way, recipe, pair, self._workdir, labels)


def _held_out(dataset: Dataset, speaker: str) -> Dataset:
    """The recordings with two names exchanged, so that the split by speaker holds this one back."""
    names = {speaker: HELD_OUT_SPEAKER, HELD_OUT_SPEAKER: speaker}
    return replace(
        dataset,
        recordings=tuple(replace(one, speaker=names.get(one.speaker, one.speaker)) for one in dataset.recordings),
    )


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """First weights that depend on the seed alone."""
    torch.manual_seed(seed)
    return make()


def _right(
    task: md.Task,
    make: Callable[[], nn.Module],
    teacher: Teacher,
    way: Way,
    recipe: md.Recipe,
    pair: int,
    workdir: Path,
    labels: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Trains the student of a pair in a way; which test samples its file answers rightly."""
    loss = way.loss or HardTargets() + MutualLearning(_made(make, pair + 1000))
    alone = way.loss is None or isinstance(way.loss, HardTargets)
    net = md.train_model(
        _made(make, pair),
        task,
        recipe,
        workdir=workdir / "students",
        seed=pair,
        progress=None,
        teacher=None if alone else teacher,
        distill=loss,
    )
    found: list[NDArray[np.bool_]] = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = {name: torch.from_numpy(value[:1]) for name, value in task.calibration_inputs().items()}
        path = md.convert(md.Program(net.eval(), inputs, ("logits",)), Path(folder) / "student.onnx")
        ask = predict_of_file(path)

        def noted(inputs: Mapping[str, Any], signature: str = "main") -> dict[str, Any]:
            answers = ask(inputs, signature)
            found.append(answers["logits"].argmax(1))
            return answers

        task.evaluate(noted, "test")
    right: NDArray[np.bool_] = np.concatenate(found) == labels
    return right


def main() -> None:
    """Fills in what is still missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="*", help="mnist, digits; both where none is named")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/losses.json"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workdir", type=Path, default=Path("runs/losses"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true", help="one pair, one or two epochs")
    options = parser.parse_args()
    if unknown := set(options.fields) - {"mnist", "digits"}:
        parser.error(f"no such field: {', '.join(sorted(unknown))}; choose mnist or digits")
    for name in options.fields or ("mnist", "digits"):
        field: Field
        if name == "mnist":
            field = MnistField(options.workdir, options.seeds, options.data, options.quick)
        else:
            field = DigitsField(options.workdir, options.data, options.quick)
        for pair in field.pairs()[: 1 if options.quick else None]:
            for way, what in ways(field.middle).items():
                kept = options.workdir / name / f"{pair}-{way.replace(' ', '-')}.npy"
                if kept.exists():
                    continue
                try:
                    right = field.right(pair, what)
                except NoSuchDataError:
                    continue
                aside = kept.with_suffix(".partial.npy")
                np.save(aside, right)
                aside.replace(kept)
                print(f"{name} {pair} {way}: {100 * right.mean():.2f} %", flush=True)
            keep_figures(
                options.json, {**known_figures(options.json), name: _compared(options.workdir / name, field)}, page
            )


def _compared(folder: Path, field: Field) -> dict[str, Any]:
    """Each way against labels alone and against soft targets, over the pairs that all three have."""
    answers: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for way in ways(field.middle):
        files = {pair: folder / f"{pair}-{way.replace(' ', '-')}.npy" for pair in field.pairs()}
        answers[way] = {pair: np.load(file) for pair, file in files.items() if file.exists()}
    rows = {}
    for way, found in answers.items():
        if found:
            rows[way] = {
                "accuracy": [round(100 * float(right.mean()), 3) for right in found.values()],
                "mean": round(100 * float(np.mean([right.mean() for right in found.values()])), 3),
                **{f"minus_{base}": _difference(found, answers[base]) for base in ("hard", "soft")},
            }
    return rows


def _difference(ours: Mapping[int, NDArray[np.bool_]], theirs: Mapping[int, NDArray[np.bool_]]) -> dict[str, Any]:
    """The mean difference in points, with a bootstrap over pairs and, within each, over test samples."""
    pairs = sorted(ours.keys() & theirs.keys())
    gained = [ours[pair].astype(np.float64) - theirs[pair] for pair in pairs]
    random = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLES):
        drawn = random.integers(0, len(pairs), len(pairs))
        means.append(np.mean([random.choice(gained[pair], len(gained[pair])).mean() for pair in drawn]))
    low, high = np.percentile(means, [2.5, 97.5])
    value = float(np.mean([one.mean() for one in gained]))
    return {"value": round(100 * value, 3), "ci95": [round(100 * low, 3), round(100 * high, 3)]}


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a table a field."""
    lines = [
        "# What each loss brings",
        "",
        "Made by `python -m benchmarks.losses` from `losses.json`. Accuracy in percent through the written ONNX file,",
        "after the same steps from the same first weights; differences in points with 95 % intervals by paired",
        "bootstrap over pairs and test samples. What does not help is here as well: weights are those of the losses'",
        "docstrings or near them, none was tuned.",
    ]
    titles = {
        "mnist": "MNIST, 1,000 labelled images, a student of 2,230 parameters",
        "digits": "Spoken digits, each of six speakers held out once",
    }
    for name, rows in found.items():
        pairs = len(rows["hard"]["accuracy"])
        lines += [
            "",
            f"## {titles[name]}",
            "",
            f"{pairs} pairs.",
            "",
            "| | family | accuracy | less labels alone | less soft targets |",
        ]
        lines.append("|---" * 5 + "|")
        for way, row in rows.items():
            family = ways("middle")[way].family
            cells = [_told(row[f"minus_{base}"]) if way != base else "" for base in ("hard", "soft")]
            lines.append(f"| {way} | {family} | {row['mean']:.2f} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, ""])


def _told(difference: Mapping[str, Any]) -> str:
    low, high = difference["ci95"]
    text = f"{difference['value']:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 else f"*{text}*" if high < 0 else text


if __name__ == "__main__":
    main()
