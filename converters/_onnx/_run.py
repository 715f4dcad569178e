"""Runs .onnx files with onnxruntime."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._ends import IntegerEnd
from converters._errors import InputError, ModelFileError
from converters._onnx._file import SIGNATURE_KEY, signature_paths
from converters._onnx._integer_ends import integer_ends
from converters._onnx._libraries import onnxruntime_library
from converters._onnx._part import part_weights
from converters._quiet import quiet

__all__ = ["FileSignature", "ONNXModel"]

_DTYPES = {
    "tensor(bool)": np.bool_,
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True)
class FileSignature:
    """How a file is called: its inputs with their shapes (None where an axis is free), and its outputs, by name."""

    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]


class ONNXModel:
    """An .onnx file, or a folder with one per signature, ready to answer.

    Example:
        >>> model = ONNXModel(Path("net.onnx"))  # doctest: +SKIP
        >>> model.run({"features": np.zeros((1, 1, 40, 101), np.float32)})["logits"].shape  # doctest: +SKIP
        (1, 10)

    Args:
        path: the file or folder.
        threads: how many threads an operator may use.
        optimized: with graph optimisations, as applications run it; without, operator by operator as written.

    Attributes:
        signatures: by name; a single file's is ``main`` unless its metadata says otherwise.

    Raises:
        InputError: there is no such file.
        ModelFileError: the file is no ONNX model, damaged, refused by onnxruntime, or reaches outside its folder.
        MissingExtraError: onnx or onnxruntime is not installed.
    """

    def __init__(self, path: Path, *, threads: int = 1, optimized: bool = True) -> None:
        self._path = Path(path)
        if self._path.suffix == ".ort":
            session = _open(self._path, threads, optimized)
            self._sessions = {_notes(session).get(SIGNATURE_KEY, "main"): session}
        else:
            files = signature_paths(self._path)
            self._sessions = {name: _open(file, threads, optimized) for name, file in files.items()}
        self.signatures = {
            name: FileSignature(
                {value.name: _shape(value.shape) for value in session.get_inputs()},
                tuple(value.name for value in session.get_outputs()),
            )
            for name, session in self._sessions.items()
        }

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
        if signature not in self._sessions:
            raise InputError(f"Signature {signature!r} is not in {self._path}: call one of {list(self._sessions)}.")
        session, expected = self._sessions[signature], self.signatures[signature]
        if set(inputs) != set(expected.inputs):
            raise InputError(f"Inputs {sorted(inputs)} were given to {self._path}: it reads {sorted(expected.inputs)}.")
        arrays = {value.name: _fitting(value, np.asarray(inputs[value.name])) for value in session.get_inputs()}
        try:
            answers = session.run(list(expected.outputs), arrays)
        except Exception as error:
            raise _refused(self._path, error) from error
        return dict(zip(expected.outputs, answers, strict=True))

    def integer_ends(self, signature: str = "main") -> dict[str, IntegerEnd]:
        """What the integers of quantized inputs and outputs mean, by name."""
        session = self._sessions[signature]
        dtypes = {value.name: _DTYPES.get(value.type) for value in (*session.get_inputs(), *session.get_outputs())}
        return integer_ends(_notes(session), dtypes)


def _open(path: Path, threads: int, optimized: bool, write_to: Path | None = None) -> Any:
    runtime = onnxruntime_library()
    levels = runtime.GraphOptimizationLevel
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong comes as an exception
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    if write_to is not None:
        options.optimized_model_filepath = str(write_to)
    source: str | bytes = str(path)
    if _saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
        source = part_weights(path) if path.suffix != ".ort" else source
    try:
        with quiet():
            return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refused(path, error) from error


def _notes(session: Any) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def _saturates() -> bool:
    """Whether integer kernels lose the top of a sum: on x86 processors without VNNI. Precision costs them half."""
    if platform.machine().lower() not in ("amd64", "i386", "i686", "x86", "x86_64"):
        return False
    described = Path("/proc/cpuinfo")
    return not described.is_file() or "vnni" not in described.read_text()


def _refused(path: Path, error: Exception) -> ModelFileError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return ModelFileError(f"{path} cannot be run by onnxruntime: {reason.rstrip('.')}. Export it again.")


def _shape(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape)


def _fitting(value: Any, array: NDArray[Any]) -> NDArray[Any]:
    shape = _shape(value.shape)
    if len(shape) != array.ndim or any(
        size not in (None, given) for size, given in zip(shape, array.shape, strict=True)
    ):
        raise InputError(f"Input {value.name!r} has shape {array.shape}, but the file reads {shape}: give that shape.")
    dtype = np.dtype(_DTYPES.get(value.type, array.dtype))
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise InputError(f"Input {value.name!r} holds {array.dtype}, but the file reads {dtype}: convert it first.")
    return np.ascontiguousarray(array, dtype)
