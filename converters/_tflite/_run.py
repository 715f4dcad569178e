"""Runs .tflite files with LiteRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._ends import IntegerEnd
from converters._errors import InputError, MissingExtraError, ModelFileError
from converters._quiet import quiet
from converters._tflite._schema import dtype_of, is_quantized, read_model, shape_of

__all__ = ["FileSignature", "TFLiteModel"]

_Input = tuple[tuple[int, ...], np.dtype[Any]]
_Entry = tuple[str, int]


@dataclass(frozen=True)
class FileSignature:
    """How a file is called: its inputs with their shapes, and its outputs, by name."""

    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


class TFLiteModel:
    """A .tflite file, ready to answer at the shapes it was written for.

    Example:
        >>> model = TFLiteModel(Path("net.tflite"))
        >>> model.run({"features": np.zeros((1, 1, 40, 101), np.float32)})["logits"].shape
        (1, 10)

    Args:
        path: the file.
        threads: how many threads an operator may use.
        delegate: with XNNPACK, as phones run it; without, on TFLite's own kernels.
        keep_all: leaves inner values in memory for ``tensor``; without a delegate only.

    Attributes:
        signatures: by name. A file without signatures is called through one named ``main``, by tensor names.

    Raises:
        ModelFileError: the file is no TFLite model, damaged, or LiteRT refuses it.
        MissingExtraError: ai-edge-litert is not installed.
    """

    def __init__(self, path: Path, *, threads: int = 1, delegate: bool = True, keep_all: bool = False) -> None:
        self._path = Path(path)
        model = read_model(self._path)  # stricter than LiteRT, which a damaged file can take the process down in
        self.signatures, self._inputs = _signatures(model)
        self._integer_ends = _integer_ends(model)
        self._has_signatures = bool(model.signatureDefs)
        self._graphs = _graphs(model)
        try:
            with quiet():
                self._interpreter = _interpreter(self._path, threads, delegate, keep_all)
                for name, inputs in self._inputs.items():  # the first call prepares, and talks
                    self._call(name, {key: np.zeros(shape, dtype) for key, (shape, dtype) in inputs.items()})
        except MissingExtraError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise ModelFileError(
                f"{self._path} cannot be run by LiteRT: {reason.rstrip('.')}. Export it again."
            ) from error

    def run(self, inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        """Answers one set of inputs.

        Args:
            inputs: by name, each of the signature's shape; 64-bit values are narrowed to what the file reads.
            signature: which one to call.

        Returns:
            The outputs by name.

        Raises:
            InputError: the signature, a name, a shape or a type is not the file's.
        """
        if signature not in self._inputs:
            raise InputError(f"Signature {signature!r} is not in {self._path}: call one of {list(self._inputs)}.")
        expected = self._inputs[signature]
        if set(inputs) != set(expected):
            raise InputError(f"Inputs {sorted(inputs)} were given to {self._path}: it reads {sorted(expected)}.")
        arrays = {name: _fitting(name, np.asarray(inputs[name]), *expected[name]) for name in expected}
        return self._call(signature, arrays)

    def graph_of(self, signature: str) -> tuple[int, dict[int, str]]:
        """The index of a signature's graph in the file, and the names of the tensors that it returns."""
        return self._graphs[signature]

    def tensor(self, index: int, graph: int) -> NDArray[Any] | None:
        """What a tensor held when the model ran last; None where nothing was kept."""
        try:
            values: NDArray[Any] = self._interpreter.get_tensor(index, graph)
        except ValueError:
            return None
        return values

    def integer_ends(self, signature: str = "main") -> dict[str, IntegerEnd]:
        """What the integers of quantized inputs and outputs mean, by name."""
        return self._integer_ends[signature]

    def _call(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = self.signatures[signature].outputs
        if self._has_signatures:
            returned = self._interpreter.get_signature_runner(signature)(**inputs)
            return {name: returned[name] for name in names}
        self._interpreter.allocate_tensors()
        for detail, values in zip(self._interpreter.get_input_details(), inputs.values(), strict=True):
            self._interpreter.set_tensor(detail["index"], values)
        self._interpreter.invoke()
        details = self._interpreter.get_output_details()
        return {
            name: self._interpreter.get_tensor(detail["index"]) for name, detail in zip(names, details, strict=True)
        }


def _interpreter(path: Path, threads: int, delegate: bool, keep_all: bool) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    kind = OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(
        model_path=str(path),
        num_threads=threads,
        experimental_op_resolver_type=kind,
        experimental_preserve_all_tensors=keep_all,
    )


def _signatures(model: Any) -> tuple[dict[str, FileSignature], dict[str, dict[str, _Input]]]:
    """How each signature is called, and the shape and type of each of its inputs."""
    signatures, inputs = {}, {}
    for name, graph, read, written in _entries(model):
        tensors = {key: graph.tensors[index] for key, index in read}
        inputs[name] = {key: (shape_of(tensor), dtype_of(tensor)) for key, tensor in tensors.items()}
        shapes = {key: shape for key, (shape, _) in inputs[name].items()}
        signatures[name] = FileSignature(shapes, tuple(key for key, _ in written))
    return signatures, inputs


def _graphs(model: Any) -> dict[str, tuple[int, dict[int, str]]]:
    """The place of each signature's graph, and what it returns by tensor."""
    places = [signature.subgraphIndex for signature in model.signatureDefs or ()] or [0]
    return {
        name: (place, {index: key for key, index in written})
        for place, (name, _, _, written) in zip(places, _entries(model), strict=True)
    }


def _entries(model: Any) -> Iterator[tuple[str, Any, list[_Entry], list[_Entry]]]:
    """Name, graph, and the named inputs and outputs of each signature."""
    if not model.signatureDefs:
        graph = model.subgraphs[0]
        yield (
            "main",
            graph,
            *(
                [(_text(graph.tensors[index].name), int(index)) for index in ends]
                for ends in (graph.inputs, graph.outputs)
            ),
        )
    for signature in model.signatureDefs or ():
        graph = model.subgraphs[signature.subgraphIndex]
        yield (
            _text(signature.signatureKey),
            graph,
            *(
                [(_text(entry.name), int(entry.tensorIndex)) for entry in ends]
                for ends in (signature.inputs, signature.outputs)
            ),
        )


def _integer_ends(model: Any) -> dict[str, dict[str, IntegerEnd]]:
    ends = {}
    for name, graph, read, written in _entries(model):
        tensors = {key: graph.tensors[index] for key, index in [*read, *written]}
        ends[name] = {key: _integer_end(tensor) for key, tensor in tensors.items() if is_quantized(tensor)}
    return ends


def _integer_end(tensor: Any) -> IntegerEnd:
    grid = tensor.quantization
    zero_point = 0 if grid.zeroPoint is None or len(grid.zeroPoint) == 0 else int(grid.zeroPoint[0])
    return IntegerEnd(float(grid.scale[0]), zero_point, dtype_of(tensor))


def _text(name: bytes | None) -> str:
    return "" if name is None else name.decode()


def _fitting(name: str, values: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if values.shape != shape:
        raise InputError(f"Input {name!r} has shape {values.shape}, but the file reads {shape}: give that shape.")
    if values.dtype != dtype and not np.can_cast(values.dtype, dtype, "same_kind"):
        raise InputError(f"Input {name!r} holds {values.dtype}, but the file reads {dtype}: convert it first.")
    return np.ascontiguousarray(values, dtype)
