"""``pack``, ``unpack``: model files as phones download them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from converters import size_bytes
from mobiledistill.archive import pack as write
from mobiledistill.archive import unpack as restore

__all__ = ["PACK_EXAMPLE", "UNPACK_EXAMPLE", "pack", "unpack"]

PACK_EXAMPLE = "Example: mobiledistill pack student.tflite -o student.mdpack"
UNPACK_EXAMPLE = "Example: mobiledistill unpack student.mdpack -o student.tflite"

_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write; else beside it.")]


def pack(
    file: Annotated[Path, typer.Argument(help="A .tflite, .onnx or .mlpackage, or any other file or folder.")],
    out: _Out = None,
) -> None:
    """Write a model file as a small archive that unpacks to the same bytes."""
    archive = write(file, out)
    before, after = size_bytes(file), size_bytes(archive)
    share = f", {100 * after / before:.1f} %" if before else ""
    print(f"{archive}  {before:,} bytes before, {after:,} after{share}")


def unpack(
    archive: Annotated[Path, typer.Argument(help="What pack wrote.")],
    out: _Out = None,
) -> None:
    """Write the file or folder that an archive was made of; on a phone, mdpack.c does the same."""
    file = restore(archive, out)
    print(f"{file}  {size_bytes(archive):,} bytes before, {size_bytes(file):,} after")
