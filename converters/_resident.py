"""A model file that is opened and asked in a process of its own, again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters._child import Resident
from converters._convert import load
from converters._errors import InputError
from converters._keras import KerasHere, check_keras, is_keras

__all__ = ["ResidentModel"]

Arrays = Mapping[str, NDArray[np.generic]]
Run = Callable[[Arrays, str], dict[str, NDArray[np.generic]]]
Shapes = dict[str, tuple[int | None, ...]]


class ResidentModel:
    """A .tflite, .onnx, .mlpackage or .keras file, or a SavedModel, that answers from a process of its own.

    You gain that a hostile file takes nothing down with it, and that TensorFlow, which has to start once, answers
    every batch; you lose a second at the start and a copy of every batch.

    Example:
        >>> model = ResidentModel(Path("net.keras"))  # doctest: +SKIP
        >>> model.run({"pixels": pixels})["logits"].shape  # doctest: +SKIP
        (64, 10)

    Args:
        path: the file or folder.
        trust: a SavedModel may read and write files while it runs; True says that its origin is known.

    Attributes:
        signatures: by name, the shapes of inputs by name, and the outputs' names in order.

    Raises:
        InputError: it is no file that can be run.
        ModelFileError: it is damaged.
    """

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        if is_keras(path) or path.suffix in (".h5", ".hdf5"):
            check_keras(path, trust)
        self._resident = Resident(_Here, path, trust, what=str(path))
        self.signatures: dict[str, tuple[Shapes, tuple[str, ...]]] = self._resident.call("signatures")

    def run(self, inputs: Arrays, signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """Answers inputs of any batch size."""
        if signature not in self.signatures:
            raise InputError(f"There is no signature {signature!r}; the file has {', '.join(self.signatures)}.")
        found: dict[str, NDArray[np.generic]] = self._resident.call("run", dict(inputs), signature)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._resident.close()


class _Here:
    """The same model in the process that opened it."""

    def __init__(self, path: Path, trust: bool) -> None:
        if is_keras(path):
            model = KerasHere(path, trust)
            self.signatures = {"main": (dict(model.inputs), model.outputs)}
            self.run: Run = model.run
        else:
            opened = load(path)
            self.signatures = {
                name: (dict(signature.inputs), tuple(signature.outputs))
                for name, signature in opened.signatures.items()
            }
            self.run = opened.run
