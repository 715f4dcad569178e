"""What the command line's ``demo speech`` runs."""

from __future__ import annotations

import torch

from demo_apps.speech._task import DigitsTask, digits
from demo_apps.speech._teacher import TEACHER_RECIPE, DigitsNet, digits_net
from demo_apps.speech._try import TRY_OUT
from demo_apps.speech.sentences._demo import SENTENCES
from mobiledistill import Demo, DemoRequest, DemoTask, Schedule, Task
from mobiledistill.distill import HardTargets, StandardizedTargets

__all__ = ["demo"]

# Chosen by leaving one of four voices out, theo never seen: students of 9 kB name 87 % of an unknown voice's digits
# right after this, 79 % after soft targets; those of 20 kB 89 % and 91 %.
_DISTILL = 0.3 * HardTargets() + 3.0 * StandardizedTargets()


def _task(request: DemoRequest) -> DigitsTask:
    return digits(request.data, "speaker" if request.split == "speaker" else "official", request.seed)


def _teacher(_: Task, seed: int) -> DigitsNet:
    torch.manual_seed(seed)
    return digits_net()


demo = Demo(
    help="Speech: which of ten digits is said (digits), or which letters, numbers and commands (sentences).",
    tasks={
        "digits": DemoTask(
            make_task=_task,
            make_teacher=_teacher,
            teacher_recipe=TEACHER_RECIPE,
            schedule=Schedule(),
            distill=_DISTILL,
            splits=("official", "speaker"),
            try_out=TRY_OUT,
        ),
        "sentences": SENTENCES,
    },
)
