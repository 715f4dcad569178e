"""A web server for one page on one address of this computer; nothing that it is sent is trusted.

Every address begins with a random token and is looked up in a table, so no path leads anywhere else. Requests from
other origins, under another host's name, or with a body larger than what is due are refused before a body is read.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from converters import DeviceError

__all__ = ["Files", "Shelf", "Site"]

Files = Mapping[str, Path | bytes]
"""What is served, by the name that the page asks for."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
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
_LARGEST_PAGE_NAME_BYTES = 64
_SOCKET_S = 30.0


class Site(ABC):
    """Listens, and answers those who know the token.

    Args:
        host: the address to listen at.
        port: where; another one where it is in use.
        page: the folder of the built page; its index.html is what the address opens.
        files: what else can be fetched.
    """

    def __init__(self, host: str, port: int, page: Path, files: Files) -> None:
        self._token = secrets.token_urlsafe(16)
        self._files: dict[str, Path | bytes] = {"": page / "index.html"}
        self._files |= {path.name: path for path in sorted(page.iterdir())}
        self._files |= files
        self._http = _listening(host, port, partial(_Requests, self))
        self._host, self._port = host, self._http.server_address[1]
        serve = partial(self._http.serve_forever, poll_interval=0.05)  # how long closing may take
        threading.Thread(target=serve, name="mobiledistill browser", daemon=True).start()

    @property
    def address(self) -> str:
        """What the browser opens."""
        return f"http://{self._host}:{self._port}/{self._token}/"

    def close(self) -> None:
        """Stops listening."""
        self._http.shutdown()
        self._http.server_close()

    def admits(self, token: str, host: str, origin: str | None, site: str | None) -> bool:
        """Whether a request knows the token and comes from our own page, or from a person who typed the address."""
        own = {f"{name}:{self._port}" for name in (self._host, *(["localhost"] if self._host == "127.0.0.1" else []))}
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())
        return known and host in own and origin in (None, f"http://{host}") and site in (None, "none", "same-origin")

    # -- what requests ask, each on a thread of its own ------------------------------------------------------------

    @abstractmethod
    def file(self, name: str) -> Path | bytes | None:
        """What lies under a name."""

    @abstractmethod
    def asked(self, name: str, page: str | None) -> bytes | HTTPStatus | None:
        """The JSON that a name gives now, or why there is none; None where the name is one of a file's."""

    @abstractmethod
    def largest_body_bytes(self, name: str) -> int | HTTPStatus:
        """Of what may be sent to a name, or why nothing may."""

    @abstractmethod
    def take(self, name: str, page: str | None, job: str, body: bytes) -> HTTPStatus:
        """What was sent."""


class Shelf(Site):
    """A page and its files, which nobody sends anything to."""

    def file(self, name: str) -> Path | bytes | None:
        return self._files.get(name)

    def asked(self, name: str, page: str | None) -> bytes | HTTPStatus | None:
        return None

    def largest_body_bytes(self, name: str) -> int | HTTPStatus:
        return HTTPStatus.NOT_FOUND

    def take(self, name: str, page: str | None, job: str, body: bytes) -> HTTPStatus:
        return HTTPStatus.NOT_FOUND


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

    def __init__(self, site: Site, *connection: Any) -> None:
        self._site = site
        super().__init__(*connection)

    def do_GET(self) -> None:
        name = self._admitted()
        if name is None:
            return
        found = self._site.asked(name, self._page())
        if isinstance(found, HTTPStatus):
            return self._answer(found)
        if found is not None:
            return self._answer(HTTPStatus.OK, found, _TYPES[".json"])
        content = self._site.file(name)
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
        largest = self._site.largest_body_bytes(name)
        if isinstance(largest, HTTPStatus):
            return self._answer(largest, close=True)
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            return self._answer(HTTPStatus.LENGTH_REQUIRED, close=True)
        if len(length) > 12 or int(length) > largest:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, close=True)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        self._answer(self._site.take(name, self._page(), self.headers.get("X-Job", ""), body))

    def _admitted(self) -> str | None:
        """The name that is asked for; None where the request was refused."""
        token, _, name = self.path.removeprefix("/").partition("/")
        said = self.headers
        if self._site.admits(token, said.get("Host", ""), said.get("Origin"), said.get("Sec-Fetch-Site")):
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
