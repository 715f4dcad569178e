"""Keeps talkative libraries off the terminal."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO

__all__ = ["Said", "quiet"]


class Said:
    """What was written while ``quiet`` was in force.

    Attributes:
        text: standard output and standard error together; complete once the block has ended.
    """

    text: str = ""


@contextlib.contextmanager
def quiet() -> Iterator[Said]:
    """Catches all that is written to the terminal, by Python or by C++; warnings and log records go nowhere.

    File descriptors 1 and 2 belong to the whole process: what another thread prints meanwhile is caught as well.

    Example:
        >>> with quiet() as said:
        ...     print("progress", end="")
        >>> said.text
        'progress'
    """
    said, written = Said(), io.StringIO()
    with tempfile.TemporaryFile() as sink:
        try:
            with (
                _descriptors_into(sink),
                contextlib.redirect_stdout(written),
                contextlib.redirect_stderr(written),
                warnings.catch_warnings(),
                _no_log_records(),
            ):
                warnings.simplefilter("ignore")
                yield said
        finally:
            sink.seek(0)
            said.text = written.getvalue() + sink.read().decode(errors="replace")


@contextlib.contextmanager
def _descriptors_into(sink: IO[bytes]) -> Iterator[None]:
    _flush()
    saved: list[tuple[int, int]] = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # a daemon may have closed them
            saved.append((descriptor, os.dup(descriptor)))
            os.dup2(sink.fileno(), descriptor)
    try:
        yield
    finally:
        _flush()
        for descriptor, original in saved:
            os.dup2(original, descriptor)
            os.close(original)


@contextlib.contextmanager
def _no_log_records() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _flush() -> None:
    """Empties Python's buffers and those of the C library, so that nothing is written after a switch."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no C library to be found by that name on Windows
        ctypes.CDLL(None).fflush(None)
