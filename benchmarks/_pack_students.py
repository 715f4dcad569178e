"""Students for the benchmark of ``pack``: short trainings, every scheme, every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

import mobiledistill as md
from benchmarks._mnist import Mnist, load_mnist
from benchmarks.data_free import LeNet5
from benchmarks.post_training import DSCNN
from converters import FORMATS, ONNX, CoreML, Details, Format, suffix_of
from demo_apps import detection, speech, translation
from mobiledistill._student import integers_of, programs_of
from mobiledistill.quantize import Fp16, Int8, Palette, Scheme, WeightOnly

__all__ = ["STUDENTS", "Student", "files_of"]


@dataclass(frozen=True)
class Student:
    """A network that is trained once, and how it is stored.

    Attributes:
        task: makes what it learns.
        network: makes it, untrained, for that task.
        recipe: how long it learns.
        schemes: what it is stored as.
    """

    task: Callable[[], md.Task]
    network: Callable[[md.Task], nn.Module]
    recipe: md.Recipe
    schemes: tuple[Scheme, ...] = (Int8(),)


_SPEECH = replace(speech.TEACHER_RECIPE, epochs=10, warmup_epochs=1)
_IMAGES = md.Recipe(epochs=2, learning_rate=2e-3, warmup_epochs=0.2)
_CELLS = md.Recipe(epochs=6, learning_rate=4e-3, warmup_epochs=1)
_TEXTS = md.Recipe(epochs=2, learning_rate=4e-3, warmup_epochs=0.3)
_ALL = (Int8(), WeightOnly(8), WeightOnly(4), Palette(4), Palette(6), Fp16())


def _digits(width: int, schemes: tuple[Scheme, ...] = (Int8(),)) -> Student:
    return Student(speech.digits, lambda task: speech.digits_net(width), _SPEECH, schemes)


def _cells(task: md.Task) -> nn.Module:
    return detection.Detector(3, width=8, blocks=(1, 1, 1))


def _translator(task: md.Task) -> nn.Module:
    assert isinstance(task, translation.TranslationTask)  # noqa: S101  (made below)
    read, written = len(task.source_vocabulary), len(task.target_vocabulary)
    return translation.translator(64, 2, source_tokens=read, target_tokens=written)


STUDENTS: dict[str, Student] = {
    "digits, width 4": _digits(4),
    "digits, width 8": _digits(8),
    "digits, width 16": _digits(16, _ALL),
    "digits, width 32": _digits(32),
    "digits, DS-CNN 64": Student(speech.digits, lambda task: DSCNN(64), _SPEECH, (Int8(), Palette(4))),
    "LeNet-5": Student(
        lambda: Mnist(load_mnist()), lambda task: LeNet5(), _IMAGES, (Int8(), WeightOnly(4), Palette(4))
    ),
    "detector, width 8": Student(lambda: detection.cells(part=0.5), _cells, _CELLS),
    "translator, width 64": Student(
        lambda: translation.english_german(quick=True), _translator, _TEXTS, (Int8(), WeightOnly(4, block=32))
    ),
}  # fmt: skip


def files_of(name: str, folder: Path, quick: bool = False) -> Iterator[tuple[str, Path]]:
    """Trains a student where that is not done yet, and yields what each file is called and where it lies."""
    student = STUDENTS[name]
    task = student.task()
    torch.manual_seed(0)
    recipe = replace(student.recipe, epochs=1, warmup_epochs=0.1) if quick else student.recipe
    network = md.train_model(student.network(task), task, recipe, workdir=folder / "trained")
    for scheme in student.schemes[:1] if quick else student.schemes:
        for form in FORMATS:
            title = f"{name}, {_told(scheme)}, {form}"
            path = folder / f"{title.replace(', ', '-').replace(' ', '-')}{suffix_of(form)}"
            if not path.exists():
                try:
                    _write(task, network, scheme, form, path)
                except (md.ConversionError, md.InputError) as refused:  # a format has not every scheme
                    print(f"{title}: {refused}", flush=True)
                    continue
            yield title, path


def _write(task: md.Task, network: nn.Module, scheme: Scheme, form: Format, path: Path) -> None:
    torch.manual_seed(0)
    details: Details | None = None
    if isinstance(scheme, WeightOnly) and scheme.bits == 4:
        details = {"coreml": CoreML(target="iOS18"), "onnx": ONNX(opset=21)}.get(form)
    programs = programs_of(task, integers_of(task, network.eval(), scheme))
    md.convert(programs, path, precision="float16" if isinstance(scheme, Fp16) else "float32", details=details)


def _told(scheme: Scheme) -> str:
    match scheme:
        case Int8():
            return "int8"
        case WeightOnly(bits=bits, block=block):
            return f"weights in {bits} bits" + (f" by {block}" if block else "")
        case Palette(bits=bits):
            return f"palette of {bits} bits"
        case _:
            return "float16"
