"""Small networks and a small task that several tests share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mobiledistill import Batch, Head, Metric, Output, Predict, Score, Signature, Split, TensorSpec


class Residual(nn.Module):
    """Strided stem, a residual block whose norm follows the ReLU, a depthwise layer, average pooling, a head."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.late_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = torch.relu(x + self.second(self.late_norm(torch.relu(self.first(x)))))
        logits: Tensor = self.head(self.pool(torch.relu(self.depthwise(x))).flatten(1))
        return logits


def settled(module: nn.Module, inputs: Tensor) -> nn.Module:
    """The module with norms that have seen data, so that folding them changes something."""
    module.train()
    with torch.no_grad():
        for _ in range(20):
            module(inputs)
    return module.eval()


class Stripes:
    """Which of four directions a noisy stripe pattern runs: learned by anything within seconds."""

    name = "stripes"
    metric = Metric("accuracy", "%")
    signatures: Mapping[str, Signature] = {
        "main": Signature({"image": TensorSpec((1, 1, 16, 16))}, {"logits": Output((1, 4), Head.CATEGORICAL)})
    }

    def __init__(self, train: int = 512, held_out: int = 256) -> None:
        sizes: dict[Split, int] = {"train": train, "validation": held_out, "test": held_out}
        self._data = {split: _stripes(size, seed) for seed, (split, size) in enumerate(sizes.items())}

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        images, labels = self._data["train"]
        order = np.random.default_rng(epoch).permutation(len(labels))
        for chosen in np.array_split(order, len(order) // 64):
            yield Batch({"image": torch.from_numpy(images[chosen])}, {"label": torch.from_numpy(labels[chosen])})

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch.targets["label"])

    def evaluate(self, predict: Predict, split: Split) -> Score:
        images, labels = self._data[split]
        right = float((predict({"image": images})["logits"].argmax(1) == labels).mean())
        reach = 1.96 * (max(right * (1 - right), 1e-4) / len(labels)) ** 0.5
        return Score(100 * right, len(labels), (100 * (right - reach), 100 * (right + reach)))

    def calibration_inputs(self, signature: str = "main") -> dict[str, NDArray[np.generic]]:
        return {"image": self._data["train"][0][:128]}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        return model


def _stripes(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    y, x = np.mgrid[0:16, 0:16]
    along = np.stack([x, y, x + y, x - y])[labels]
    phase = random.uniform(0, 6, (count, 1, 1))
    images = np.sin(along * 1.2 + phase) + random.normal(0, 0.6, (count, 16, 16))
    return images[:, None].astype(np.float32), labels
