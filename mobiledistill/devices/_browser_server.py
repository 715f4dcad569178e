"""Hands the page that measures its work and takes its answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from converters import DeviceError
from mobiledistill.devices._browser_site import Files, Site
from mobiledistill.devices._browser_wire import MESSAGE, Failed, Finished, Message, Work

__all__ = ["Job", "Server"]

_PAGE = Path(__file__).parent / "assets" / "browser"
_LARGEST_MESSAGE_BYTES = 8 << 20
_LARGEST_PAGE_NAME_BYTES = 64
_POLL_S = 10.0
_PAGE_FORGOTTEN_S = 25.0
_WAIT_FOR_PAGE_S = 600.0
_SILENT_S = 60.0


@dataclass
class Job:
    """One run that the page is asked for, and what it answered so far.

    Attributes:
        files: what the page fetches for it, by name.
        largest_outputs_bytes: of each file's outputs, as they are sent.
        death: why no more will come; None while more may.
    """

    work: Work
    files: Mapping[str, Path | bytes]
    largest_outputs_bytes: tuple[int, ...]
    messages: list[Message] = field(default_factory=list)
    outputs: dict[int, dict[str, NDArray[Any]]] = field(default_factory=dict)
    taken: bool = False
    heard: float = 0.0
    death: str | None = None

    @property
    def ended(self) -> bool:
        """Whether its last message is there."""
        return bool(self.messages) and isinstance(self.messages[-1], Failed | Finished)


class Server(Site):
    """Serves the page that measures, one at a time.

    Args:
        host: the address to listen at.
        port: where; another one where it is in use.
        runtimes: the runtimes' files, by the name that the page knows.
    """

    def __init__(self, host: str, port: int, runtimes: Files) -> None:
        self._changed = threading.Condition()
        self._job: Job | None = None
        self._page: str | None = None
        self._page_seen = 0.0
        super().__init__(host, port, _PAGE, runtimes)  # requests may come from here on

    @property
    def seen(self) -> bool:
        """Whether a page is open."""
        with self._changed:
            return self._page is not None

    def run(self, job: Job) -> None:
        """Waits until the page has ended a job, well or not.

        Raises:
            DeviceError: no page came, or it left or fell silent.
        """
        until = time.monotonic() + _WAIT_FOR_PAGE_S
        with self._changed:
            self._job = job
            self._changed.notify_all()
            try:
                while not job.taken:
                    if not self._changed.wait(until - time.monotonic()) and not job.taken:
                        raise DeviceError(
                            f"No browser asked for work within {_WAIT_FOR_PAGE_S:.0f} s; run it again and open the"
                            " address that it prints."
                        )
                while not job.ended:
                    left_s = job.heard + _SILENT_S - time.monotonic()
                    if job.death is None and left_s <= 0:
                        job.death = f"it said nothing for {_SILENT_S:.0f} s"
                    if job.death is not None:
                        raise DeviceError(
                            f"The browser did not finish: {job.death}. Keep its page open and in front; run it again."
                        )
                    self._changed.wait(left_s)
            finally:
                self._job = None
                if not job.ended:
                    self._page = None  # so that another one may take its place

    # -- what requests ask, each on a thread of its own ------------------------------------------------------------

    def file(self, name: str) -> Path | bytes | None:
        with self._changed:
            return self._files.get(name) or (self._job.files.get(name) if self._job is not None else None)

    def asked(self, name: str, page: str | None) -> bytes | HTTPStatus | None:
        if name != "work":
            return None
        found = HTTPStatus.BAD_REQUEST if page is None else self._work(page)
        return found.model_dump_json().encode() if isinstance(found, Work) else found

    def largest_body_bytes(self, name: str) -> int | HTTPStatus:
        if name == "messages":
            return _LARGEST_MESSAGE_BYTES
        if name == "gone":
            return _LARGEST_PAGE_NAME_BYTES
        with self._changed:
            due = () if self._job is None else self._job.largest_outputs_bytes
        # The page of a run that is over may still send what no table holds any more.
        none = HTTPStatus.GONE if name.startswith("outputs/") else HTTPStatus.NOT_FOUND
        return {f"outputs/{index}": size for index, size in enumerate(due)}.get(name, none)

    def take(self, name: str, page: str | None, job: str, body: bytes) -> HTTPStatus:
        if name == "gone":
            self._gone(body.decode("ascii", "replace"))
            return HTTPStatus.NO_CONTENT
        if page is None or not (job.isascii() and job.isdigit() and len(job) < 12):
            return HTTPStatus.BAD_REQUEST
        return self._take(name, page, int(job), body)

    def _work(self, page: str) -> Work | HTTPStatus:
        """Work for a page, which waits a while for it."""
        until = time.monotonic() + _POLL_S
        with self._changed:
            forgotten = time.monotonic() - self._page_seen > _PAGE_FORGOTTEN_S and (
                self._job is None or not self._job.taken
            )
            if self._page not in (None, page) and not forgotten:
                return HTTPStatus.CONFLICT
            if self._page == page and self._job is not None and self._job.taken:
                self._job.death = "its page gave up"
                self._changed.notify_all()
            self._page, self._page_seen = page, time.monotonic()
            while self._page == page and (left_s := until - time.monotonic()) > 0:
                if self._job is not None and not self._job.taken:
                    self._job.taken, self._job.heard = True, time.monotonic()
                    self._changed.notify_all()
                    return self._job.work
                self._changed.wait(left_s)
            if self._page == page:
                self._page_seen = time.monotonic()
            return HTTPStatus.NO_CONTENT

    def _take(self, name: str, page: str, job: int, body: bytes) -> HTTPStatus:
        """What a page sent about a job; 410 where nobody waits for it."""
        try:
            sent = MESSAGE.validate_json(body) if name == "messages" else load_tensors(body)
        except (ValidationError, SafetensorError, KeyError, ValueError, TypeError):
            return HTTPStatus.BAD_REQUEST
        with self._changed:
            if self._page != page or self._job is None or not self._job.taken or self._job.work.job != job:
                return HTTPStatus.GONE
            self._job.heard = self._page_seen = time.monotonic()
            if isinstance(sent, dict):
                self._job.outputs[int(name.partition("/")[2])] = sent
            else:
                self._job.messages.append(sent)
            self._changed.notify_all()
        return HTTPStatus.NO_CONTENT

    def _gone(self, page: str) -> None:
        """A page was closed or left."""
        with self._changed:
            if self._page != page:
                return
            self._page = None
            if self._job is not None and self._job.taken:
                self._job.death = "its page was closed"
            self._changed.notify_all()
