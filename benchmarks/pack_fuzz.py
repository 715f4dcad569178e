"""Damaged archives for both decoders: ``python -m benchmarks.pack_fuzz [--mutations 10000] [--json FILE] [--quick]``.

Real archives with one to six damages each: anywhere, behind the header, or in the list of names and tensors before the
coder packs it, so that what no packer writes is read at every place. The decoder in Python must refuse in one line or
answer; the one in C, built with the sanitizers of addresses and of undefined behaviour, must answer the same. What is
done is not done again; beside the JSON a page is written, ``pack_fuzz.md``.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._figures import keep_figures, known_figures
from benchmarks.fuzz._mutate import mutated
from benchmarks.fuzz._readers import READERS
from converters import MobileDistillError
from mobiledistill.archive import _format as form
from mobiledistill.archive._format import Contents, archived, extracted

__all__ = ["build", "main", "page"]

_NATIVE = Path(__file__).parents[1] / "mobiledistill" / "devices" / "assets" / "native"
_BATCH = 250
_QUICK = 200
_HEADER = 10  # bytes, about
_LIMIT_S = 5
_NOTHING: dict[str, Any] = {
    "archives": 0,
    "accepted": 0,
    "refused": 0,
    "crashes": 0,
    "hangs": 0,
    "different": 0,
    "most_seconds": {"python": 0.0, "c": 0.0},
    "faults": [],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Goes on where the JSON ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/pack_fuzz.json"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} mutations")
    options = parser.parse_args(arguments)
    wanted = _QUICK if options.quick else options.mutations
    known = known_figures(options.json)
    if known.get("seed") != options.seed:
        known = {"seed": options.seed, **_NOTHING, "most_seconds": {"python": 0.0, "c": 0.0}, "faults": []}
    with tempfile.TemporaryDirectory() as folder:
        decoder = build(Path(folder))
        corpus = _corpus(Path(folder))
        archives = [archived(contents) for contents in corpus]
        while known["archives"] < wanted:
            numbers = range(known["archives"], min(known["archives"] + _BATCH, wanted))
            _try(decoder, [_damaged(corpus, archives, number, options.seed) for number in numbers], known)
            keep_figures(options.json, known, page)
            print(f"{known['archives']} of {wanted}: {len(known['faults'])} faults", flush=True)


def build(folder: Path, *flags: str) -> Path:
    """Compiles the decoder with sanitizers, as a program that reads many archives."""
    program = folder / "unpack_many"
    sources = [_NATIVE / "mdpack.c", Path(__file__).with_name("_unpack_many.c")]
    command = ["gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=address,undefined"]
    command += ["-fno-sanitize-recover=all", *flags, f"-I{_NATIVE}", *map(str, sources), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def _corpus(folder: Path) -> list[Contents]:
    """Archives of models in every format, of a folder, of text, of one that is stored."""
    found: list[Contents] = [b"", b"no model at all, " * 40, random.Random(0).randbytes(300), {"a/b": b"x", "c/": b""}]
    for name in ("tflite", "onnx", "coreml"):
        place = folder / name
        place.mkdir()
        for files in READERS[name].corpus(place):
            only = next(iter(files.values()))
            found.append(only if len(files) == 1 else {key.partition("/")[2]: part for key, part in files.items()})
        shutil.rmtree(place)
    return found


def _damaged(corpus: Sequence[Contents], archives: Sequence[bytes], number: int, seed: int) -> bytes:
    draw = random.Random(f"{seed}/{number}")
    index = draw.randrange(len(corpus))
    where = draw.random()
    if where < 0.3:
        return mutated(archives[index], archives, draw)
    if where < 0.6:
        return archives[index][:_HEADER] + mutated(archives[index][_HEADER:], archives, draw)
    return _with_damaged_list(corpus[index], draw)


def _with_damaged_list(contents: Contents, draw: random.Random) -> bytes:
    """An archive whose coded bits are sound, but not what they say."""
    from mobiledistill.archive._coder import PRIMER, Coder

    content = contents if isinstance(contents, bytes) else b"".join(contents[name] for name in sorted(contents))
    segments = form._segments(contents, content)
    listed = mutated(form._names(contents) + form._listed(segments), (), draw)
    stream = np.concatenate([PRIMER, np.frombuffer(form._number(len(listed)) + listed + content[:1000], np.uint8)])
    coder = Coder(len(content))
    coder.structure(stream, len(PRIMER), len(stream))
    head = archived(b"")[:3] + b"\x11" + form._number(len(content)) + draw.randbytes(4)
    return head + coder.payload()


def _try(decoder: Path, archives: Sequence[bytes], known: dict[str, Any]) -> None:
    first = known["archives"]
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(_in_c, decoder, archives)
        ours = [_in_python(archive) for archive in archives]
    for number, ((accepted, size, seconds, fault), (status, c_size, c_seconds)) in enumerate(
        zip(ours, theirs.result(), strict=True)
    ):
        known["archives"] += 1
        known["accepted" if accepted else "refused"] += 1
        known["most_seconds"]["python"] = max(known["most_seconds"]["python"], round(seconds, 3))
        known["most_seconds"]["c"] = max(known["most_seconds"]["c"], c_seconds)
        if max(seconds, c_seconds) > _LIMIT_S:
            known["hangs"] += 1
            fault = fault or f"took {max(seconds, c_seconds):.1f} s"
        elif fault or status < 0:
            known["crashes"] += 1
            fault = fault or "the decoder in C died"
        elif (status == 0) != accepted or (accepted and c_size != size):
            known["different"] += 1
            fault = f"Python {'accepts' if accepted else 'refuses'} it, C says {status}"
        if fault:
            known["faults"].append({"archive": first + number, "reason": fault})


def _in_python(archive: bytes) -> tuple[bool, tuple[int, int], float, str]:
    began = time.process_time()
    accepted, size, fault = False, (0, 0), ""
    try:
        found = extracted(archive, "archive")
        content = found if isinstance(found, bytes) else b"".join(found.values())
        accepted, size = True, (_sum(content), len(content))
    except MobileDistillError as error:
        fault = "" if str(error) and "\n" not in str(error) else "an error of several lines"
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error).splitlines()[:1]}"
    return accepted, size, time.process_time() - began, fault


def _sum(content: bytes) -> int:
    """FNV-1a, as the program in C has it."""
    found = 14695981039346656037
    for byte in content:
        found = (found ^ byte) * 1099511628211 & (1 << 64) - 1
    return found


def _in_c(decoder: Path, archives: Sequence[bytes]) -> list[tuple[int, tuple[int, int], float]]:
    """Status, checksum with size, and seconds of each; a status of -1 where the program died."""
    found: list[tuple[int, tuple[int, int], float]] = []
    while len(found) < len(archives):
        sent = b"".join(len(one).to_bytes(4, "little") + one for one in archives[len(found) :])
        try:
            run = subprocess.run(
                [decoder], input=sent, capture_output=True, timeout=_LIMIT_S * len(archives), check=False
            )
            lines, failed = run.stdout.decode().splitlines(), run.returncode != 0
            if failed:
                print(run.stderr.decode()[:2000], file=sys.stderr)
        except subprocess.TimeoutExpired as stopped:
            lines, failed = (stopped.stdout or b"").decode().splitlines(), True
        for line in lines:
            status, total, size, seconds = line.split()
            found.append((int(status), (int(total), int(size)), float(seconds)))
        if failed:
            found.append((-1, (0, 0), 0.0))
    return found


def page(known: Mapping[str, Any]) -> str:
    """Markdown: what became of the archives, and what broke."""
    seconds = known["most_seconds"]
    lines = [
        "# Damaged archives",
        "",
        "Made by `python -m benchmarks.pack_fuzz`. Archives of models in the three formats, of a folder and of plain",
        "bytes, with one to six damages each (anywhere, behind the header, in the list before it is coded), given to",
        "the decoder in Python and the one in C, built with the sanitizers of addresses and of undefined behaviour.",
        "An archive is refused in one line, or accepted where the damages undid each other; both decoders must",
        "agree on which, and on the bytes.",
        "",
        "| archives | refused | accepted | crashes | hangs | decoders disagree | most seconds, Python | C |",
        "|---|---|---|---|---|---|---|---|",
        f"| {known['archives']:,} | {known['refused']:,} | {known['accepted']:,} | {known['crashes']} |"
        f" {known['hangs']} | {known['different']} | {seconds['python']:.2f} | {seconds['c']:.2f} |",
        "",
    ]
    if known["faults"]:
        lines += ["## What broke", "", *(f"- archive {one['archive']}: {one['reason']}" for one in known["faults"]), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
