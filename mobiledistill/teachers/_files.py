"""Teachers that are files: exported ones of any framework, and Keras models."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from converters import InputError, ResidentModel, size_bytes
from mobiledistill._task import Task
from mobiledistill._workdir import digest_of
from mobiledistill.teachers._base import Answers, Teacher

__all__ = ["FileTeacher"]


class FileTeacher(Teacher):
    """A .tflite, .onnx, .mlpackage or .keras file, or the folder of a SavedModel.

    You gain every trained model there is, whatever made it. It answers through its own runtime in a process of its own,
    sample by sample where it was written for one, so put a slow one into a :class:`Cached`. Inputs and outputs go by
    name; where the file has other names but as many of them, they go by order. A file has no layers to look into, and
    nothing can be cut out of it: give ``compress`` a student.

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
        self._model = ResidentModel(self._path, trust=trust)
        self._digest = digest_of(self._path)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self._digest, sorted(self._names.items()))).encode()).hexdigest()[:16]

    @property
    def size_bytes(self) -> int | None:
        return size_bytes(self._path)

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        wanted = task.signatures[signature]
        asked = self._called(signature)
        reads, says = self._model.signatures[asked]
        read = self._paired(list(inputs), list(reads), "inputs", signature)
        said = self._paired(list(wanted.outputs), list(says), "outputs", signature)
        arrays = {read[name]: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in inputs.items()}
        found = self._model.run(arrays, asked)
        device = next(iter(inputs.values())).device
        return Answers({name: torch.from_numpy(found[said[name]]).to(device) for name in wanted.outputs})

    def _called(self, signature: str) -> str:
        """What the file calls a signature: by the same name, or the only one that it has."""
        there = list(self._model.signatures)
        if signature in there or len(there) == 1:
            return signature if signature in there else there[0]
        raise InputError(
            f"{self._path} has the signatures {', '.join(there)}, but not {signature!r}: give a file that has it."
        )

    def _paired(self, names: list[str], files: list[str], what: str, signature: str) -> dict[str, str]:
        """What the file calls each of them: as told, by the same name, or by order where there are as many."""
        told = {name: self._names.get(name, name) for name in names}
        if set(told.values()) <= set(files):
            return told
        if len(names) == len(files) and not self._names:
            return dict(zip(names, files, strict=True))
        raise InputError(
            f"{self._path} has the {what} {', '.join(files)}, but signature {signature!r} of the task has"
            f" {', '.join(names)}: say with names={{...}} what is what."
        )
