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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state: dict[str, Any] = {}
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
        log = self.folder / "requests.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [f"{one['method']} {one['path']}" for one in map(json.loads, lines)]

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
def running(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service, with everything set so that this release of the client finds it."""
    python = environment(version)
    service = Service(folder)
    with subprocess.Popen([python, "-I", _SERVER, folder], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            ini = folder / "client.ini"
            ini.write_text(f"[api]\napi_token = secret\napi_url = {address}\nweb_url = {address}\nverbose = True\n")
            monkeypatch.setenv("QAIHUB_CLIENT_INI", str(ini))
            monkeypatch.setenv("MOBILEDISTILL_AIHUB_PYTHON", str(python))
            yield service
        finally:
            server.kill()
