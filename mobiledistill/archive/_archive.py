"""``pack`` and ``unpack``: a model file as a phone should download it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from converters import InputError, MissingExtraError, ModelFileError
from mobiledistill.archive._format import Contents, archived, extracted

__all__ = ["pack", "unpack"]

_SUFFIX = ".mdpack"
_LARGEST_ARCHIVE = 1 << 31


def pack(path: str | Path, archive: str | Path | None = None) -> Path:
    """Writes a model file, or a folder of them, as an archive that unpacks to the same bytes.

    You gain a download that is smaller than zip, zstd, brotli or xz make it, since the coder knows where the tensors
    lie; you pay with time, about a second for every 300 kB on each side, and with memory, up to 20 MB and three times
    the model. An app unpacks with the C of ``mobiledistill/devices/assets/native/mdpack.c``, which needs nothing else.
    What is no .tflite, .onnx or .mlpackage is packed as plain bytes. Names are kept, dates and permissions are not.

    Example:
        >>> pack("student.tflite")  # doctest: +SKIP
        PosixPath('student.tflite.mdpack')

    Args:
        path: a file or a folder, without links in it.
        archive: where to write; None: beside it, with ``.mdpack`` added to its name.

    Returns:
        Where the archive lies. It is written whole or not at all.

    Raises:
        InputError: there is nothing to pack, it holds a link, is too large, or the archive cannot be written.
        MissingExtraError: numba is not installed.
    """
    source = Path(path)
    target = source.with_name(f"{source.name}{_SUFFIX}") if archive is None else Path(archive)
    contents = _read(source)
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{target} would lie in what it packs, {source}; give another place for the archive.")
    _check_numba()
    _write(target, archived(contents))
    return target


def unpack(archive: str | Path, path: str | Path | None = None) -> Path:
    """Writes the file or folder that an archive was made of, byte for byte, after its checksum was compared.

    Example:
        >>> unpack("student.tflite.mdpack", "downloaded.tflite")  # doctest: +SKIP
        PosixPath('downloaded.tflite')

    Args:
        archive: what ``pack`` wrote.
        path: where to write; None: beside the archive, its name without ``.mdpack``. A file that is there already is
            replaced, a folder is not.

    Returns:
        Where the file or folder lies. It is written whole or not at all.

    Raises:
        InputError: there is no such archive, or the path cannot be written.
        ModelFileError: the archive is damaged, foreign, or of a newer release.
        MissingExtraError: numba is not installed.
    """
    source = Path(archive)
    if path is None and (source.suffix != _SUFFIX or source.name == _SUFFIX):
        raise InputError(f"{source} does not end in {_SUFFIX}, so its model's name is unknown; give a path as well.")
    target = source.with_suffix("") if path is None else Path(path)
    if not source.is_file():
        raise InputError(f"{source} is no file; give an archive that pack wrote.")
    if source.stat().st_size > _LARGEST_ARCHIVE:
        raise ModelFileError(f"{source} has more than 2 GB, which no archive has; give one that pack wrote.")
    if target.resolve() == source.resolve():
        raise InputError(f"{target} is the archive itself; give another place for the model.")
    _check_numba()
    try:
        contents = extracted(source.read_bytes(), str(source))
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}).") from None
    _write(target, contents)
    return target


def _check_numba() -> None:
    try:
        import numba  # noqa: F401
    except ImportError:
        raise MissingExtraError("numba", "pack") from None


def _read(source: Path) -> Contents:
    if source.is_symlink():
        raise InputError(f"{source} is a link; give the file or folder itself.")
    try:
        if source.is_file():
            return source.read_bytes()
        if not source.is_dir():
            raise InputError(f"{source} is no file and no folder; give the path of a model.")
        found = {}
        for part in sorted(source.rglob("*")):
            name = part.relative_to(source).as_posix()
            if part.is_symlink():
                raise InputError(f"{source} holds a link, {name}; put the file itself in its place.")
            if part.is_file():
                found[name] = part.read_bytes()
            elif part.is_dir():
                if not any(part.iterdir()):
                    found[f"{name}/"] = b""
            else:
                raise InputError(f"{source} holds {name}, which is no file and no folder; take it out.")
        return found
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}).") from None


def _write(target: Path, contents: Contents) -> None:
    """Writes aside, then renames."""
    if target.is_dir() or (target.exists() and not isinstance(contents, bytes)):
        raise InputError(f"{target} is there already, and no folder is replaced; remove it, or give another path.")
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if isinstance(contents, bytes):
            aside.write_bytes(contents)
        else:
            aside.mkdir()
            for name, content in contents.items():
                part = aside / name
                if name.endswith("/"):
                    part.mkdir(parents=True)
                else:
                    part.parent.mkdir(parents=True, exist_ok=True)
                    part.write_bytes(content)
        aside.replace(target)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink(missing_ok=True)
        raise InputError(
            f"{target} cannot be written ({error.strerror}); give a place in a folder that exists."
        ) from None
