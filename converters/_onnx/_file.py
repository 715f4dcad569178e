"""Opens .onnx files that may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from converters._errors import InputError, ModelFileError
from converters._onnx._graph import graphs
from converters._onnx._libraries import onnx_library
from converters._quiet import quiet

__all__ = ["SIGNATURE_KEY", "read_models", "signature_paths"]

SIGNATURE_KEY = "signature"
"""Where a file's metadata holds the name of its signature; a file without one is ``main``."""

_LARGEST_BYTES = 2**31  # protobuf reads no more


def read_models(path: Path) -> dict[str, Any]:
    """The ``onnx.ModelProto`` of each signature, checked; weights in other files are not loaded.

    Raises:
        InputError: there is no such file.
        ModelFileError: the file is damaged, no ONNX model, or reaches outside its folder.
    """
    models = {}
    for file in _files(path):
        model = _read(file)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        models[entries.get(SIGNATURE_KEY) or (file.stem if path.is_dir() else "main")] = model
    return models


def signature_paths(path: Path) -> dict[str, Path]:
    """The file of each signature: the path itself, or the .onnx files of a folder. Checks them like read_models."""
    return dict(zip(read_models(path), _files(path), strict=True))


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of an .onnx file, or of a folder of them.")
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.onnx"))
    if not files:
        raise ModelFileError(f"{path} is a folder without an .onnx file in it; give the folder that was exported.")
    return files


def _read(path: Path) -> Any:
    onnx = onnx_library()
    if path.stat().st_size >= _LARGEST_BYTES:
        raise ModelFileError(f"{path} is larger than 2 GB, which no .onnx file can be; export it again.")
    try:
        with quiet():
            model = onnx.ModelProto.FromString(path.read_bytes())
    except Exception as error:
        raise _damaged(path, error) from None
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _refuse_escape(path, tensor)
    try:
        with quiet():
            onnx.checker.check_model(model if not _has_external(model) else str(path))
    except Exception as error:
        raise _damaged(path, error) from None
    return model


def _damaged(path: Path, error: Exception) -> ModelFileError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelFileError(f"{path} is no ONNX model, or a damaged one ({lines[0][:200]}); export it again.")


def _tensors(graph: Any) -> Iterator[Any]:
    for inner in graphs(graph):
        yield from inner.initializer
        for sparse in inner.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in inner.node:
            for entry in node.attribute:
                yield from (entry.t, *entry.tensors)


def _has_external(model: Any) -> bool:
    return any(tensor.data_location == onnx_library().TensorProto.EXTERNAL for tensor in _tensors(model.graph))


def _refuse_escape(path: Path, tensor: Any) -> None:
    """External data may lie in the file's own folder or below, and nowhere else."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    pure = (PurePosixPath(location), PureWindowsPath(location))
    outside = not location or any(way.is_absolute() or way.drive or ".." in way.parts for way in pure)
    folder = path.parent.resolve()
    if outside or not (folder / location).resolve().is_relative_to(folder):
        raise ModelFileError(
            f"{path} keeps weights in {location!r}, outside its own folder, which is unsafe; put them beside it."
        )
