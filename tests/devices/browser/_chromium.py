"""A real browser without a window."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

__all__ = ["Chromium"]


class Chromium:
    """Opens addresses, each in a browser of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def program() -> str | None:
        """Where it is; None: nowhere."""
        return shutil.which("chromium") or shutil.which("chromium-browser")

    def open(self, address: str) -> None:
        program = self.program()
        assert program is not None
        profile = self._folder / f"profile-{len(self._running)}"
        # Without the sandbox, which root has none of; with memory in files, as containers have little of the other.
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._running.append(
            subprocess.Popen(
                [program, *words, f"--user-data-dir={profile}", address],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    def kill(self) -> None:
        """Ends all of them at once, as a phone does that runs out of memory."""
        for running in self._running:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
