"""One door to the three formats: write a file, load it, read its integers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters._computed import ComputedValue
from converters._details import ONNX, CoreML, Details, TFLite, check_details
from converters._ends import IntegerEnd
from converters._errors import InputError
from converters._integers import Grid, IntegerLayer
from converters._keras import KerasModel, export_keras
from converters._program import Format, Precision, Program, check_names, check_program

__all__ = [
    "Model",
    "batch_of",
    "computed_values",
    "convert",
    "download_bytes",
    "format_of",
    "load",
    "read_grids",
    "read_integers",
    "size_bytes",
    "suffix_of",
]

_SUFFIXES: dict[Format, str] = {"tflite": ".tflite", "coreml": ".mlpackage", "onnx": ".onnx"}


_RUNTIME_SUFFIX = ".ort"
"""onnxruntime's own format: loaded as ONNX is, written beside it."""


class Signature(Protocol):
    """How a file is called: the names of what it reads, with their shapes, and of what it returns."""

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shapes by name; None where an axis is free."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names in order."""
        ...


class Model(Protocol):
    """An exported file behind its own runtime."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """All ways to call it, by name."""
        ...

    def run(self, inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """Answers inputs of any batch size; a file of batch 1 is asked sample by sample."""
        ...

    def integer_ends(self, signature: str = "main") -> Mapping[str, IntegerEnd]:
        """What the integers of quantized inputs and outputs mean, by name; float ends are not among them."""
        ...


def convert(
    source: Program | Sequence[Program] | KerasModel,
    path: Path,
    *,
    precision: Precision = "float32",
    details: Details | None = None,
) -> Path:
    """Writes the signatures of a module to ``path``; its suffix (.tflite, .mlpackage, .onnx) chooses the format.

    Nothing is quantized here: integers are the module's own. The file is written whole or not at all.

    Args:
        source: the signatures, or a Keras model.
        path: where to write.
        precision: how what is not quantized is stored.
        details: what else there is to choose: a ``TFLite``, ``CoreML`` or ``ONNX``, whichever the suffix asks for.

    Raises:
        InputError: a weight holds NaN or infinity, or an example input is empty; the details are another format's, or
            name what the programs do not have; or a name is not one that all formats can keep.
        ConversionError: the module cannot be written in that format.
        MissingExtraError: the format's libraries are not installed.
    """
    format = format_of(path)
    if isinstance(source, KerasModel):
        if details is not None:
            raise InputError("A Keras model's file is as its own exporter writes it: leave details out.")
        path.parent.mkdir(parents=True, exist_ok=True)
        return export_keras(source, path, format, precision)
    wanted = [source] if isinstance(source, Program) else list(source)
    if not wanted:
        raise InputError("convert was given no program; give it at least one signature to write.")
    if path.suffix == _RUNTIME_SUFFIX:
        raise InputError(f"{path} is written beside an .onnx: give that path, and details=ONNX(ort=True).")
    for program in wanted:
        check_program(program)
    check_names(wanted)
    check_details(details, format, wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    if format == "tflite":
        from converters._tflite import export_tflite

        return export_tflite(wanted, path, precision, details if isinstance(details, TFLite) else None)
    if format == "onnx":
        from converters._onnx import export_onnx

        return export_onnx(wanted, path, precision, details if isinstance(details, ONNX) else None)
    from converters._coreml import export_coreml

    return export_coreml(wanted, path, precision, details if isinstance(details, CoreML) else None)


def load(path: Path, *, threads: int = 1, optimized: bool = True, half: bool = False) -> Model:
    """Opens a file with its own runtime: LiteRT, onnxruntime, or for Core ML the reference executor.

    Args:
        path: a .tflite, .onnx or .mlpackage.
        threads: threads that the runtime may use.
        optimized: False turns graph optimisations and delegates off.
        half: Core ML in float16 arithmetic, as hardware without float32 computes; no other runtime has the choice.

    Raises:
        ModelFileError: the file is damaged or foreign.
    """
    format = format_of(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a {_SUFFIXES[format]}.")
    if format == "tflite":
        from converters._tflite import TFLiteModel

        return _Batched(TFLiteModel(path, threads=threads, delegate=optimized))
    if format == "onnx":
        from converters._onnx import ONNXModel

        return _Batched(ONNXModel(path, threads=threads, optimized=optimized))
    from converters._coreml import CoreMLModel

    return _Batched(CoreMLModel(path, "float16" if half else "float32"))


def computed_values(
    path: Path, samples: Iterable[Mapping[str, NDArray[np.generic]]], signature: str = "main"
) -> Iterator[list[ComputedValue]]:
    """All that a file computes in floats for each sample, operator by operator and without optimisations.

    Args:
        path: a .tflite, .onnx or .mlpackage.
        samples: inputs by name, each of the shape that the file reads.
        signature: which one to call.
    """
    format = format_of(path)
    if format == "tflite":
        from converters._tflite import computed_values as of_tflite

        return of_tflite(path, samples, signature)
    if format == "onnx":
        from converters._onnx import computed_values as of_onnx

        return of_onnx(path, samples, signature)
    from converters._coreml import computed_values as of_coreml

    return of_coreml(path, samples, signature)


def read_integers(path: Path) -> dict[str, list[IntegerLayer]]:
    """The quantized layers that a file holds, by signature, in execution order and in torch's layout."""
    format = format_of(path)
    if path.suffix == _RUNTIME_SUFFIX:
        raise InputError(f"{path} is onnxruntime's own format, made for running: read the .onnx that it was made from.")
    if format == "tflite":
        from converters._tflite import read_integers as read_tflite

        return read_tflite(path)
    if format == "onnx":
        from converters._onnx import read_integers as read_onnx

        return read_onnx(path)
    from converters._coreml import read_integers as read_coreml

    return read_coreml(path)


