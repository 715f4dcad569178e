"""Curves of every training for TensorBoard."""

from __future__ import annotations

import importlib
import time
import weakref
from pathlib import Path
from typing import Any

from converters import MissingExtraError
from mobiledistill._progress import Event, Progress
from mobiledistill._workdir import make_folder

__all__ = ["TensorBoard"]


class TensorBoard:
    """A ``progress`` that writes losses and scores where TensorBoard reads them, one run for each training.

    A training that was killed and goes on goes on in its run. Nothing is written until the first epoch is done. Needs
    the extra ``mobiledistill[tensorboard]``; look with ``tensorboard --logdir FOLDER``.

    Example:
        >>> compress(teacher, task, budget, progress=TensorBoard("runs/digits/curves"))  # doctest: +SKIP

    Args:
        folder: where the runs go.
        also: another ``progress`` that hears everything as well.

    Raises:
        MissingExtraError: the extra is not installed.
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, also: Progress | None = None) -> None:
        self._folder = Path(folder)
        self._also = also
        self._writers: dict[str, Any] = {}
        try:
            # Not its SummaryWriter: that one writes from a thread, and a killed run would lose its last epochs.
            self._open = importlib.import_module("tensorboardX.event_file_writer").EventsWriter
            self._record = importlib.import_module("tensorboardX.proto.event_pb2").Event
            self._summary = importlib.import_module("tensorboardX.summary").scalar
        except ModuleNotFoundError:
            raise MissingExtraError("tensorboardX", "tensorboard") from None
        make_folder(self._folder)
        weakref.finalize(self, _close, self._writers)

    def __call__(self, event: Event) -> None:
        """Takes in what got done; numbers are on disk when this returns."""
        if event.numbers:
            writer = self._writer(f"{event.phase.split()[0]}-{event.training}")
            for label, value in event.numbers.items():
                summary = self._summary(label, value)
                writer.write_event(self._record(step=event.done, wall_time=time.time(), summary=summary))
            writer.flush()
        if self._also is not None:
            self._also(event)

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            make_folder(self._folder / run)
            later = f".{time.time_ns()}"  # files are read in the order of their names, which end with the second
            self._writers[run] = self._open(str(self._folder / run / "events"), later)
        return self._writers[run]


def _close(writers: dict[str, Any]) -> None:
    for writer in writers.values():
        writer.close()
