"""A real browser without a window."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Chromium", "Tab"]


class Chromium:
    """Opens addresses, each in a browser of its own.

    Args:
        folder: for what the browsers keep.
        flags: for all of them.
    """

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        self._folder, self._flags = folder, tuple(flags)
        self._running: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def program() -> str | None:
        """Where it is; None: nowhere."""
        return shutil.which("chromium") or shutil.which("chromium-browser")

    def open(self, address: str) -> None:
        self._start([address])

    def tab(self, address: str) -> Tab:
        """The same, under the test's control."""
        (to_read, told), (answered, to_write) = os.pipe(), os.pipe()
        # A shell puts the pipes where the browser looks for them: what Python would run between fork and exec for that
        # is no good in a process with threads.
        ends = ["sh", "-c", f'exec "$@" 3</dev/fd/{to_read} 4>/dev/fd/{to_write}', "sh"]
        self._start(["--remote-debugging-pipe", "about:blank"], before=ends, pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        return Tab(told, answered, address)

    def kill(self) -> None:
        """Ends all of them at once, as a phone does that runs out of memory."""
        for running in self._running:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    def _start(self, words: Sequence[str], before: Sequence[str] = (), pass_fds: Sequence[int] = ()) -> None:
        program = self.program()
        assert program is not None
        profile = self._folder / f"profile-{len(self._running)}"
        # Without the sandbox, which root has none of; with memory in files, as containers have little of the other.
        plain = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._running.append(
            subprocess.Popen(
                [*before, program, *plain, *self._flags, f"--user-data-dir={profile}", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        )


class Tab:
    """A page that does what the test says, by the DevTools protocol over a pipe."""

    def __init__(self, told: int, answered: int, address: str) -> None:
        self._told, self._answered = told, answered
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.size(390, 844)
        self.ask("Page.navigate", url=address)  # answers once there is a document that can be asked

    def size(self, width: int, height: int) -> None:
        """As large as a phone's screen, two points a pixel."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=True)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._told, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"].get("exception", found["exceptionDetails"])
        return found["result"].get("value")

    def call(self, module: str, function: str, *arguments: Any) -> Any:
        """What a function of one of the page's modules gives; ``function`` may be any expression over ``core``."""
        given = ", ".join(json.dumps(argument) for argument in arguments)
        return self.evaluate(f"import('./{module}').then((core) => ({function})({given}))")

    def wait_for(self, expression: str, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < until, f"{expression} never came true: {self.evaluate('document.body.innerText')}"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def choose(self, selector: str, file: Path) -> None:
        """Chooses a file, as a person does in the dialogue."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Leaves the browser; whoever opened it ends it."""
        for end in (self._told, self._answered):
            with contextlib.suppress(OSError):
                os.close(end)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._answered, 1 << 16)
            assert more, "the browser is gone"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))