def read_grids(path: Path) -> dict[str, list[Grid]]:
    """The grids that a file puts activations on, by signature."""
    format = format_of(path)
    if format == "tflite":
        from converters._tflite import read_grids as read_tflite

        return read_tflite(path)
    if format == "onnx":
        from converters._onnx import read_grids as read_onnx

        return read_onnx(path)
    from converters._coreml import read_grids as read_coreml

    return read_coreml(path)


def batch_of(inputs: Mapping[str, NDArray[np.generic]]) -> int:
    """How many samples inputs hold along axis 0.

    Raises:
        InputError: none, or not the same number each.
    """
    counts = {name: len(value) if np.ndim(value) else 0 for name, value in inputs.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        given = ", ".join(f"{name!r} {np.shape(value)}" for name, value in inputs.items()) or "nothing"
        raise InputError(
            f"The model was given an empty batch, or inputs of different lengths ({given}); give every input the same"
            " number of samples along axis 0, at least one."
        )
    return next(iter(counts.values()))


def format_of(path: Path) -> Format:
    """The format that a path's suffix stands for.

    Raises:
        InputError: the suffix is none of .tflite, .mlpackage, .onnx.
    """
    for format, suffix in _SUFFIXES.items():
        if path.suffix == suffix:
            return format
    if path.suffix == _RUNTIME_SUFFIX:
        return "onnx"
    raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}; the formats are .tflite, .mlpackage and .onnx.")


def suffix_of(format: Format) -> str:
    """The suffix of a format's files."""
    return _SUFFIXES[format]


def size_bytes(path: Path) -> int:
    """Bytes of a file, or the sum over a folder's files."""
    return sum(len(content) for content in _contents(path))


def download_bytes(path: Path) -> int:
    """Bytes after deflate, as a store's archive delivers them (each file on its own, without archive headers)."""
    return sum(len(zlib.compress(content, 9)) for content in _contents(path))


def _contents(path: Path) -> list[bytes]:
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    return [file.read_bytes() for file in files]


class _Batched:
    """Asks a model of batch 1 sample by sample."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.signatures = model.signatures

    def run(self, inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> dict[str, NDArray[np.generic]]:
        answers = [
            self._model.run({name: value[i : i + 1] for name, value in inputs.items()}, signature)
            for i in range(batch_of(inputs))
        ]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def integer_ends(self, signature: str = "main") -> Mapping[str, IntegerEnd]:
        return self._model.integer_ends(signature)
