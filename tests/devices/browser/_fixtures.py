"""The runtimes of browsers, and devices that a browser measures on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters import InputError
from mobiledistill.devices import Browser, Runtimes, prepare_browser
from tests.devices.browser._chromium import Chromium

__all__ = ["browser", "chromium", "web_runtimes"]

CACHE = Path(__file__).parents[3] / ".cache" / "browser"


@pytest.fixture(scope="session")
def web_runtimes() -> Runtimes:
    """onnxruntime-web and LiteRT.js, fetched the way that a user does it."""
    found = Runtimes(CACHE)
    if found.has("onnx") and found.has("tflite"):
        return found
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    try:
        return prepare_browser(folder=CACHE)
    except InputError as error:
        pytest.skip(f"needs npm's registry: {error}")


@pytest.fixture(scope="session")
def _needs_chromium() -> None:
    if Chromium.program() is None:
        pytest.skip("needs chromium")


@pytest.fixture
def chromium(_needs_chromium: None, tmp_path: Path) -> Iterator[Chromium]:
    """Browsers that are gone after the test."""
    made = Chromium(tmp_path)
    yield made
    made.kill()


@pytest.fixture(scope="session")
def browser(
    _needs_chromium: None, web_runtimes: Runtimes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A device with a browser that stays open from one measurement to the next."""
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    device = Browser(port=0, runtimes=web_runtimes, announce=chromium.open)
    yield device
    device.close()
    chromium.kill()
