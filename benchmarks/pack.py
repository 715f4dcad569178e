"""What a phone downloads: ``pack`` beside zip, zstd, brotli and xz, each at its strongest, on quantized students.

python -m benchmarks.pack [STUDENT ...] [--json FILE] [--workdir DIR] [--quick]

Students are trained for minutes, since random weights compress otherwise, and stored in every scheme and format. zip is
what a store does (deflate, level 9, with its headers); the others get the files one behind the other. Each archive of
ours is unpacked again and compared. What is done is not done again; beside the JSON a page is written, ``pack.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import shutil
import statistics
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import brotli
import torch
import zstandard

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from benchmarks._pack_students import STUDENTS, files_of

_Files = Mapping[str, bytes]


def main() -> None:
    """Runs what is missing; writes the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="*", default=list(STUDENTS), help=f"some of {'; '.join(STUDENTS)}")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/pack.json"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/pack"))
    parser.add_argument("--quick", action="store_true", help="one epoch, the smallest student, one scheme")
    options = parser.parse_args()
    if unknown := [name for name in options.students if name not in STUDENTS]:
        parser.error(f"no student {', '.join(unknown)}; there are {'; '.join(STUDENTS)}")
    warnings.simplefilter("ignore")
    _compile()
    for name in options.students[:1] if options.quick else options.students:
        folder = options.workdir / name.replace(", ", "-").replace(" ", "-")
        for title, path in files_of(name, folder, options.quick):
            known = known_figures(options.json)
            if title not in known:
                known[title] = _measured(path, options.workdir)
                keep_figures(options.json, known, page)
                print(title, json.dumps(known[title]), flush=True)


def _compile() -> None:
    """Packs something with a tensor of each kind, so that no student pays for it."""
    with tempfile.TemporaryDirectory() as folder:
        model = md.Program(torch.nn.Linear(64, 64).eval(), {"x": torch.zeros(1, 64)}, ("y",))
        for number, one in enumerate([model, *md.quantize.post_training(model, scheme=md.quantize.WeightOnly(8))]):
            path = md.convert(one, Path(folder) / f"{number}.onnx")
            md.unpack(md.pack(path), path)


def _measured(path: Path, workdir: Path) -> dict[str, Any]:
    files = _contents(path)
    found: dict[str, Any] = {"size_bytes": sum(map(len, files.values())), "bytes": {}, "seconds": {}}
    for name, method in _METHODS.items():
        began = time.process_time()
        found["bytes"][name] = method(files)
        found["seconds"][name] = round(time.process_time() - began, 3)
    archive, back = workdir / "archive.mdpack", workdir / f"back{path.suffix}"
    began = time.process_time()
    md.pack(path, archive)
    found["seconds"]["pack"] = round(time.process_time() - began, 3)
    found["bytes"]["pack"] = archive.stat().st_size
    began = time.process_time()
    md.unpack(archive, back)
    found["seconds"]["unpack"] = round(time.process_time() - began, 3)
    if list(_contents(back).values()) != list(files.values()):
        raise RuntimeError(f"{path} came back changed")
    shutil.rmtree(back) if back.is_dir() else back.unlink()
    archive.unlink()
    return found


def _contents(path: Path) -> _Files:
    if path.is_file():
        return {path.name: path.read_bytes()}
    files = sorted(part for part in path.rglob("*") if part.is_file())
    return {part.relative_to(path).as_posix(): part.read_bytes() for part in files}


def _zip(files: _Files) -> int:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return len(archive.getvalue())


def _whole(compress: Callable[[bytes], bytes]) -> Callable[[_Files], int]:
    return lambda files: len(compress(b"".join(files.values())))


_METHODS: dict[str, Callable[[_Files], int]] = {
    "zip": _zip,
    "zstd": _whole(lambda content: zstandard.ZstdCompressor(level=19).compress(content)),
    "brotli": _whole(lambda content: brotli.compress(content, quality=11, lgwin=24)),
    "xz": _whole(lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
}


# -- the page ------------------------------------------------------------------------------------------------------


def page(found: Mapping[str, Any]) -> str:
    """Markdown: bytes by method, and how much smaller than the best of the others pack's archive is."""
    quantized = {title: _saving(one) for title, one in found.items() if "float16" not in title}
    small = [_saving(one) for title, one in found.items() if title in quantized and one["size_bytes"] < _SMALL]
    lines = [
        "# Archives",
        "",
        "Made by `python -m benchmarks.pack`. Bytes of trained students as written, and as zip (deflate, level 9),",
        "zstd (level 19), brotli (quality 11), xz (9, extreme) and `mobiledistill pack` store them. zip names its",
        "files, and so does pack; the other three get a folder's files one behind the other, without their names.",
        "",
        f"Of {len(quantized)} quantized files, pack's archive is smaller than the smallest of the four others by",
        f"{100 * statistics.mean(quantized.values()):.1f} % on average, from {100 * min(quantized.values()):.1f} % to"
        f" {100 * max(quantized.values()):.1f} %"
        + (
            f"; where a file has less than {_SMALL // 1000} kB, by {100 * statistics.mean(small):.1f} %."
            if small
            else "."
        ),
        "Large files gain less: most of their bits are noise that training left in the weights. Seconds are the",
        "processor's, in Python; files below 100 kB are packed twice, with another list of tensors.",
        "",
        "| | as written | zip | zstd | brotli | xz | pack | less than the best | pack s | unpack s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, one in found.items():
        sizes = " | ".join(f"{one['bytes'][name]:,}" for name in (*_METHODS, "pack"))
        lines.append(
            f"| {title} | {one['size_bytes']:,} | {sizes} | {100 * _saving(one):.1f} % |"
            f" {one['seconds']['pack']:.2f} | {one['seconds']['unpack']:.2f} |"
        )
    return "\n".join([*lines, ""])


_SMALL = 100_000


def _saving(one: Mapping[str, Any]) -> float:
    return 1 - float(one["bytes"]["pack"]) / min(one["bytes"][name] for name in _METHODS)


if __name__ == "__main__":
    main()
