"""Gives damaged files to a reader in a process of its own, which may die without taking the rest along."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from benchmarks.fuzz._readers import READERS, Files, Reader
from converters import MobileDistillError, run_in_child

__all__ = ["LIMIT_BYTES", "LIMIT_S", "Case", "cases", "corpus_of"]

LIMIT_S = 5
LIMIT_BYTES = 1_000_000_000
_WALL_LIMIT_S = 60  # beyond this a process waits for something; the limit above is about computing

Outcome = Literal["accepted", "refused", "crash", "hang"]


@dataclass(frozen=True)
class Case:
    """What a reader made of one damaged file.

    Attributes:
        index: which one; with the reader and the seed it makes the same file again.
        reason: of a crash or hang, and of a refusal: what was said.
        seconds: of the processor.
        bytes: how far memory grew while reading.
    """

    index: int
    outcome: Outcome
    reason: str
    seconds: float
    bytes: int


def corpus_of(name: str) -> list[Files]:
    """A reader's sound files. They are read once, so that what a reader loads on use is there before it is measured."""
    corpus = run_in_child(_corpus, name, what=f"the corpus of {name}", timeout_s=600)  # converters start threads
    for files in corpus:
        with tempfile.TemporaryDirectory() as folder:
            _lay_down(files, Path(folder))
            READERS[name].read(Path(folder))
    return corpus


def _corpus(name: str) -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        return READERS[name].corpus(Path(folder))


def cases(reader: Reader, corpus: list[Files], indices: range, seed: int) -> Iterator[Case]:
    """The cases in order; after one that kills its process a fresh one goes on."""
    following = indices.start
    while following < indices.stop:
        for case in _until_death(reader, corpus, range(following, indices.stop), seed):
            following = case.index + 1
            yield case


def damaged(reader: Reader, corpus: list[Files], index: int, seed: int) -> Files:
    """The file of one case."""
    return reader.damage(corpus, random.Random(f"{seed}/{index}"))


def _until_death(reader: Reader, corpus: list[Files], indices: range, seed: int) -> Iterator[Case]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(reader, corpus, indices, seed, theirs), daemon=True
    )
    process.start()
    theirs.close()
    waiting = indices.start
    with ours:
        while waiting < indices.stop:
            try:
                case: Case = ours.recv()
            except EOFError:
                break
            waiting = case.index + 1
            yield case
    process.join()
    if waiting < indices.stop:
        yield _death(waiting, process.exitcode or 0)


def _death(index: int, exit_code: int) -> Case:
    name = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
    if name in ("SIGPROF", "SIGALRM"):
        return Case(index, "hang", f"took more than {LIMIT_S} s", float(LIMIT_S), 0)
    return Case(index, "crash", f"killed its process ({name})", 0.0, 0)


def _serve(reader: Reader, corpus: list[Files], indices: range, seed: int, answers: Connection) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_status_bytes("VmSize") + LIMIT_BYTES, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for index in indices:
            place = Path(folder) / "case"
            _lay_down(damaged(reader, corpus, index, seed), place)
            answers.send(_tried(reader, place, index))
            shutil.rmtree(place)


def _tried(reader: Reader, place: Path, index: int) -> Case:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # puts the high-water mark back
    before, started = _status_bytes("VmRSS"), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    signal.alarm(_WALL_LIMIT_S)
    outcome: Outcome = "accepted"
    reason = ""
    try:
        reader.read(place)
    except MobileDistillError as error:
        outcome, reason = "refused", str(error)
        if "\n" in reason or not reason:
            outcome, reason = "crash", f"an error of {len(reason.splitlines())} lines"
    except Exception as error:
        outcome, reason = "crash", _described(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    return Case(index, outcome, reason, time.process_time() - started, max(0, _status_bytes("VmHWM") - before))


def _described(error: Exception) -> str:
    """The error, and the innermost line of this project that it passed through."""
    root = Path(__file__).parents[2]
    frames = [frame for frame in traceback.extract_tb(sys.exc_info()[2]) if Path(frame.filename).is_relative_to(root)]
    inner = frames[-1]
    said = (str(error).strip().splitlines() or [""])[0][:100]
    return f"{type(error).__name__} at {Path(inner.filename).relative_to(root)}:{inner.lineno} ({said})"


def _lay_down(files: Files, place: Path) -> None:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
