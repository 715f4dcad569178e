"""What the command line's ``demo detection`` runs."""

from __future__ import annotations

import torch

from demo_apps.detection._distill import TeachersBoxes
from demo_apps.detection._network import Detector
from demo_apps.detection._task import CellsTask, cells
from demo_apps.detection._try_out import try_out
from mobiledistill import Budget, Demo, DemoRequest, DemoTask, InputError, Recipe, Schedule, Task

__all__ = ["TEACHER_RECIPE", "demo", "teacher_net"]

TEACHER_RECIPE = Recipe(epochs=80, learning_rate=2e-3, weight_decay=3e-2, warmup_epochs=3, average=0.998)
"""How the teacher is trained, on batches of 8."""

_QUICK_PART = 0.25  # of the images


def teacher_net(classes: int, seed: int = 0) -> Detector:
    """The untrained teacher: 1.1 million parameters."""
    torch.manual_seed(seed)
    return Detector(classes, width=16, blocks=(1, 2, 2))


def _task(request: DemoRequest) -> CellsTask:
    return cells(request.data, request.seed, part=_QUICK_PART if request.quick else 1.0)


def _teacher(task: Task, seed: int) -> Detector:
    return teacher_net(_classes(task), seed)


def _quick_teacher(task: Task, seed: int) -> Detector:
    torch.manual_seed(seed)
    return Detector(_classes(task), width=8, blocks=(1, 1, 1))


def _classes(task: Task) -> int:
    if not isinstance(task, CellsTask):
        raise InputError(f"The detector answers a CellsTask, but got {type(task).__name__}: make one with cells().")
    return len(task.classes)


demo = Demo(
    help="Blood cells: where they are in a picture, and of which kind.",
    tasks={
        "cells": DemoTask(
            make_task=_task,
            make_teacher=_teacher,
            teacher_recipe=TEACHER_RECIPE,
            schedule=Schedule(
                cut_steps=1,
                distill=Recipe(epochs=100, learning_rate=1.5e-3, warmup_epochs=1, average=0.995),
                quantize=Recipe(epochs=8, learning_rate=2e-4, weight_decay=0.0, warmup_epochs=0.5, average=0.98),
                stretch=1.0,
            ),
            budget=Budget(size_bytes={"tflite": 300_000}, latency_share={"tflite": 0.25}),
            distill=TeachersBoxes(),
            quick_teacher=_quick_teacher,
            quick_teacher_recipe=Recipe(epochs=8, learning_rate=4e-3, warmup_epochs=1, average=0.9),
            quick_schedule=Schedule(
                cut_steps=1,
                distill=Recipe(epochs=2, learning_rate=1e-3, warmup_epochs=0.5),
                quantize=Recipe(epochs=1, learning_rate=2e-4, weight_decay=0.0, warmup_epochs=0.5),
                quick=Recipe(epochs=1),
                stretch=1.0,
                rounds=2,
            ),
            quick_budget=Budget(size_bytes=200_000),
            try_out=try_out,
        ),
    },
)
