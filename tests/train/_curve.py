"""Trains a small network and prints its loss curve and a digest of its weights; run by one process or by several."""

from __future__ import annotations

import json
import sys

import torch
from accelerate import PartialState
from torch import nn

from mobiledistill import Recipe
from mobiledistill._lesson import Lesson
from mobiledistill.distill import SoftTargets
from mobiledistill.teachers import TorchTeacher
from mobiledistill.train import fit
from tests.networks import Stripes


def _net(seed: int, width: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * width, 4),
    )  # fmt: skip


def main() -> None:
    """The curve as JSON on standard output, from the main process alone."""
    accumulate = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    task, net = Stripes(train=527), _net(0, 4)  # batches of an odd size too
    lesson = Lesson(task, {"main": net}, TorchTeacher(_net(1, 8)), SoftTargets())
    recipe = Recipe(epochs=4, learning_rate=3e-3, accumulate=accumulate, average=0.9)
    logs = fit(lesson, task.train_batches, recipe, validate=lambda: float(next(net.parameters()).detach().sum()))
    if PartialState().is_main_process:
        weights = [float(value.detach().double().sum()) for value in net.parameters()]
        print("CURVE" + json.dumps({"losses": [log.loss for log in logs], "weights": weights}))


if __name__ == "__main__":
    main()
