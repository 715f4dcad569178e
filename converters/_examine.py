"""What a file says on its own, without the module it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters._computed import ComputedValue
from converters._convert import Model, computed_values, format_of, load
from converters._errors import InputError
from converters._noise import sqnr_db

__all__ = ["Examination", "ExaminedOutput", "examine"]

_LARGEST_HALF = float(np.finfo(np.float16).max)

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class ExaminedOutput:
    """One output over all samples.

    Attributes:
        name: as the file calls it.
        shape: of one answer, the batch of 1 included.
        dtype: NumPy's name of its type.
        low, high: ends of its finite values; NaN where there are none.
        non_finite: how many values are infinite or no numbers.
        apart_db: how close the file's other arithmetic comes, at most 200.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    non_finite: int
    apart_db: float


@dataclass(frozen=True)
class Examination:
    """What one signature of a file answered.

    Attributes:
        signature: its name.
        n: number of samples.
        arithmetics: the two ways in which it was computed: for Core ML in 32 and in 16 bits, elsewhere as the runtime
            does it by default and operator by operator on its plainest kernels.
        outputs: in the file's order.
        overflow: the first operator whose values leave the range of float16 (±65504) and how far they go, for example
            ``"mul, operator 3: up to 1.2e+05"``; None where all stay within.
        answers: by name, samples along axis 0, computed in the first way.
    """

    signature: str
    n: int
    arithmetics: tuple[str, str]
    outputs: tuple[ExaminedOutput, ...]
    overflow: str | None
    answers: Arrays = field(repr=False)


def examine(path: Path, inputs: Mapping[str, NDArray[np.generic]]) -> list[Examination]:
    """Runs a file on inputs of its own, in two arithmetics, and says what comes out.

    You learn whether a file runs, what its answers look like, and whether half precision would harm it, with nothing
    but the file; that the answers are right only ``verify`` can say. Core ML runs on any system.

    Example:
        >>> (found,) = examine(Path("net.mlpackage"), {"image": images})  # doctest: +SKIP
        >>> found.outputs[0].apart_db  # doctest: +SKIP
        61.3

    Args:
        path: a .tflite, .onnx or .mlpackage.
        inputs: by name, or by ``signature/name`` where the file has several signatures; samples along axis 0. All
            signatures that are given inputs run.

    Raises:
        InputError: a signature, a name or a shape is not the file's.
        ModelFileError: the file is damaged or cannot be run.
    """
    if not inputs:
        raise InputError(f"No inputs were given for {path}; give an array for each input that it reads.")
    model, other, arithmetics = _two_ways(path)
    found = []
    for signature, arrays in _by_signature(path, model, inputs):
        n = _samples(arrays)
        answers, others = model.run(arrays, signature), other.run(arrays, signature)
        outputs = tuple(_examined(name, values, others[name]) for name, values in answers.items())
        found.append(Examination(signature, n, arithmetics, outputs, _overflow(path, arrays, n, signature), answers))
    return found


def _two_ways(path: Path) -> tuple[Model, Model, tuple[str, str]]:
    format = format_of(path)
    if format == "coreml":
        return load(path), load(path, half=True), ("float32", "float16")
    names = {"tflite": ("XNNPACK", "TFLite's kernels"), "onnx": ("optimised", "as written")}
    return load(path), load(path, optimized=False), names[format]


def _by_signature(path: Path, model: Model, inputs: Arrays) -> Iterator[tuple[str, Arrays]]:
    known = list(model.signatures)
    grouped: dict[str, dict[str, NDArray[np.generic]]] = {}
    for key, values in inputs.items():
        signature, slash, name = key.partition("/")
        if not slash:
            signature, name = ("main" if "main" in known else known[0]), key
            if len(known) > 1 and "main" not in known:
                raise InputError(
                    f"Input {key!r} names no signature; {path} has {known}: name it '{known[0]}/{key}', for example."
                )
        if signature not in known:
            raise InputError(f"Input {key!r} names signature {signature!r}, but {path} has {known}: name one of these.")
        grouped.setdefault(signature, {})[name] = values
    for signature in known:
        if signature in grouped:
            yield signature, grouped[signature]


def _samples(arrays: Arrays) -> int:
    counts = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise InputError(f"The inputs hold {counts} samples along axis 0; give each as many, at least one.")
    return next(iter(counts.values()))


def _examined(name: str, values: NDArray[np.generic], others: NDArray[np.generic]) -> ExaminedOutput:
    numbers = np.asarray(values, np.float64)
    finite = numbers[np.isfinite(numbers)]
    return ExaminedOutput(
        name=name,
        shape=(1, *values.shape[1:]),
        dtype=values.dtype.name,
        low=float(finite.min()) if finite.size else float("nan"),
        high=float(finite.max()) if finite.size else float("nan"),
        non_finite=numbers.size - finite.size,
        apart_db=sqnr_db(values, others),
    )


def _overflow(path: Path, inputs: Arrays, n: int, signature: str) -> str | None:
    """By the values in 32 bits; where the file itself stores 16, by what is no longer finite."""
    samples = ({name: values[i : i + 1] for name, values in inputs.items()} for i in range(n))
    first: ComputedValue | None = None
    reach = 0.0
    for computed in computed_values(path, samples, signature):
        for one in computed:
            if first is not None and one.place > first.place:
                break
            peak = _peak(one)
            if peak > _LARGEST_HALF:
                reach = peak if first is None or one.place < first.place else max(peak, reach)
                first = one
    if first is None:
        return None
    return f"{first.operator}, operator {first.place}: up to {reach:.3g}"


def _peak(one: ComputedValue) -> float:
    """The largest size that an operator brings forth; infinite where finite values overflowed in the file's 16 bits."""
    finite = np.isfinite(one.values)
    if one.values.dtype == np.float16 and one.reads_finite and not finite.all():
        return float("inf")
    return float(np.abs(one.values[finite]).max(initial=0.0))
