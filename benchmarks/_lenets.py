"""What ``deep_compression`` trains, in a file of its own: trainings are kept as long as it does not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

import mobiledistill as md
from benchmarks._mnist import Mnist
from benchmarks.data_free import LeNet5

__all__ = ["Digits", "NarrowLeNet5"]


class Digits(Mnist):
    """MNIST in the layout of memory in which convolutions are fastest."""

    def train_batches(self, epoch: int) -> Iterator[md.Batch]:
        """One epoch."""
        for batch in super().train_batches(epoch):
            pixels = batch.inputs["pixels"].contiguous(memory_format=torch.channels_last)
            yield replace(batch, inputs={"pixels": pixels})


class NarrowLeNet5(LeNet5):
    """LeNet-5 of fewer channels and units."""

    def __init__(self, first: int, second: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, first, 5), nn.Conv2d(first, second, 5)
        self.hidden, self.classify = nn.Linear(16 * second, hidden), nn.Linear(hidden, 10)
