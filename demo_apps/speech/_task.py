"""The task: which of ten digits is spoken, in one second of 8 kHz speech."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import ceil, sqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from demo_apps.speech._augment import Augmentation
from demo_apps.speech._data import Dataset, SplitScheme, load_recordings, split_recordings
from demo_apps.speech._features import FRAMES, MELS, Floats, log_mel
from demo_apps.speech._recording import Recording
from mobiledistill import Batch, Head, Metric, Output, Predict, Score, Signature, Split, TensorSpec

__all__ = ["DIGITS", "DigitsTask", "digits"]

DIGITS = 10
"""Classes: the digits themselves."""

_CALIBRATION_CLIPS = 256
_EVALUATION_BATCH = 64


def digits(data: Path | None = None, split: SplitScheme = "official", seed: int = 0) -> DigitsTask:
    """The spoken digits task on the best data that can be found.

    Args:
        data: a folder with the recordings; None: ``MOBILEDISTILL_DATA``, the user's cache, the network, and where
            none of them has any, synthetic speech. ``task.source`` says which it was.
        split: ``official``: takes 0 to 4 of each speaker are the test, so all voices are known. ``speaker``: theo is
            the test and never heard in training; harder, and the more telling one.
        seed: of the order of the batches and of what is done to the clips.

    Example:
        >>> task = digits(split="speaker")  # doctest: +SKIP
        >>> batch = next(task.train_batches(epoch=0))  # doctest: +SKIP
        >>> batch.inputs["features"].shape  # doctest: +SKIP
        torch.Size([63, 1, 40, 101])

    Raises:
        InputError: the data folder does not exist or holds no recordings, or a recording is damaged.
    """
    return DigitsTask(load_recordings(data), split=split, seed=seed, augmentation=Augmentation())


class DigitsTask:
    """Which of ten digits is spoken: what ``mobiledistill.Task`` asks for, on one split of a data set.

    One signature, ``main``: ``features`` of shape (1, 1, 40, 101), log-mel maps made mean 0 and deviation 1 with two
    numbers of the training clips, to ``logits`` of shape (1, 10).

    Args:
        dataset: the recordings.
        split: see :func:`digits`.
        seed: of the order of the batches and of what is done to the clips.
        batch_size: clips in a training batch, at most.
        augmentation: what is done to training clips; None: nothing.

    Attributes:
        source: where the recordings come from, for people.
        mean: of the log-mel maps of the training clips.
        deviation: the same for their standard deviation; ``features`` are ``(log_mel - mean) / deviation``.
    """

    name = "digits"
    metric = Metric("accuracy", "%")
    signatures: Mapping[str, Signature] = {
        "main": Signature(
            inputs={"features": TensorSpec((1, 1, MELS, FRAMES))},
            outputs={"logits": Output((1, DIGITS), Head.CATEGORICAL)},
        )
    }

    def __init__(
        self,
        dataset: Dataset,
        *,
        split: SplitScheme = "official",
        seed: int = 0,
        batch_size: int = 64,
        augmentation: Augmentation | None = None,
    ) -> None:
        splits = split_recordings(dataset.recordings, split)
        self.source = dataset.source
        self.synthetic = dataset.synthetic
        self.split = split
        self.seed = seed
        self.batch_size = batch_size
        self._augmentation = augmentation
        maps = {"train": _maps(splits.train), "validation": _maps(splits.validation), "test": _maps(splits.test)}
        self.mean = float(maps["train"].mean())
        self.deviation = float(maps["train"].std())
        self._train_maps = torch.from_numpy(maps["train"])
        self._silence = float(maps["train"].min())
        self._features = {name: self._normal(part) for name, part in maps.items()}
        self._labels = {
            "train": _labels(splits.train),
            "validation": _labels(splits.validation),
            "test": _labels(splits.test),
        }

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch: every training clip once, in an order and with changes that ``seed`` and ``epoch`` fix.

        All batches are of nearly the same size, at most ``batch_size``.
        """
        random = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]))
        labels = torch.from_numpy(self._labels["train"])
        order = torch.randperm(len(labels), generator=random)
        for chosen in order.tensor_split(ceil(len(order) / self.batch_size)):
            maps = self._train_maps[chosen]
            if self._augmentation is not None:
                maps = self._augmentation(maps, self._silence, self.mean, random)
            yield Batch({"features": (maps - self.mean) / self.deviation}, {"label": labels[chosen]})

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Cross-entropy with the spoken digit."""
        return functional.cross_entropy(outputs["logits"], batch.targets["label"])

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """Accuracy in percent, with Wilson's 95 % interval."""
        features, labels = self._features[split], self._labels[split]
        correct = 0
        for start in range(0, len(labels), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            logits = predict({"features": features[part]}, "main")["logits"]
            correct += int((logits.argmax(1) == labels[part]).sum())
        return Score(100 * correct / len(labels), len(labels), _wilson(correct, len(labels)))

    def calibration_inputs(self, signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """256 training clips as they are, spread evenly over digits and speakers, shape ``(256, 1, 40, 101)``."""
        features = self._features["train"]
        count = min(_CALIBRATION_CLIPS, len(features))
        return {"features": features[np.linspace(0, len(features) - 1, count).round().astype(int)]}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The model itself: its forward is the one signature."""
        return model

    def assets(self) -> Mapping[str, bytes]:
        """What an app needs beside a file: the two numbers of the front end, and what the outputs mean."""
        return {
            "features.json": json.dumps({"mean": self.mean, "deviation": self.deviation}).encode(),
            "labels.txt": "".join(f"{label}\n" for label in range(DIGITS)).encode(),
        }

    def _normal(self, maps: Floats) -> Floats:
        return ((maps - self.mean) / self.deviation).astype(np.float32)


def _maps(recordings: tuple[Recording, ...]) -> Floats:
    return log_mel([recording.samples for recording in recordings])


def _labels(recordings: tuple[Recording, ...]) -> NDArray[np.int64]:
    return np.array([recording.label for recording in recordings], np.int64)


def _wilson(correct: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, in percent; unlike the plain one it is right near 0 and 100 %."""
    z, share = 1.959964, correct / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low = 0.0 if correct == 0 else 100 * (middle - reach)  # exactly, where rounding would leave 1e-14
    high = 100.0 if correct == count else 100 * (middle + reach)
    return low, high
