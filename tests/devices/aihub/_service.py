"""Environments with the real client, made once, and the service that the client is led to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from converters import InputError
from mobiledistill.devices import prepare_aihub

__all__ = ["CLIENTS", "Service", "environment", "running"]

CLIENTS = ("0.56.0", "0.30.0")
"""The newest release, whose inference jobs profile; and one with jobs of their own for that."""

_CACHE = Path(__file__).parents[3] / ".cache"
_SERVER = Path(__file__).with_name("server.py")


def environment(version: str) -> Path:
    """The interpreter of an environment with that release of qai-hub; it is kept for later runs."""
    folder = _CACHE / f"aihub-{version}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / ".installed").exists():
            try:
                prepare_aihub(folder, client=f"qai-hub=={version}")
            except InputError as error:
                pytest.skip(f"needs qai-hub {version}: {error}")
            (folder / ".installed").touch()
    return folder / "bin" / "python"


class Service:
    """What the service answers, which a test sets, and what it was sent."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python
        self.ini = folder.with_suffix(".ini")
        self._state: dict[str, Any] = {}

    def start_over(self) -> None:
        """Forgets what came, and answers as at first."""
        for path in self.folder.iterdir():
            path.unlink()
        self._state = {}
        self.set(
            job="DONE",
            layers=["NPU"] * 3 + ["CPU"],
            profile={
                "major_version": 1,
                "minor_version": 2,
                "execution_time": 1500,
                "all_execution_times": [1500 + 10 * (index % 3) for index in range(30)],
                "cold_load_time": 80_000,
                "warm_load_time": 9_000,
                "after_execution_peak_memory": 42_000_000,
            },
        )

    def set(self, **state: Any) -> None:
        """Changes how the service answers from now on."""
        self._state |= state
        aside = self.folder / "state.aside"
        aside.write_text(json.dumps(self._state))
        aside.replace(self.folder / "state.json")

    def answers_with(self, outputs: dict[str, NDArray[Any]]) -> None:
        """What the phone's outputs are."""
        np.savez(self.folder / "outputs.npz", **outputs)  # type: ignore[arg-type]  # the stub takes a name for an option
        self.set(outputs=str(self.folder / "outputs.npz"))

    @property
    def requests(self) -> list[str]:
        """The method and path of all that came."""
        log = self.folder / "requests.txt"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def model(self) -> bytes:
        """The bytes that were uploaded."""
        return (self.folder / "model").read_bytes()

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """The arrays that were uploaded."""
        with np.load(self.folder / "inputs.npz") as archive:
            return {name: archive[name] for name in archive.files}

    @property
    def jobs(self) -> list[bytes]:
        """The job messages, in their order."""
        return [path.read_bytes() for path in sorted(self.folder.glob("job-*"))]


@contextmanager
def running(version: str, folder: Path) -> Iterator[Service]:
    """The service, and the environment that asks it."""
    service = Service(folder, environment(version))
    with subprocess.Popen([service.python, "-I", _SERVER, folder], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            told = {"api_token": "secret", "api_url": address, "web_url": address, "verbose": "True"}
            service.ini.write_text("[api]\n" + "".join(f"{name} = {value}\n" for name, value in told.items()))
            yield service
        finally:
            server.kill()
