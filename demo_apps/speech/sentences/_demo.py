"""What the command line's ``demo speech --task sentences`` runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from demo_apps.speech.sentences._augment import Augmentation
from demo_apps.speech.sentences._data import load_corpus
from demo_apps.speech.sentences._net import SentencesNet, sentences_net
from demo_apps.speech.sentences._task import SentencesTask
from demo_apps.speech.sentences._try import TRY_OUT
from mobiledistill import Budget, DemoRequest, DemoTask, InputError, Recipe, Schedule, Task
from mobiledistill.distill import SoftTargets

__all__ = ["SENTENCES", "TEACHER_RECIPE"]

TEACHER_RECIPE = Recipe(epochs=90, learning_rate=2e-3, weight_decay=5e-2, warmup_epochs=4, average=0.995)
"""How the teacher is trained, on batches of eight rows: 22 seconds of one core an epoch."""

_DROPOUT = 0.1
_QUICK_WIDTH = 48
_DIGITS = frozenset(("ZERO", "OH", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"))


def _task(request: DemoRequest) -> SentencesTask:
    corpus = load_corpus(request.data)
    if not request.quick:
        return SentencesTask(corpus, seed=request.seed, augmentation=Augmentation(), dropout=_DROPOUT)
    parts = (corpus.train, corpus.validation, corpus.test)
    train, validation, test = (tuple(u for u in part if _DIGITS.issuperset(u.words)) for part in parts)
    slice_of_it = replace(corpus, train=train, validation=validation, test=test)
    return SentencesTask(slice_of_it, width=_QUICK_WIDTH, seed=request.seed, batch_size=4)


def _teacher(task: Task, seed: int) -> SentencesNet:
    if not isinstance(task, SentencesTask):
        raise InputError(f"This teacher learns the task 'sentences', but the task is {task.name!r}.")
    torch.manual_seed(seed)
    net = sentences_net(len(task.tokens), task.width)
    for parameter in net.parameters():
        if parameter.dim() == 4:  # as CPUs convolve fastest
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


def _transfer(task: Task, teacher: nn.Module, _: Path) -> Task:
    """The same task; only its calibration inputs know what the caches of a stream hold."""
    return task.heard_by(teacher) if isinstance(task, SentencesTask) else task


SENTENCES = DemoTask(
    make_task=_task,
    make_teacher=_teacher,
    teacher_recipe=TEACHER_RECIPE,
    schedule=Schedule(
        cut_steps=2,
        cut=Recipe(epochs=1, learning_rate=1e-3, warmup_epochs=0.5),
        distill=Recipe(epochs=40, learning_rate=1.5e-3, weight_decay=2e-2, average=0.995),
        quantize=Recipe(epochs=4, learning_rate=3e-4, weight_decay=0.0),
        stretch=1.25,
    ),
    budget=Budget(size_bytes=669_000, latency_share={"tflite": 0.25}),
    distill=SoftTargets(temperature=2.0),  # 4 is worse by 1.8 points on the validation: CTC's answers are spikes
    make_transfer=_transfer,
    quick_teacher_recipe=Recipe(epochs=12, learning_rate=4e-3, warmup_epochs=1),
    quick_schedule=Schedule(
        cut_steps=1,
        cut=Recipe(epochs=0),
        distill=Recipe(epochs=2, warmup_epochs=0.5),
        quantize=Recipe(epochs=1, learning_rate=5e-4, weight_decay=0.0, warmup_epochs=0.5),
        stretch=1.0,
        quick=Recipe(epochs=1),
        rounds=0,
    ),
    quick_budget=Budget(size_bytes=750_000),
    try_out=TRY_OUT,
)
