"""What the command line's ``demo speech`` runs."""

from __future__ import annotations

import torch

from demo_apps.speech._task import DigitsTask, digits
from demo_apps.speech._teacher import TEACHER_RECIPE, DigitsNet, digits_net
from mobiledistill import Demo, DemoRequest, DemoTask, Schedule, Task

__all__ = ["demo"]


def _task(request: DemoRequest) -> DigitsTask:
    return digits(request.data, "speaker" if request.split == "speaker" else "official", request.seed)


def _teacher(_: Task, seed: int) -> DigitsNet:
    torch.manual_seed(seed)
    return digits_net()


demo = Demo(
    help="Spoken digits: which of ten is said, in one second of 8 kHz speech.",
    tasks={
        "digits": DemoTask(
            make_task=_task,
            make_teacher=_teacher,
            teacher_recipe=TEACHER_RECIPE,
            schedule=Schedule(),
            splits=("official", "speaker"),
        ),
    },
)
