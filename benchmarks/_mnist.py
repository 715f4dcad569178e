"""Handwritten digits (MNIST) as a task: what the published tables that we reproduce were measured on."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mobiledistill import Batch, Head, InputError, Metric, Output, Predict, Score, Signature, Split, TensorSpec

__all__ = ["Images", "Mnist", "errors_of", "jittered", "load_mnist", "scaled"]

Images = tuple[Tensor, Tensor]
"""Pixels ``(n, 28, 28)`` in 0..255, and labels."""

_VALIDATION_EVERY = 10
_RESAMPLES = 2000


def load_mnist(data: Path | None = None) -> dict[Split, Images]:
    """The official test images; of the official training images every tenth is for validation.

    Args:
        data: a folder that holds ``mnist``, or is it; None: ``MOBILEDISTILL_DATA``.

    Raises:
        InputError: the four files are not there.
    """
    folder = data or Path(os.environ.get("MOBILEDISTILL_DATA", "data"))
    folder = folder / "mnist" if (folder / "mnist").is_dir() else folder
    if not (folder / "train-images-idx3-ubyte.gz").is_file():
        raise InputError(f"{folder} holds no MNIST: put its four .gz files there, or set MOBILEDISTILL_DATA.")
    train, test = (_read(folder, name) for name in ("train", "t10k"))
    held = torch.arange(len(train[1])) % _VALIDATION_EVERY == _VALIDATION_EVERY - 1
    return {"train": _some(train, ~held), "validation": _some(train, held), "test": test}


class Mnist:
    """Which digit is written: ``pixels`` (n, 1, 28, 28) in 0..1 to ``logits`` (n, 10).

    Args:
        splits: the images, see :func:`load_mnist`.
        seed: of the order of the batches and of the jitter.
        batch_size: of training batches.
        jitter: whether training images are moved a little, see :func:`jittered`.
        labelled: False where training is to see the teacher's answers alone.
    """

    name = "mnist"
    signatures: Mapping[str, Signature] = {
        "main": Signature({"pixels": TensorSpec((1, 1, 28, 28))}, {"logits": Output((1, 10), Head.CATEGORICAL)})
    }

    def __init__(
        self,
        splits: Mapping[Split, Images],
        *,
        seed: int = 0,
        batch_size: int = 128,
        jitter: bool = False,
        labelled: bool = True,
    ) -> None:
        self.metric = Metric("errors", "", higher_is_better=False, decimals=0)
        self._splits = {split: (scaled(pixels), labels) for split, (pixels, labels) in splits.items()}
        self._seed = seed
        self._batch_size = batch_size
        self._jitter = jitter
        self._labelled = labelled

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch; ``seed`` and ``epoch`` fix the order and the jitter."""
        random = torch.Generator().manual_seed(self._seed * 100_003 + epoch)
        pixels, labels = self._splits["train"]
        order = torch.randperm(len(labels), generator=random)
        for chosen in order.split(self._batch_size):
            images = pixels[chosen]
            if self._jitter:
                images = jittered(images, random)
            yield Batch({"pixels": images}, {"label": labels[chosen]}, labelled=self._labelled)

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Cross-entropy."""
        return functional.cross_entropy(outputs["logits"], batch.targets["label"])

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """Errors on the split, with a bootstrap interval over images."""
        return errors_of(self.wrong(predict, split))

    def logits(self, predict: Predict, split: Split) -> NDArray[np.float32]:
        """Shape ``(images, 10)``."""
        return np.asarray(predict({"pixels": self._splits[split][0].numpy()})["logits"], np.float32)

    def wrong(self, predict: Predict, split: Split) -> NDArray[np.bool_]:
        """Which images are answered wrong."""
        found: NDArray[np.bool_] = self.logits(predict, split).argmax(1) != self.labels(split)
        return found

    def labels(self, split: Split) -> NDArray[np.int64]:
        """The right answers."""
        return self._splits[split][1].numpy()

    def calibration_inputs(self, signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """256 training images."""
        return {"pixels": self._splits["train"][0][:256].numpy()}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The model itself."""
        return model


def scaled(pixels: Tensor) -> Tensor:
    """Bytes to ``(n, 1, 28, 28)`` in 0..1."""
    return (pixels.float() / 255).unsqueeze(1)


def jittered(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image moved by up to two pixels each way, turned by up to 8 degrees, and up to 8 % larger or smaller."""
    count, size = len(images), images.shape[-1]
    right, down, turn, grow = 2 * torch.rand(4, count, generator=random) - 1
    angle, scale = turn * torch.pi * 8 / 180, 1 + 0.08 * grow
    shift = 2 * 2 / size  # two pixels, where the image goes from -1 to 1
    across = torch.stack([scale * angle.cos(), -scale * angle.sin(), shift * right], 1)
    along = torch.stack([scale * angle.sin(), scale * angle.cos(), shift * down], 1)
    grid = functional.affine_grid(torch.stack([across, along], 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def errors_of(wrong: NDArray[np.bool_]) -> Score:
    """How many are wrong, with a bootstrap interval over images."""
    drawn = np.random.default_rng(0).binomial(len(wrong), wrong.mean(), _RESAMPLES)  # what resampling 0 and 1 is
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Score(float(wrong.sum()), len(wrong), (float(low), float(high)))


def _read(folder: Path, name: str) -> Images:
    pixels = _idx(folder / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = _idx(folder / f"{name}-labels-idx1-ubyte.gz", 8)
    if len(pixels) != len(labels):
        raise InputError(f"{folder} holds {len(pixels)} images and {len(labels)} labels of {name}: fetch it anew.")
    return torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header).copy()


def _some(images: Images, chosen: Tensor) -> Images:
    return images[0][chosen], images[1][chosen]
