"""What the training loop costs beside a bare one, what the doctor costs, and what a cached teacher saves.

python -m benchmarks.engine [--json FILE] [--rounds 5] [--epochs 3] [--data DIR]

The spoken digits without augmentation, the demo's teacher, and a student cut to a quarter of its width. Everything that
is compared runs by turns in one process on the same batches; told are medians over rounds, and of each round's ratio to
the bare loop beside it. Beside the JSON a page is written, ``engine.md``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import mobiledistill as md
from benchmarks._figures import keep_figures
from demo_apps.speech import DigitsTask, digits_net, load_recordings
from mobiledistill._lesson import Lesson
from mobiledistill.distill import SoftTargets
from mobiledistill.teachers import Cached, Teacher, TorchTeacher
from mobiledistill.train import Doctor, EpochLog, fit


def main() -> None:
    """Measures all, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/engine.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    task = DigitsTask(load_recordings(options.data))
    recipe = md.Recipe(epochs=options.epochs, learning_rate=3e-3)
    loss = SoftTargets()
    teacher = TorchTeacher(_made(32))

    def looped(watched: bool) -> float:
        lesson = Lesson(task, {"main": _made(8)}, teacher, loss)
        doctor = Doctor() if watched else None
        began = time.perf_counter()
        if doctor is not None:
            doctor.examine(lesson, task, task.train_batches(0), loss)
        fit(lesson, task.train_batches, recipe, doctor=doctor)
        return time.perf_counter() - began

    ways: dict[str, Callable[[], float]] = {
        "bare": lambda: _bare(task, _made(8), teacher, recipe),
        "loop": lambda: looped(False),
        "loop and doctor": lambda: looped(True),
    }
    for way in ways.values():  # the first calls prepare what later ones find
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    ratios = {
        name: statistics.median(own / bare for own, bare in zip(found, seconds["bare"], strict=True))
        for name, found in seconds.items()
    }
    against_loop = [own / loop for own, loop in zip(seconds["loop and doctor"], seconds["loop"], strict=True)]
    figures: dict[str, Any] = {
        "seconds": {name: round(statistics.median(found), 3) for name, found in seconds.items()},
        "loop_over_bare_percent": round(100 * (ratios["loop"] - 1), 2),
        "doctor_over_loop_percent": round(100 * (statistics.median(against_loop) - 1), 2),
        "epochs_s": _epochs(task, teacher, loss, options.rounds),
    }
    plain, cached = figures["epochs_s"]["plain"], figures["epochs_s"]["cached"]
    figures["cache_speedup_from_second_epoch"] = round(statistics.median(plain[1:]) / statistics.median(cached[1:]), 2)
    keep_figures(options.json, figures, page)
    print(page(figures))


def _bare(task: DigitsTask, student: nn.Module, teacher: Teacher, recipe: md.Recipe) -> float:
    """What anyone would write: the same updates with nothing of ours around them."""
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    loss_of = SoftTargets()
    module = cast(nn.Module, teacher.module)
    outputs = task.signatures["main"].outputs
    began = time.perf_counter()
    for epoch in range(recipe.epochs):
        student.train()
        batches = list(task.train_batches(epoch))
        total = 0.0
        for place, batch in enumerate(batches):
            position = (epoch + place / len(batches)) / recipe.epochs
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * position))
            said = {"logits": student(batch.inputs["features"])}
            with torch.no_grad():
                taught = {"logits": module(batch.inputs["features"])}
            step = md.distill.Step(said, taught, outputs, task.loss(said, batch))
            value = loss_of(step)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimizer.step()
            total += float(value.detach())
    return time.perf_counter() - began


def _epochs(task: DigitsTask, teacher: Teacher, loss: SoftTargets, rounds: int) -> dict[str, list[float]]:
    """Seconds of each epoch with the teacher asked every time, and asked once."""
    recipe = md.Recipe(epochs=4, learning_rate=3e-3)
    found: dict[str, list[list[float]]] = {"plain": [], "cached": []}
    for _ in range(max(2, rounds // 2)):
        for name, runs in found.items():
            with tempfile.TemporaryDirectory() as folder:
                who = teacher if name == "plain" else Cached(teacher, folder)
                marks = [time.perf_counter()]

                def mark(_: EpochLog, marks: list[float] = marks) -> None:
                    marks.append(time.perf_counter())

                fit(Lesson(task, {"main": _made(8)}, who, loss), task.train_batches, recipe, report=mark)
                runs.append([after - before for before, after in pairwise(marks)])
    return {
        name: [round(statistics.median(column), 3) for column in zip(*runs, strict=True)]
        for name, runs in found.items()
    }


def _made(width: int) -> nn.Module:
    torch.manual_seed(0)
    return digits_net(width)


def page(found: Mapping[str, Any]) -> str:
    """Markdown: three figures and what they stand on."""
    seconds, epochs = found["seconds"], found["epochs_s"]
    return "\n".join(
        [
            "# What the training loop costs",
            "",
            "Made by `python -m benchmarks.engine` from `engine.json`: the spoken digits, the demo's teacher and",
            "a small student, everything by turns in one process on one thread.",
            "",
            "| | seconds | beside |",
            "|---|---|---|",
            f"| a bare PyTorch loop | {seconds['bare']:.2f} | |",
            f"| our loop | {seconds['loop']:.2f} | {found['loop_over_bare_percent']:+.1f} % to the bare one |",
            f"| our loop, watched by the doctor | {seconds['loop and doctor']:.2f} |"
            f" {found['doctor_over_loop_percent']:+.1f} % to our loop |",
            "",
            f"With the teacher's answers kept (`teachers.Cached`) epochs from the second on are"
            f" {found['cache_speedup_from_second_epoch']:.1f} times as fast: {', '.join(map(str, epochs['cached']))} s"
            f" instead of {', '.join(map(str, epochs['plain']))} s.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
