"""Trying files on a page: what is served, and what cannot be."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from converters import DeviceError, Program, convert
from mobiledistill import DemoTask, InputError, Recipe, Schedule, TryOut
from mobiledistill.cli import main
from mobiledistill.cli._try_browser import try_in_browser
from tests.devices.browser import Visitor
from tests.networks import Residual, Stripes


@pytest.fixture
def task(tmp_path: Path) -> DemoTask:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<title>a page</title>")
    return DemoTask(
        make_task=lambda _: Stripes(),
        make_teacher=lambda _, __: Residual(),
        teacher_recipe=Recipe(epochs=1),
        schedule=Schedule(),
        try_out=TryOut("fill", "a number", lambda *_: pytest.fail("nobody asked here"), page),
    )


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A finished run with an .onnx file, a .tflite folder that was lost, and assets."""
    artifacts = tmp_path / "runs" / "stripes-official-seed0" / "artifacts"
    (artifacts / "assets").mkdir(parents=True)
    (artifacts / "assets" / "labels.json").write_text('["upright"]')
    convert(Program(Residual().eval(), {"image": torch.zeros(1, 1, 16, 16)}, ("logits",)), artifacts / "student.onnx")
    made = {name: {"path": f"moved/student.{name}"} for name in ("onnx", "tflite")}
    (artifacts.parent / "result.json").write_text(json.dumps({"artifacts": made}))
    return tmp_path / "runs"


@pytest.fixture
def runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins: nothing here runs them."""
    from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES, Runtimes

    monkeypatch.setenv("MOBILEDISTILL_BROWSER", str(tmp_path / "web"))
    for fmt, runtime in WEB_RUNTIMES.items():
        folder = Runtimes.found().of(fmt)
        folder.mkdir(parents=True)
        for name in runtime.files:
            (folder / name).write_text(f"{fmt} {name}")


@contextmanager
def served(task: DemoTask, workdir: Path) -> Iterator[Visitor]:
    told: list[str] = []
    there, stop = threading.Event(), threading.Event()

    def announce(address: str) -> None:
        told.append(address)
        there.set()

    options = {"announce": announce, "stop": stop}
    given = ("stripes", task, "browser", workdir, ("tflite", "coreml", "onnx"))
    serving = threading.Thread(target=try_in_browser, args=given, kwargs=options)
    serving.start()
    try:
        assert there.wait(30)
        yield Visitor(told[0])
    finally:
        stop.set()
        serving.join(timeout=30)
        assert not serving.is_alive()


@pytest.mark.usefixtures("runtimes")
def test_the_page_gets_the_files_of_the_last_run_and_what_is_beside_them(task: DemoTask, workdir: Path) -> None:
    with served(task, workdir) as visitor:
        assert visitor.ask("")[1] == b"<title>a page</title>"
        facts = json.loads(visitor.ask("facts.json")[1])
        assert (facts["task"], facts["assets"]) == ("stripes", ["labels.json"])
        [model] = facts["models"]
        file = workdir / "stripes-official-seed0" / "artifacts" / "student.onnx"
        assert (model["format"], model["name"], model["bytes"]) == ("onnx", "student.onnx", file.stat().st_size)
        assert visitor.ask(model["files"][""])[1] == file.read_bytes()
        assert visitor.ask("assets/labels.json")[1] == b'["upright"]'
        assert visitor.ask("runtime/onnx/ort.wasm.min.mjs")[1] == b"onnx ort.wasm.min.mjs"


@pytest.mark.usefixtures("runtimes")
def test_nobody_else_gets_anything_and_nothing_is_taken(task: DemoTask, workdir: Path) -> None:
    with served(task, workdir) as visitor:
        assert visitor.ask("facts.json", path="/wrong/facts.json")[0] == 403
        assert visitor.ask("facts.json", headers={"Origin": "http://evil.example"})[0] == 403
        assert visitor.ask("facts.json", headers={"Host": "evil.example"})[0] == 403
        for name in ("../result.json", "assets/../../result.json", "assets/", "assets", "models/onnx/x", "work"):
            assert visitor.ask(name)[0] == 404, name
        for name in ("messages", "outputs/0", "gone", "facts.json", "assets/labels.json"):
            assert visitor.ask(name, b"{}")[0] == 404, name
            with socket.create_connection((visitor.host, visitor.port), timeout=10) as line:
                told = f"POST {visitor.root}{name} HTTP/1.1\r\nHost: {visitor.host}:{visitor.port}\r\n"
                line.sendall(f"{told}Content-Length: 9\r\n\r\n".encode())
                assert line.recv(100).startswith(b"HTTP/1.1 404"), name  # though not a byte of it has come


@pytest.mark.usefixtures("runtimes")
def test_what_cannot_be_tried_is_told(task: DemoTask, workdir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--try 'phone' is not understood; give one of browser, browser:lan"):
        try_in_browser("stripes", task, "phone", workdir, ("onnx",))
    with pytest.raises(InputError, match="has no page to try it on"):
        try_in_browser("stripes", replace(task, try_out=None), "browser", workdir, ("onnx",))
    with pytest.raises(InputError, match="no finished run of task 'stripes' with a file in tflite, onnx"):
        try_in_browser("stripes", task, "browser", tmp_path, ("tflite", "coreml", "onnx"))
    with pytest.raises(InputError, match="Browsers run tflite and onnx files"):
        try_in_browser("stripes", task, "browser", workdir, ("coreml",))


def test_a_runtime_that_is_not_there_is_named(
    task: DemoTask, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_BROWSER", str(tmp_path / "nothing"))
    with pytest.raises(DeviceError, match=r"onnxruntime-web .*mobiledistill devices prepare-browser"):
        try_in_browser("stripes", task, "browser", workdir, ("onnx",))


@pytest.mark.parametrize("more", [["--wav", "a.wav"], ["--json"]])
def test_the_command_takes_one_way_at_a_time(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "speech", "--try", "browser", *more])
    assert stopped.value.code == 2
    assert "give one" in capsys.readouterr().err
