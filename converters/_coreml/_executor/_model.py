"""Runs the functions of an .mlpackage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters._computed import ComputedValue
from converters._coreml._executor._arguments import Arguments, Operator
from converters._coreml._executor._images import as_read, images
from converters._coreml._executor._operators import OPERATORS
from converters._coreml._package import open_package
from converters._coreml._slim import load_program
from converters._ends import IntegerEnd
from converters._errors import InputError, MobileDistillError, ModelFileError

__all__ = ["CoreMLModel", "FileSignature"]

ComputePrecision = Literal["float32", "float16"]


@dataclass(frozen=True)
class FileSignature:
    """How a file is called: its inputs with their shapes, and its outputs, by name."""

    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


class CoreMLModel:
    """An .mlpackage, ready to answer on any system at the shapes it was written for.

    Values have the types that the program gives them; every operator computes in float32. An input that is an image
    takes pixels in uint8, red first, as (1, channels, height, width) or (1, height, width, channels); a dictionary of
    labels is answered as the array of its numbers, in the labels' order.

    Example:
        >>> model = CoreMLModel(Path("net.mlpackage"))
        >>> model.run({"features": np.zeros((1, 1, 40, 101), np.float32)})["logits"].shape
        (1, 10)

    Args:
        path: the package.
        precision: ``"float16"`` also rounds what each operator reads and writes to float16, as hardware does that has
            no float32; accumulators stay wide.

    Attributes:
        signatures: by function name.

    Raises:
        ModelFileError: the package is damaged, or has an operator that the executor does not know.
        MissingExtraError: coremltools is not installed.
    """

    def __init__(self, path: Path, precision: ComputePrecision = "float32") -> None:
        self._path = Path(path)
        self._precision = precision
        package = open_package(self._path)
        program = load_program(package)
        self._images = images(package.spec.description)
        self._functions = {name: _Function(name, function) for name, function in sorted(program.functions.items())}
        self.signatures = {name: function.signature for name, function in self._functions.items()}

    def run(self, inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        """Answers one set of inputs.

        Args:
            inputs: by name, each of the signature's shape; types are narrowed to what the file reads.
            signature: which function to call.

        Returns:
            The outputs by name.

        Raises:
            InputError: the signature, a name or a shape is not the file's.
        """
        function, read = self._function(inputs, signature)
        with torch.no_grad():
            return function.run(read, self._precision)

    def steps(self, inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> Iterator[ComputedValue]:
        """Like ``run``, but yields what every operator computes, one after the other."""
        function, read = self._function(inputs, signature)
        with torch.no_grad():
            yield from function.steps(read, self._precision)

    def _function(
        self, inputs: Mapping[str, NDArray[Any]], signature: str
    ) -> tuple[_Function, Mapping[str, NDArray[Any]]]:
        """The function to call, if the inputs are its own, and those as it reads them."""
        if signature not in self._functions:
            raise InputError(f"Signature {signature!r} is not in {self._path}: call one of {list(self._functions)}.")
        expected = self.signatures[signature].inputs
        if set(inputs) != set(expected):
            raise InputError(f"Inputs {sorted(inputs)} were given to {self._path}: it reads {sorted(expected)}.")
        read = {name: as_read(np.asarray(inputs[name]), expected[name], self._images.get(name)) for name in expected}
        for name, shape in expected.items():
            if read[name].shape != shape:
                raise InputError(f"Input {name!r} has shape {read[name].shape}; {self._path} reads {shape}.")
        return self._functions[signature], read

    def integer_ends(self, signature: str = "main") -> dict[str, IntegerEnd]:
        """None: Core ML has integer inputs and outputs from iOS 26 on, and no package of ours has."""
        return {}


class _Function:
    """One function as a list of steps; its constants are decoded once."""

    def __init__(self, name: str, function: Any) -> None:
        self._inputs = {key: _dtype(value) for key, value in function.inputs.items()}
        self._outputs = {value.name: id(value) for value in function.outputs}
        self._input_places = {key: id(value) for key, value in function.inputs.items()}
        self._program = function  # keeps the values alive whose identities are used as keys
        self.signature = FileSignature(
            {key: _shape(name, key, value) for key, value in function.inputs.items()}, tuple(self._outputs)
        )
        self._constants: dict[int, Tensor | str] = {}
        self._steps: list[_Step] = []
        self._classifier: _Classifier | None = None
        for operation in function.operations:
            if operation.op_type == "const":
                self._constants[id(operation.outputs[0])] = _constant(operation.outputs[0])
                continue
            if operation.op_type == "classify":
                self._classifier = _Classifier(operation)
                continue
            step = _Step(operation)
            if operation.op_type.startswith("constexpr_"):
                step.run(self._constants, "float32")
            else:
                self._steps.append(step)

    def run(self, inputs: Mapping[str, NDArray[Any]], precision: ComputePrecision) -> dict[str, NDArray[Any]]:
        values = self._read(inputs)
        for step in self._steps:
            step.run(values, precision)
        if self._classifier is not None:
            self._classifier.run(values)
        answers = {name: values[place] for name, place in self._outputs.items()}
        return {
            name: value.numpy() if isinstance(value, Tensor) else np.array([value]) for name, value in answers.items()
        }

    def steps(self, inputs: Mapping[str, NDArray[Any]], precision: ComputePrecision) -> Iterator[ComputedValue]:
        values = self._read(inputs)
        for number, step in enumerate(self._steps, 1):
            finite = step.reads_finite(values)
            step.run(values, precision)
            for name, place in step.written:
                value = values[place]
                if isinstance(value, Tensor):
                    output = name if name in self._outputs else ""
                    yield ComputedValue(step.operator, number, output, value.numpy(), finite)

    def _read(self, inputs: Mapping[str, NDArray[Any]]) -> dict[int, Tensor | str]:
        values = dict(self._constants)
        for name, dtype in self._inputs.items():
            values[self._input_places[name]] = torch.from_numpy(np.ascontiguousarray(inputs[name])).to(dtype)
        return values


class _Classifier:
    """The last operator of a package with labels: the best label, and the numbers that its dictionary holds."""

    def __init__(self, operation: Any) -> None:
        self._labels = [str(label) for label in operation.inputs["classes"].val]
        self._source = id(operation.inputs["probabilities"])
        self._label, self._numbers = (id(value) for value in operation.outputs)

    def run(self, values: dict[int, Tensor | str]) -> None:
        numbers = values[self._source]
        assert isinstance(numbers, Tensor)  # noqa: S101  (what is classified is never text)
        values[self._label], values[self._numbers] = self._labels[int(numbers.argmax())], numbers


class _Step:
    """One operator and where its values come from and go to."""

    def __init__(self, operation: Any) -> None:
        self.operator = str(operation.op_type)
        self.written = [(str(value.name), id(value)) for value in operation.outputs]
        if self.operator not in OPERATORS:
            raise ModelFileError(
                f"Operator {self.operator!r} is not one that the Core ML executor knows;"
                " run the file on a Mac or a phone."
            )
        self._compute_with: Operator = OPERATORS[self.operator]
        self._sources: dict[str, int | list[int]] = {
            name: [id(part) for part in value] if isinstance(value, Sequence) else id(value)
            for name, value in operation.inputs.items()
            if value is not None
        }
        self._places = [(id(value), _dtype(value)) for value in operation.outputs]

    def reads_finite(self, values: Mapping[int, Tensor | str]) -> bool:
        """Whether all numbers that it is about to read are finite."""
        places = itertools.chain.from_iterable([one] if isinstance(one, int) else one for one in self._sources.values())
        read = (values[place] for place in places)
        return all(bool(one.isfinite().all()) for one in read if isinstance(one, Tensor) and one.is_floating_point())

    def run(self, values: dict[int, Tensor | str], precision: ComputePrecision) -> None:
        arguments: dict[str, Tensor | str | list[Tensor]] = {}
        for name, source in self._sources.items():
            if isinstance(source, int):
                arguments[name] = _widened(values[source], precision)
            else:
                read = [_widened(values[part], precision) for part in source]
                arguments[name] = [part for part in read if isinstance(part, Tensor)]
        returned = self._compute(arguments)
        for (place, dtype), value in zip(self._places, returned, strict=True):
            rounded = value.half() if precision == "float16" and value.is_floating_point() else value
            values[place] = rounded.to(dtype)

    def _compute(self, arguments: Mapping[str, Tensor | str | list[Tensor]]) -> tuple[Tensor, ...]:
        try:
            returned = self._compute_with(Arguments(self.operator, arguments))
        except MobileDistillError:
            raise
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise ModelFileError(f"Operator {self.operator!r} cannot run on what it is given ({reason}).") from error
        return (returned,) if isinstance(returned, Tensor) else returned


def _widened(value: Tensor | str, precision: ComputePrecision) -> Tensor | str:
    """Float16 as float32, since operators accumulate wider than they store."""
    if isinstance(value, str) or not value.is_floating_point():
        return value
    return value.half().float() if precision == "float16" else value.float()


def _constant(value: Any) -> Tensor | str:
    if isinstance(value.val, str):
        return value.val
    array = np.asarray(value.val)
    if array.dtype.kind in "US":
        return str(array)
    if array.dtype in (np.uint16, np.uint32, np.uint64):  # torch computes hardly anything with these
        array = array.astype(np.int64)
    return torch.from_numpy(array.copy()).to(_dtype(value))


def _dtype(value: Any) -> torch.dtype:
    from coremltools.converters.mil.mil import types

    known = {
        "fp16": torch.float16,
        "fp32": torch.float32,
        "int8": torch.int8,
        "int16": torch.int16,
        "int32": torch.int32,
        "bool": torch.bool,
        "uint8": torch.uint8,
    }
    name = types.builtin_to_string(value.dtype)
    if name in known:
        return known[name]
    if name.startswith(("uint", "int")):  # narrower ones come unpacked, one number a byte
        return torch.int64
    raise ModelFileError(f"Type {name!r} of {value.name!r} is not one that the Core ML executor knows.")


def _shape(function: str, name: str, value: Any) -> tuple[int, ...]:
    shape = tuple(value.shape)
    if not all(isinstance(size, int | np.integer) for size in shape):
        raise ModelFileError(f"Input {name!r} of {function!r} has free sizes {shape}; export it with fixed ones.")
    return tuple(int(size) for size in shape)
