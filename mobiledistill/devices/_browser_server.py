"""Serves the page that measures, hands it work and takes its answers; nothing that it is sent is trusted.

Every address begins with a random token and is looked up in a table, so no path leads anywhere else. Requests from
other origins, under another host's name, or with a body larger than what is due are refused before a body is read.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from converters import DeviceError
from mobiledistill.devices._browser_wire import MESSAGE, Failed, Finished, Message, Work

__all__ = ["Job", "Server"]

_PAGE = Path(__file__).parent / "assets" / "browser"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_HEADERS = {
    # These two isolate the page from other origins, which is what threads and a fine clock are given for.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src data:; worker-src 'self' blob:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the token is part of the address
    "X-Content-Type-Options": "nosniff",
}
_LARGEST_MESSAGE_BYTES = 8 << 20
_LARGEST_PAGE_NAME_BYTES = 64
_POLL_S = 10.0
_PAGE_FORGOTTEN_S = 25.0
_WAIT_FOR_PAGE_S = 600.0
_SILENT_S = 60.0
_SOCKET_S = 30.0


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


class Server:
    """A web server for one page at a time, on one address of this computer.

    Args:
        host: the address to listen at.
        port: where; another one where it is in use.
        runtimes: the runtimes' files, by the name that the page knows.
    """

    def __init__(self, host: str, port: int, runtimes: Mapping[str, Path]) -> None:
        self._token = secrets.token_urlsafe(16)
        self._files: dict[str, Path | bytes] = {"": _PAGE / "index.html"}
        self._files |= {path.name: path for path in sorted(_PAGE.iterdir())}
        self._files |= runtimes
        self._changed = threading.Condition()
        self._job: Job | None = None
        self._page: str | None = None
        self._page_seen = 0.0
        self._http = _listening(host, port, partial(_Requests, self))
        self._host, self._port = host, self._http.server_address[1]
        serve = partial(self._http.serve_forever, poll_interval=0.05)  # how long closing may take
        threading.Thread(target=serve, name="mobiledistill browser", daemon=True).start()

    @property
    def address(self) -> str:
        """What the browser opens."""
        return f"http://{self._host}:{self._port}/{self._token}/"

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

    def close(self) -> None:
        """Stops listening."""
        self._http.shutdown()
        self._http.server_close()

    # -- what requests ask, each on a thread of its own ------------------------------------------------------------

    def admits(self, token: str, host: str, origin: str | None, site: str | None) -> bool:
        """Whether a request knows the token and comes from our own page, or from a person who typed the address."""
        own = {f"{name}:{self._port}" for name in (self._host, *(["localhost"] if self._host == "127.0.0.1" else []))}
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())
        return known and host in own and origin in (None, f"http://{host}") and site in (None, "none", "same-origin")

    def file(self, name: str) -> Path | bytes | None:
        """What lies under a name."""
        with self._changed:
            return self._files.get(name) or (self._job.files.get(name) if self._job is not None else None)

    def largest_body_bytes(self, name: str) -> int | None:
        """Of what may be sent to a name; None: nothing may."""
        if name == "messages":
            return _LARGEST_MESSAGE_BYTES
        if name == "gone":
            return _LARGEST_PAGE_NAME_BYTES
        with self._changed:
            due = () if self._job is None else self._job.largest_outputs_bytes
        return {f"outputs/{index}": size for index, size in enumerate(due)}.get(name)

    def work(self, page: str) -> Work | HTTPStatus:
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

    def take(self, name: str, page: str, job: int, body: bytes) -> HTTPStatus:
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

    def gone(self, page: str) -> None:
        """A page was closed or left."""
        with self._changed:
            if self._page != page:
                return
            self._page = None
            if self._job is not None and self._job.taken:
                self._job.death = "its page was closed"
            self._changed.notify_all()


def _listening(host: str, port: int, handler: Any) -> ThreadingHTTPServer:
    for tried in (port, 0):
        try:
            return _Listener((host, tried), handler)
        except OSError as error:
            refused = error.strerror
    raise DeviceError(f"No web server can listen at {host}: {refused}. Look which address this computer has.")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False  # another process's port must stay its own

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is no news: whoever waits for its answer runs into a time limit."""

    def server_bind(self) -> None:
        """Without asking for this computer's name, which may take seconds."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_S

    def __init__(self, server: Server, *connection: Any) -> None:
        self._server = server
        super().__init__(*connection)

    def do_GET(self) -> None:
        name = self._admitted()
        if name is None:
            return
        if name == "work":
            page = self._page()
            found = HTTPStatus.BAD_REQUEST if page is None else self._server.work(page)
            if isinstance(found, Work):
                return self._answer(HTTPStatus.OK, found.model_dump_json().encode(), "application/json")
            return self._answer(found)
        content = self._server.file(name)
        if content is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        body = content if isinstance(content, bytes) else content.read_bytes()
        suffix = "" if isinstance(content, bytes) else content.suffix
        kept = name.startswith("runtime/")
        self._answer(HTTPStatus.OK, body, _TYPES.get(suffix, "application/octet-stream"), kept=kept)

    def do_POST(self) -> None:
        name = self._admitted()
        if name is None:
            return
        largest = self._server.largest_body_bytes(name)
        if largest is None:
            # The page of a run that is over may still send what no table holds any more.
            return self._answer(HTTPStatus.GONE if name.startswith("outputs/") else HTTPStatus.NOT_FOUND, close=True)
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            return self._answer(HTTPStatus.LENGTH_REQUIRED, close=True)
        if len(length) > 12 or int(length) > largest:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, close=True)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        if name == "gone":
            self._server.gone(body.decode("ascii", "replace"))
            return self._answer(HTTPStatus.NO_CONTENT)
        page, job = self._page(), self.headers.get("X-Job", "")
        if page is None or not (job.isascii() and job.isdigit() and len(job) < 12):
            return self._answer(HTTPStatus.BAD_REQUEST)
        self._answer(self._server.take(name, page, int(job), body))

    def _admitted(self) -> str | None:
        """The name that is asked for; None where the request was refused."""
        token, _, name = self.path.removeprefix("/").partition("/")
        said = self.headers
        if self._server.admits(token, said.get("Host", ""), said.get("Origin"), said.get("Sec-Fetch-Site")):
            return name
        self._answer(HTTPStatus.FORBIDDEN, close=True)
        return None

    def _page(self) -> str | None:
        page = self.headers.get("X-Page", "")
        named = 0 < len(page) <= _LARGEST_PAGE_NAME_BYTES and set(page) <= set("0123456789-")
        return page if named else None

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        kind: str = "text/plain; charset=utf-8",
        *,
        kept: bool = False,
        close: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "private, max-age=86400, immutable" if kept else "no-store")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """The terminal belongs to the measurement."""
