"""What the command line's ``demo translation`` runs."""

from __future__ import annotations

import torch

from demo_apps.translation._task import TranslationTask, english_german
from demo_apps.translation._transfer import transfer
from demo_apps.translation._translator import Translator, translator
from demo_apps.translation._try_out import try_out
from mobiledistill import Budget, Demo, DemoRequest, DemoTask, InputError, Recipe, Schedule, Task, distill

__all__ = ["TEACHER_RECIPE", "demo"]

TEACHER_RECIPE = Recipe(epochs=7, learning_rate=1.5e-3, warmup_epochs=1, average=0.997)
"""How the teacher is trained; four epochs are one pass over the pairs."""


def _task(request: DemoRequest) -> TranslationTask:
    return english_german(request.data, seed=request.seed, quick=request.quick)


def _teacher(task: Task, seed: int) -> Translator:
    return _translator(task, seed, width=192, depth=3)


def _quick_teacher(task: Task, seed: int) -> Translator:
    return _translator(task, seed, width=48, depth=1)


def _translator(task: Task, seed: int, width: int, depth: int) -> Translator:
    if not isinstance(task, TranslationTask):
        raise InputError(f"A {type(task).__name__} has no vocabularies; give a TranslationTask.")
    torch.manual_seed(seed)
    read, written = len(task.source_vocabulary), len(task.target_vocabulary)
    return translator(width, depth, source_tokens=read, target_tokens=written)


demo = Demo(
    help="Translation: everyday English sentences into German, token by token.",
    tasks={
        "en-de": DemoTask(
            make_task=_task,
            make_teacher=_teacher,
            teacher_recipe=TEACHER_RECIPE,
            schedule=Schedule(
                cut_steps=1,
                distill=Recipe(epochs=16, learning_rate=1e-3, warmup_epochs=0.3, average=0.997),
                quantize=Recipe(epochs=1, learning_rate=2e-4, weight_decay=0.0, warmup_epochs=0.1),
                stretch=1.0,
                quick=Recipe(epochs=1, learning_rate=1e-3, warmup_epochs=0.1),
                rounds=4,
            ),
            budget=Budget(size_bytes=1_560_000, latency_share={"tflite": 0.33}),
            distill=distill.SoftTargets(temperature=1.0, hard=0.3, soft=0.7),
            make_transfer=transfer,
            quick_teacher=_quick_teacher,
            quick_teacher_recipe=Recipe(epochs=5, learning_rate=6e-3, warmup_epochs=0.5),
            quick_schedule=Schedule(
                cut_steps=1,
                distill=Recipe(epochs=1, learning_rate=3e-3, warmup_epochs=0.1),
                quantize=Recipe(epochs=1, learning_rate=2e-4, weight_decay=0.0, warmup_epochs=0.2),
                quick=Recipe(epochs=1),
                rounds=0,
            ),
            # Bytes alone: in a network this small, calling the operators takes longer than what a cut would save.
            quick_budget=Budget(size_bytes=250_000),
            try_out=try_out,
        ),
    },
)
