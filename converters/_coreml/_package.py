"""The folder that an .mlpackage is: where its parts lie, and how a new one takes an old one's place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters._coreml._library import model_proto
from converters._errors import ConversionError, ModelFileError

__all__ = ["WEIGHTS_FILE", "Package", "open_package", "replacing", "write_parts"]

WEIGHTS_FILE = "weight.bin"
_AUTHOR = "com.apple.CoreML"
_LARGEST_MANIFEST = 1_000_000
_LARGEST_MODEL = 2_000_000_000  # protobuf's own limit


@dataclass(frozen=True)
class Package:
    """An .mlpackage that was opened.

    Attributes:
        spec: its model as protobuf.
        model: the file that this was read from.
        weights: the folder of its weights, which may not exist.
    """

    spec: Any
    model: Path
    weights: Path


def open_package(path: Path) -> Package:
    """Reads the manifest and the model of a package; nothing outside of the folder is read.

    Raises:
        ModelFileError: the folder is no package, damaged, or holds something else than an ML program.
    """
    _refuse_links(path)
    entries = _entries(path)
    weights = next((place for name, place in entries.items() if name == "weights"), path / "Data" / _AUTHOR / "weights")
    spec = model_proto()
    try:
        model = entries["model.mlmodel"]
        if model.stat().st_size > _LARGEST_MODEL:
            raise ModelFileError(f"{path} holds a model of more than 2 GB; no Core ML model is that large.")
        spec.ParseFromString(model.read_bytes())
    except (OSError, KeyError) as error:
        raise ModelFileError(f"{path} holds no model.mlmodel that can be read; export it again.") from error
    except Exception as error:  # protobuf's DecodeError, whose module depends on its version
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} holds a damaged model.mlmodel; export it again.") from error
    if spec.WhichOneof("Type") != "mlProgram":
        kind = spec.WhichOneof("Type") or "nothing"
        raise ModelFileError(f"{path} holds {kind}, not an ML program; convert it with convert_to='mlprogram'.")
    return Package(spec, model, weights)


def write_parts(folder: Path, spec: Any, weights: bytes) -> None:
    """Fills an empty place with manifest, model and weights, and nothing else.

    The same content gives the same bytes: identifiers are made from the content, not drawn.
    """
    model = spec.SerializeToString(deterministic=True)
    data = folder / "Data" / _AUTHOR
    (data / "weights").mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(model)
    (data / "weights" / WEIGHTS_FILE).write_bytes(weights)
    (folder / "Manifest.json").write_text(_manifest(model))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write a package into; it takes ``path`` when the block ends well.

    Raises:
        ConversionError: the folder cannot be written.
    """
    if not path.parent.is_dir():
        raise ConversionError(f"{path} cannot be written, {path.parent} is no folder: give one that exists.")
    aside = path.with_name(f".{path.stem}.partial.mlpackage")
    old = path.with_name(f".{path.stem}.old.mlpackage")
    try:
        _remove(aside)
        try:
            yield aside
            _remove(old)
            if path.exists():
                path.rename(old)  # a folder cannot be replaced in one step while it has content
            aside.rename(path)
        finally:
            _remove(aside)
            _remove(old)
    except OSError as error:
        raise ConversionError(
            f"{path} cannot be written ({error.strerror or type(error).__name__}): give a folder that exists"
            " and can be written."
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _entries(path: Path) -> dict[str, Path]:
    """The parts of a package by name; ``model.mlmodel`` is the root, whatever the manifest calls it."""
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise ModelFileError(f"{path} is no Core ML package: it has no Manifest.json. Give an .mlpackage folder.")
    try:
        if manifest.stat().st_size > _LARGEST_MANIFEST:
            raise ValueError("too large")
        content = json.loads(manifest.read_text())
        items = content["itemInfoEntries"]
        root = content["rootModelIdentifier"]
        places = {str(item["name"]): _inside(path, str(item["path"])) for item in items.values()}
        return {**places, "model.mlmodel": _inside(path, str(items[root]["path"]))}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path} has a damaged Manifest.json; export it again.") from error


def _refuse_links(path: Path) -> None:
    """A link in a package may lead to any file of the reader's."""
    for place in path.rglob("*"):
        if place.is_symlink():
            raise ModelFileError(
                f"{path} holds a link ({place.relative_to(path).as_posix()!r}), which may lead outside of its own"
                " folder; put the file itself there."
            )


def _inside(path: Path, relative: str) -> Path:
    data = (path / "Data").resolve()
    place = (data / relative).resolve()
    if not place.is_relative_to(data):
        raise ModelFileError(f"{path} points outside of its own folder ({relative!r}); do not use it.")
    return place


def _manifest(model: bytes) -> str:
    """The smallest manifest that still has every field which coremltools writes."""
    digest = hashlib.sha256(model).hexdigest()
    identifiers = [str(uuid.uuid5(uuid.NAMESPACE_OID, part + digest)) for part in ("model", "weights")]
    items = {
        identifier: {"author": _AUTHOR, "description": "", "name": name, "path": f"{_AUTHOR}/{name}"}
        for identifier, name in zip(identifiers, ("model.mlmodel", "weights"), strict=True)
    }
    content = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": identifiers[0]}
    return json.dumps(content, separators=(",", ":"))
