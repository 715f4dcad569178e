"""The flatbuffer of a .tflite file as Python objects, and the few questions every edit asks about it."""

from __future__ import annotations

import functools
import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._errors import MissingExtraError, ModelFileError
from converters._narrow import unpacked

__all__ = [
    "constant",
    "consumers",
    "dtype_of",
    "intern_constant",
    "is_quantized",
    "operator_code",
    "operator_name",
    "parse",
    "producer",
    "read_model",
    "schema",
    "shape_of",
]

_MAX_BYTES = 2**31  # flatbuffers address with 32 bits, of which the runtimes use 31

_DTYPES: dict[str, type[np.generic]] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "FLOAT64": np.float64,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


@functools.lru_cache(maxsize=1)
def schema() -> Any:
    """The module with the flatbuffer classes of TFLite."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error


def read_model(path: Path) -> Any:
    """Reads a file into flatbuffer objects and checks that every index in it points somewhere.

    Raises:
        ModelFileError: the file is missing, unreadable, no TFLite model, or damaged.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelFileError(f"{path} is larger than 2 GiB, which no .tflite file can be: give another file.")
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelFileError(f"{path} cannot be read ({reason}): give a readable .tflite file.") from error
    return parse(content, str(path))


def parse(content: bytes, source: str) -> Any:
    """Turns bytes into flatbuffer objects; ``source`` names them in errors."""
    if content[4:8] != b"TFL3":
        raise ModelFileError(f"{source} is not a TFLite model (its mark 'TFL3' is missing): give a .tflite file.")
    try:
        model = schema().ModelT.InitFromPackedBuf(content, 0)
        _fill_in(model)
        _check_indices(model)
    except MissingExtraError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{source} is a damaged TFLite model ({type(error).__name__} while reading it): export it again."
        ) from error
    return model


def shape_of(tensor: Any) -> tuple[int, ...]:
    """A tensor's shape; scalars have none."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def dtype_of(tensor: Any) -> np.dtype[Any]:
    """A tensor's NumPy type; what NumPy has no type for reads as bytes."""
    return np.dtype(_dtypes().get(tensor.type, np.uint8))


def is_quantized(tensor: Any) -> bool:
    """Whether a tensor carries scales."""
    grid = tensor.quantization
    return grid is not None and grid.scale is not None and len(grid.scale) > 0


def operator_name(model: Any, operator: Any) -> str:
    """``CONV_2D`` and the like; ``CUSTOM`` for what is not built in, a number for what is newer than the schema."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _operator_names().get(number, f"BUILTIN_{number}")


def operator_code(model: Any, name: str, version: int) -> int:
    """The index of an operator code of at least that version; added where the model has none."""
    builtin = getattr(schema().BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            code.version = max(code.version, version)
            return index
    code = schema().OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)  # readers older than 2020 look here; 127 sends newer ones on
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def constant(model: Any, tensor: Any) -> NDArray[Any] | None:
    """The values of a constant tensor, those of 4 bits unpacked; None for one that is computed."""
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0:
        return None
    if tensor.type == schema().TensorType.INT4:
        shape = shape_of(tensor)
        return unpacked(np.asarray(data, np.uint8), math.prod(shape)).reshape(shape)
    dtype = _dtypes().get(tensor.type)
    if dtype is None:
        return None
    values: NDArray[Any] = np.asarray(data, np.uint8).view(dtype)
    return values.reshape(shape_of(tensor))


def intern_constant(model: Any, graph: Any, values: NDArray[np.int32]) -> int:
    """Adds an int32 constant to a graph and returns its tensor index; equal ones are merged when slimming."""
    buffer, tensor = schema().BufferT(), schema().TensorT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.shape = list(values.shape)
    tensor.type = schema().TensorType.INT32
    tensor.buffer = len(model.buffers) - 1
    tensor.hasRank = True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def consumers(graph: Any, index: int) -> list[Any]:
    """The operators that read a tensor."""
    return [operator for operator in graph.operators if index in list(operator.inputs)]


def producer(graph: Any, index: int) -> Any | None:
    """The operator that writes a tensor, None for inputs and constants."""
    return next((operator for operator in graph.operators if index in list(operator.outputs)), None)


@functools.lru_cache(maxsize=1)
def _operator_names() -> dict[int, str]:
    return {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}


@functools.lru_cache(maxsize=1)
def _dtypes() -> dict[int, type[np.generic]]:
    return {getattr(schema().TensorType, name): dtype for name, dtype in _DTYPES.items()}


def _fill_in(model: Any) -> None:
    """A list that was left out is an empty one."""
    for graph in _listed(model.subgraphs):
        for name in ("tensors", "inputs", "outputs", "operators"):
            setattr(graph, name, _filled(getattr(graph, name)))
        for operator in graph.operators:
            operator.inputs, operator.outputs = _filled(operator.inputs), _filled(operator.outputs)
    for signature in _listed(model.signatureDefs):
        signature.inputs, signature.outputs = _filled(signature.inputs), _filled(signature.outputs)


def _filled(vector: Any) -> Any:
    return [] if vector is None else vector


def _check_indices(model: Any) -> None:
    """Raises IndexError where an index points outside its list: LiteRT would crash the process on some of them."""
    _require(bool(model.subgraphs) and bool(model.buffers))
    for graph in model.subgraphs:
        tensors = range(len(graph.tensors))
        _require(all(0 <= tensor.buffer < len(model.buffers) for tensor in graph.tensors))
        _require(all(index in tensors for index in [*graph.inputs, *graph.outputs]))
        for operator in graph.operators:
            _require(0 <= operator.opcodeIndex < len(_listed(model.operatorCodes)))
            indices = [*operator.inputs, *operator.outputs]
            _require(all(index in tensors or index == -1 for index in indices))  # -1 stands for an input left out
    for signature in _listed(model.signatureDefs):
        _require(0 <= signature.subgraphIndex < len(model.subgraphs))
        graph = model.subgraphs[signature.subgraphIndex]
        _require({entry.tensorIndex for entry in signature.inputs} <= {int(index) for index in graph.inputs})
        _require({entry.tensorIndex for entry in signature.outputs} <= {int(index) for index in graph.outputs})


def _listed(vector: Any) -> list[Any]:
    return [] if vector is None else list(vector)


def _require(holds: bool) -> None:
    if not holds:
        raise IndexError("an index points outside its list")
