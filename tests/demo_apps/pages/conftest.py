"""The demos' pages in a real Chromium, with exported students behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from converters import Format, Program, convert, load
from mobiledistill import Predict, TryOut
from mobiledistill.devices import Runtimes
from mobiledistill.devices._browser_try import shelf_for
from mobiledistill.quantize import post_training
from tests.devices.browser import Chromium, Tab

FORMATS: tuple[Format, ...] = ("tflite", "onnx")


@dataclass(frozen=True)
class Tried:
    """A page with a student's files, and the same files on this computer."""

    tab: Tab
    try_out: TryOut
    files: dict[Format, Path]
    assets: Path

    def here(self, fmt: Format, given: str) -> str:
        """What the command line answers."""
        predict: Predict = load(self.files[fmt]).run
        return self.try_out.answer(predict, self.assets, given).text

    def chosen(self, fmt: Format) -> None:
        """Takes the file of a format, as a person does."""
        button = f"[...document.querySelectorAll('#files button')].find((one) => one.textContent === '.{fmt}')"
        self.tab.evaluate(f"{button}.click()")
        self.tab.wait_for("['ready', 'answered', 'failed'].includes(document.body?.dataset.state)")

    def asked(self, act: Callable[[], object]) -> str:
        """What the page answers after something was done to it; what it complains of, where it does."""
        self.tab.evaluate("document.body.dataset.state = 'asked'")
        act()
        self.tab.wait_for("['answered', 'failed'].includes(document.body?.dataset.state)")
        failed = self.tab.evaluate("document.body.dataset.state") == "failed"
        return self.tab.text("#status" if failed else "#answer")

    def given_file(self, file: Path) -> str:
        return self.asked(lambda: self.tab.choose("#file", file))


Opened = Callable[..., Tried]


@pytest.fixture(scope="module")
def opened(_needs_chromium: None, web_runtimes: Runtimes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Exports a student of a task in both formats, in floats or 8-bit integers, and opens the demo's page with it."""
    # A microphone and a camera that show the browser's own test signals, and that nobody has to allow.
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    chromium = Chromium(tmp_path_factory.mktemp("chromium"), flags)
    shelves, tabs = [], []

    def open_one(name: str, try_out: TryOut, task: Any, model: nn.Module, *, integers: bool = False) -> Tried:
        folder = tmp_path_factory.mktemp(name)
        assets = folder / "assets"
        assets.mkdir()
        for asset, content in task.assets().items():
            (assets / asset).write_bytes(content)
        inputs = {
            signature: {key: torch.from_numpy(value) for key, value in task.calibration_inputs(signature).items()}
            for signature, declared in task.signatures.items()
            if declared.exported
        }
        programs = [
            Program(
                task.exported(model, signature).eval(),
                {key: value[:1] for key, value in given.items()},
                tuple(task.signatures[signature].outputs),
                signature,
            )
            for signature, given in inputs.items()
        ]
        if integers:
            programs = post_training(programs, inputs)
        files = {fmt: convert(programs, folder / f"student.{fmt}") for fmt in FORMATS}
        assert try_out.page is not None
        shelf = shelf_for(try_out.page, name, files, assets, port=0, runtimes=web_runtimes)
        tab = chromium.tab(shelf.address)
        shelves.append(shelf)
        tabs.append(tab)
        tab.wait_for("['ready', 'failed'].includes(document.body?.dataset.state)")
        return Tried(tab, try_out, files, assets)

    yield open_one
    for tab in tabs:
        tab.close()
    chromium.kill()
    for shelf in shelves:
        shelf.close()
