"""What a page says to the server, word by word."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Visitor"]


class Visitor:
    """Sends requests to an address that a device printed."""

    def __init__(self, address: str, page: str = "1-2-3-4") -> None:
        there = urlsplit(address)
        assert there.hostname is not None
        assert there.port is not None
        self.host, self.port, self.root, self.page = there.hostname, there.port, there.path, page

    def ask(
        self,
        name: str,
        body: bytes | None = None,
        *,
        path: str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """GET, or POST where there is a body; a header of None is left out."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        sent: dict[str, str | None] = {"Host": f"{self.host}:{self.port}", "X-Page": self.page, "X-Job": "0"}
        if body is not None:
            sent |= {"Content-Length": str(len(body)), "Origin": f"http://{self.host}:{self.port}"}
        sent |= headers or {}
        try:
            connection.putrequest(
                "GET" if body is None else "POST", path or self.root + name, skip_host=True, skip_accept_encoding=True
            )
            for header, value in sent.items():
                if value is not None:
                    connection.putheader(header, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def work(self) -> dict[str, Any]:
        """Asks until there is work."""
        while True:
            status, body, _ = self.ask("work")
            assert status in (200, 204), status
            if status == 200:
                return dict(json.loads(body))

    def say(self, job: int, message: object) -> int:
        return self.ask("messages", json.dumps(message).encode(), headers={"X-Job": str(job)})[0]
