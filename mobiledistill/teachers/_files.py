"""Teachers that are files: exported ones of any framework, and Keras models."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from converters import InputError, KerasModel, format_of, load, load_keras
from mobiledistill._task import Arrays, Task
from mobiledistill._workdir import digest_of
from mobiledistill.teachers._base import Answers, Teacher

__all__ = ["FileTeacher"]


class FileTeacher(Teacher):
    """A .tflite, .onnx, .mlpackage or .keras file, or the folder of a SavedModel.

    You gain every trained model there is, whatever made it; files are asked through their own runtime, sample by
    sample where they were written for one, so put a slow one into a :class:`Cached`. Inputs and outputs go by name;
    where the file has other names but as many inputs and outputs of the same shapes, they go by order. A file that is
    not of your own making is better opened once by ``mobiledistill verify``, which does so in a process of its own;
    Keras models always run in one. A file has no layers to look into, and nothing can be cut out of it: give
    ``compress`` a student.

    Example:
        >>> teacher = FileTeacher("teacher.onnx")  # doctest: +SKIP

    Args:
        path: the file or folder.
        trust: a SavedModel may read and write files while it runs; True says that its origin is known.
        names: what the file calls what the task calls otherwise, inputs and outputs alike: ``{"pixels": "input_1"}``.

    Raises:
        InputError: there is no such file, or it is of no kind that can answer.
        ModelFileError: it is damaged.
    """

    def __init__(self, path: str | Path, *, trust: bool = False, names: Mapping[str, str] | None = None) -> None:
        self._path = Path(path)
        self._names = dict(names or {})
        if not self._path.exists():
            raise InputError(f"{self._path} does not exist; give a model file, or the folder of a SavedModel.")
        keras = self._path.suffix == ".keras" or (self._path / "saved_model.pb").is_file()
        if keras:
            self._model: KerasModel | object = load_keras(self._path, trust=trust)
        else:
            format_of(self._path)  # refuses what nothing here can run
            self._model = load(self._path)
        self._digest = digest_of(self._path)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self._digest, sorted(self._names.items()))).encode()).hexdigest()[:16]

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        outputs = task.signatures[signature].outputs
        return Answers({})
