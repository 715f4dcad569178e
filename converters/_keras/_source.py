"""What a converter is given of a Keras model: its file, how it is called, what it answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from converters._child import run_in_child
from converters._errors import InputError, MissingExtraError
from converters._keras._open import InputSpec, answer, describe

__all__ = ["KerasModel", "check_keras", "is_keras", "load_keras", "run_tensorflow"]

T = TypeVar("T")
Arrays = Mapping[str, NDArray[np.generic]]

_TIME_S = 900.0
_LARGEST_INTEGER = 2  # of drawn inputs; what the integers mean, and how many there are, no file says


@dataclass(frozen=True)
class KerasModel:
    """A ``.keras`` file or a SavedModel, ready to be converted; TensorFlow runs in a process of its own.

    Attributes:
        path: the file or folder.
        trust: whether a SavedModel may be opened, which can run code.
        inputs: by name, shape (the leading axis is a batch of one) and type.
        outputs: names, in order.

    Example:
        >>> source = load_keras(Path("net.keras"))  # doctest: +SKIP
        >>> convert(source, Path("net.tflite"))  # doctest: +SKIP
        PosixPath('net.tflite')
    """

    path: Path
    trust: bool
    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]

    def run(self, inputs: Arrays, signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """The model's own answers, sample by sample; ``signature`` is always ``main``."""
        if signature != "main" or set(inputs) != set(self.inputs):
            raise InputError(
                f"{self.path} reads {sorted(self.inputs)} in 'main', not {sorted(inputs)} in {signature!r}."
            )
        return run_tensorflow(answer, self.path, self.trust, dict(inputs), what=str(self.path))

    def samples(self, count: int, seed: int = 0) -> dict[str, NDArray[np.generic]]:
        """Random inputs: floats around zero, integers of 0 and 1."""
        drawing = np.random.default_rng(seed)
        drawn = {}
        for name, (shape, dtype) in self.inputs.items():
            whole = (count, *shape[1:])
            floats = np.issubdtype(np.dtype(dtype), np.floating)
            values = drawing.normal(size=whole) if floats else drawing.integers(_LARGEST_INTEGER, size=whole)
            drawn[name] = np.asarray(values, dtype)
        return drawn


def load_keras(path: Path, *, trust: bool = False) -> KerasModel:
    """Reads how a Keras model is called; it is opened anew wherever it has to answer or to be converted.

    Args:
        path: a ``.keras`` file, which Keras opens in its safe mode, or the folder of a SavedModel.
        trust: a SavedModel may read and write files while it runs; True says that its origin is known.

    Raises:
        InputError: it is neither, or a SavedModel without ``trust``.
        ModelFileError: it is damaged, needs code of its own, or leaves sizes open.
        MissingExtraError: TensorFlow is not installed.
    """
    path = Path(path)
    check_keras(path, trust)
    inputs, outputs = run_tensorflow(describe, path, trust, what=str(path))
    return KerasModel(path, trust, inputs, outputs)


def check_keras(path: Path, trust: bool) -> None:
    """Refuses what is no Keras model, or may not be opened, before anything opens it.

    Raises:
        InputError: it is neither kind, or a SavedModel without ``trust``.
        MissingExtraError: TensorFlow is not installed.
    """
    if path.suffix in (".h5", ".hdf5"):
        raise InputError(
            f"{path} is a file of the old HDF5 format, which can hide code: open it where you made it with"
            " keras.saving.load_model, and save it with model.save('model.keras')."
        )
    if not path.exists():
        raise InputError(f"{path} does not exist; give a .keras file or the folder of a SavedModel.")
    if path.suffix != ".keras" and not (path / "saved_model.pb").is_file():
        raise InputError(
            f"{path} is neither a .keras file nor the folder of a SavedModel; model.save writes the one, model.export"
            " the other."
        )
    if path.is_dir() and not trust:
        raise InputError(
            f"{path} is a SavedModel, and those can run code: say that you trust it (trust=True, --trust)."
        )
    _require_tensorflow()


def is_keras(path: Path) -> bool:
    """Whether a path looks like a ``.keras`` file or the folder of a SavedModel."""
    return path.suffix == ".keras" or (path / "saved_model.pb").is_file()


def run_tensorflow(function: Callable[..., T], *args: object, what: str) -> T:
    """Calls a function that needs TensorFlow in a process of its own.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    _require_tensorflow()
    return run_in_child(function, *args, what=what, timeout_s=_TIME_S)


def _require_tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("tensorflow", "tensorflow")
