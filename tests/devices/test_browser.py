"""Browsers: whole runs in a real Chromium, and what can go wrong with one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from torch import nn

from converters import DeviceError, Format, InputError, Program, convert
from mobiledistill.devices import Browser, Measurement, Runtimes, Subject, _browser, _browser_server, _runs
from mobiledistill.devices import open as open_device
from mobiledistill.devices._host import answers
from mobiledistill.quantize import post_training
from tests.devices.browser import Chromium, Tab, Visitor


@pytest.fixture(autouse=True)
def _a_busy_machine_keeps_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Format], Path]:
    """A small network in floats and in 8-bit integers, in both formats."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).eval()  # fmt: skip
    floats = Program(net, {"x": torch.randn(1, 1, 40, 101)}, ("y",))
    programs = {"fp32": floats, "int8": post_training(floats, {"x": torch.randn(32, 1, 40, 101)})[0]}
    folder = tmp_path_factory.mktemp("students")
    formats: tuple[Format, ...] = ("tflite", "onnx")
    return {
        (precision, fmt): convert(program, folder / f"{precision}.{fmt}")
        for precision, program in programs.items()
        for fmt in formats
    }


@pytest.fixture
def alone(web_runtimes: Runtimes) -> Iterator[tuple[Browser, list[str]]]:
    """A device that nobody has come to yet, and the addresses that it told."""
    told: list[str] = []
    device = Browser(port=0, runtimes=web_runtimes, announce=told.append)
    yield device, told
    device.close()


@contextmanager
def played(told: list[str], play: Callable[[Visitor, dict[str, Any]], None]) -> Iterator[None]:
    """Meanwhile a page of the test's own comes, is given work, and does what it likes."""
    faults: list[BaseException] = []

    def page() -> None:
        try:
            while not told:
                time.sleep(0.01)
            visitor = Visitor(told[-1])
            play(visitor, visitor.work())
        except BaseException as fault:  # raised again where the test sees it
            faults.append(fault)

    thread = threading.Thread(target=page)
    thread.start()
    yield
    thread.join(timeout=60)
    assert not faults, faults


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_student_is_timed_and_answers_as_on_this_computer(
    browser: Browser, students: dict[tuple[str, Format], Path], precision: str, fmt: Format
) -> None:
    measured = browser.measure(students[precision, fmt], fmt, processes=2, samples=30)
    assert measured is not None
    assert (measured.verdict, measured.path_kind) == ("valid", "browser")
    assert measured.outputs is not None
    assert measured.outputs.sqnr_db > {"fp32": 100, "int8": 40}[precision]
    assert [len(process) for process in measured.samples_ms] == [30, 30]
    assert measured.device.name.startswith("Chrome ")
    assert measured.runtime.name == {"tflite": "LiteRT.js", "onnx": "onnxruntime-web"}[fmt]
    assert measured.runtime.version[0].isdigit()
    assert (measured.backend.asked, measured.backend.obtained) == ("wasm", "wasm, 1 thread")
    assert measured.browser is not None
    assert "HeadlessChrome" in measured.browser.user_agent
    assert measured.browser.cross_origin_isolated
    assert measured.peak_memory_bytes is None
    assert Measurement.from_json(measured.to_json()) == measured


def test_the_clock_hardly_shows_in_a_sample(browser: Browser, onnx: Path) -> None:
    measured = browser.measure(onnx, "onnx", processes=1, samples=20)
    assert measured is not None
    assert measured.browser is not None
    sample_ms = measured.p50_ms * measured.browser.runs_per_sample
    assert measured.browser.runs_per_sample > 1
    assert measured.browser.clock_step_ms <= 0.02 * sample_ms  # 1 % of the fastest in the warm-up


def test_threads_are_used_where_they_are_asked_for(browser: Browser, assets: Path) -> None:
    for fmt in browser.formats:
        measured = browser.measure(assets / f"reference.{fmt}", fmt, processes=1, samples=5, threads=2)
        assert measured is not None
        assert measured.backend.obtained == "wasm, 2 threads"
        assert measured.outputs is not None
        assert measured.outputs.same


@pytest.fixture(scope="module")
def graphics(web_runtimes: Runtimes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A device with WebGPU, computed in software: right answers, no times to be proud of."""
    if Chromium.program() is None:
        pytest.skip("needs chromium")
    chromium = Chromium(tmp_path_factory.mktemp("graphics"), ["--enable-unsafe-webgpu"])
    device = Browser(port=0, backend="webgpu", runtimes=web_runtimes, announce=chromium.open)
    yield device
    device.close()
    chromium.kill()


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_gpu_computes_where_it_is_asked_for(
    graphics: Browser, students: dict[tuple[str, Format], Path], precision: str, fmt: Format
) -> None:
    measured = graphics.measure(students[precision, fmt], fmt, processes=1, samples=5)
    assert measured is not None
    assert (measured.backend.asked, measured.path_kind) == ("webgpu", "browser")
    assert measured.backend.obtained.startswith("webgpu (google swiftshader)")
    in_parts = " nodes; the rest wasm, 1 thread" in measured.backend.obtained
    assert in_parts == ((precision, fmt) == ("int8", "onnx"))  # WebGPU lacks some operators on integers
    assert measured.device.cpu.endswith("WebGPU")
    assert measured.outputs is not None
    assert measured.outputs.same
    assert measured.verdict == "valid"


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_a_browser_without_a_gpu_is_one_line(web_runtimes: Runtimes, tmp_path: Path, assets: Path, fmt: Format) -> None:
    if Chromium.program() is None:
        pytest.skip("needs chromium")
    chromium = Chromium(tmp_path, ["--disable-features=WebGPU", "--disable-blink-features=WebGPU"])
    device = Browser(port=0, backend="webgpu", runtimes=web_runtimes, announce=chromium.open)
    try:
        with pytest.raises(DeviceError, match=r"computes nothing on webgpu: it has .*WebGPU.* take the backend wasm"):
            device.measure(assets / f"reference.{fmt}", fmt, processes=1, samples=2)
    finally:
        device.close()
        chromium.kill()


def test_backends_that_cannot_be_are_refused(web_runtimes: Runtimes) -> None:
    with pytest.raises(InputError, match="no backend 'gpu' in a browser; give one of wasm, webgpu"):
        Browser(backend="gpu", runtimes=web_runtimes)
    with pytest.raises(InputError, match="'webgpu' needs a page from this computer itself"):
        open_device("browser:lan", backend="webgpu")
    assert open_device("browser", backend="webgpu").name == "browser on webgpu"
    with pytest.raises(InputError, match="A backend was given for 'host'"):
        open_device("host", backend="webgpu")


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_what_a_browser_tells_of_its_device_is_kept(browser: Browser, assets: Path, fmt: Format) -> None:
    measured = browser.measure(assets / f"reference.{fmt}", fmt, processes=1, samples=2)
    assert measured is not None
    assert measured.browser is not None
    assert measured.browser.heap_bytes is not None
    assert 1 << 20 < measured.browser.heap_bytes < 1 << 30  # the runtime's own, most of all
    assert measured.browser.memory_gb is not None  # Chromium tells it, up to 8 or 32
    # The machine of a test may have no battery, and then a browser tells of a full one that is charging.
    assert measured.telemetry_before.battery_percent is None or measured.telemetry_before.battery_percent <= 100


def test_a_hidden_page_measures_again(alone: tuple[Browser, list[str]], chromium: Chromium, onnx: Path) -> None:
    """Hidden in the first run only; what it measured then is thrown away."""
    device, told = alone
    tab: list[Tab] = []

    def hides() -> None:
        while not told:
            time.sleep(0.01)
        tab.append(chromium.tab(told[-1]))
        tab[0].wait_for("document.querySelector('#status')?.textContent.startsWith('Measuring')")
        tab[0].evaluate(VISIBILITY.format("hidden"))
        tab[0].wait_for("document.querySelector('#status').textContent.includes('was hidden')")
        tab[0].evaluate(VISIBILITY.format("visible"))

    page = threading.Thread(target=hides)
    page.start()
    measured = device.measure(onnx, "onnx", processes=1, samples=20)
    page.join(timeout=60)
    tab[0].close()
    assert measured is not None
    assert (measured.verdict, measured.repeated_processes) == ("valid", 1)
    assert len(measured.samples_ms[0]) == 20


VISIBILITY = """
Object.defineProperty(document, 'visibilityState', {{configurable: true, get: () => '{0}'}});
document.dispatchEvent(new Event('visibilitychange'));
"""


def test_several_files_take_turns(browser: Browser, onnx: Path, tflite: Path, tmp_path: Path) -> None:
    least = convert(Program(nn.ReLU().eval(), {"x": torch.randn(1, 4)}, ("y",)), tmp_path / "least.onnx")
    subjects = [Subject(least, "onnx"), Subject(onnx, "onnx")]
    small, large = browser.measure_interleaved(subjects, processes=1, samples=25)
    assert (small.file, large.file) == ("least.onnx", "reference.onnx")
    assert small.reference == large.reference
    assert small.p50_ms < large.p50_ms
    with pytest.raises(InputError, match="one format"):
        browser.measure_interleaved([*subjects, Subject(tflite, "tflite")])
    with pytest.raises(InputError, match="no file"):
        browser.measure_interleaved([])


def test_inputs_are_those_that_were_given(browser: Browser, tmp_path: Path) -> None:
    class Least(nn.Module):
        def forward(self, index: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return torch.arange(8.0)[index] * scale

    inputs = {"index": torch.tensor([3, 1, 7]), "scale": torch.tensor([2.0])}
    path = convert(Program(Least().eval(), inputs, ("y",)), tmp_path / "least.onnx")
    given = {"index": np.array([6, 0, 5]), "scale": np.array([0.5], np.float32)}
    measured = browser.measure(path, "onnx", given, processes=1, samples=2)
    assert measured is not None
    assert measured.outputs is not None
    assert measured.outputs.sqnr_db > 100


def test_a_killed_browser_is_one_line_and_the_same_call_goes_on(
    web_runtimes: Runtimes,
    chromium: Chromium,
    onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Browser(port=0, runtimes=web_runtimes, announce=chromium.open)
    monkeypatch.setattr(_browser_server, "_SILENT_S", 5.0)
    try:
        threading.Thread(target=_killed_when_at_work, args=(device, chromium), daemon=True).start()
        with pytest.raises(DeviceError, match=r"it said nothing for 5 s.*run it again") as raised:
            device.measure(onnx, "onnx", processes=1, samples=100_000)
        assert "\n" not in str(raised.value)
        monkeypatch.undo()
        monkeypatch.setattr(_runs, "_LARGEST_DRIFT", 1e9)
        measured = device.measure(onnx, "onnx", processes=1, samples=5)
        assert measured is not None
        assert measured.verdict == "valid"
    finally:
        device.close()


def _killed_when_at_work(device: Browser, chromium: Chromium) -> None:
    while True:
        time.sleep(0.05)
        job = device._server._job if device._server is not None else None
        if job is not None and job.outputs:
            break
    chromium.kill()


def test_a_page_that_is_closed_ends_the_run_at_once(alone: tuple[Browser, list[str]], onnx: Path) -> None:
    device, told = alone

    def closes(page: Visitor, work: dict[str, Any]) -> None:
        assert page.say(work["job"], {"phase": "start"}) == 204
        assert page.ask("gone", page.page.encode())[0] == 204

    with played(told, closes), pytest.raises(DeviceError, match="its page was closed"):
        device.measure(onnx, "onnx", processes=1, samples=2)


def test_a_page_that_asks_again_has_lost_its_run(
    alone: tuple[Browser, list[str]], onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, told = alone
    monkeypatch.setattr(_browser_server, "_POLL_S", 0.1)
    with (
        played(told, lambda page, _: None if page.ask("work")[0] == 204 else pytest.fail("it was given work")),
        pytest.raises(DeviceError, match="its page gave up"),
    ):
        device.measure(onnx, "onnx", processes=1, samples=2)


def test_nobody_comes(alone: tuple[Browser, list[str]], onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_browser_server, "_WAIT_FOR_PAGE_S", 0.2)
    with pytest.raises(DeviceError, match="No browser asked for work within"):
        alone[0].measure(onnx, "onnx")


def test_a_second_page_is_told_so(alone: tuple[Browser, list[str]], onnx: Path) -> None:
    device, told = alone

    def comes_with_another(page: Visitor, work: dict[str, Any]) -> None:
        other = Visitor(told[-1], page="5-6-7-8")
        assert other.ask("work")[0] == 409
        assert other.say(work["job"], {"phase": "run"}) == 410
        other.ask("gone", other.page.encode())
        assert page.say(work["job"], {"phase": "run"}) == 204
        page.say(work["job"], {"error": {"kind": "failure", "message": "enough"}})

    with played(told, comes_with_another), pytest.raises(DeviceError, match="does not run in onnxruntime-web: enough"):
        device.measure(onnx, "onnx", processes=1, samples=2)


def test_a_runtime_that_does_not_start_is_one_line(alone: tuple[Browser, list[str]], onnx: Path) -> None:
    device, told = alone

    def fails(page: Visitor, work: dict[str, Any]) -> None:
        page.say(work["job"], {"phase": "start"})
        page.say(work["job"], {"error": {"kind": "failure", "message": "no WebAssembly here"}})

    with (
        played(told, fails),
        pytest.raises(DeviceError, match="onnxruntime-web does not start in the browser: no WebAssembly here"),
    ):
        device.measure(onnx, "onnx", processes=1, samples=2)


@pytest.mark.parametrize("lacks", ["a sample", "the outputs", "a file"])
def test_half_an_answer_is_none(alone: tuple[Browser, list[str]], onnx: Path, lacks: str) -> None:
    device, told = alone

    def replies(page: Visitor, work: dict[str, Any]) -> None:
        if lacks != "the outputs":
            body = save(answers([Subject(onnx, "onnx")])[0].outputs)
            assert page.ask("outputs/0", body, headers={"X-Job": str(work["job"])})[0] == 204
        result = a_result(2 - (lacks == "a sample"))
        result["files"] *= 1 + (lacks == "a file")
        assert page.say(work["job"], {"result": result}) == 204

    with played(told, replies), pytest.raises(DeviceError, match="not what was asked for"):
        device.measure(onnx, "onnx", processes=1, samples=2)


def test_wrong_answers_make_a_measurement_invalid(alone: tuple[Browser, list[str]], onnx: Path) -> None:
    device, told = alone

    def lies(page: Visitor, work: dict[str, Any]) -> None:
        due = answers([Subject(onnx, "onnx")])[0].outputs
        body = save({name: value[..., ::-1].copy() for name, value in due.items()})
        page.ask("outputs/0", body, headers={"X-Job": str(work["job"])})
        page.say(work["job"], {"result": a_result(2)})

    with played(told, lies):
        measured = device.measure(onnx, "onnx", processes=1, samples=2)
    assert measured is not None
    assert measured.verdict == "invalid"
    assert measured.reasons[0].startswith("its answers are not this computer's")


def a_result(samples: int) -> dict[str, Any]:
    timed = {"samples_ns": [1e6] * samples, "runs_per_sample": 3}
    timed |= {"load_cold_ms": 1.0, "load_warm_ms": 1.0, "first_run_ms": 1.0}
    page = {"user_agent": "Mozilla/5.0 Firefox/152.0", "platform": "Linux", "logical_cores": 8}
    page |= {"cross_origin_isolated": False, "clock_step_ms": 1.0, "memory_gb": None, "heap_bytes": 1 << 24}
    page |= {"hidden_runs": 0, "battery_percent": [None, None]}
    return json.loads(  # a copy of its own
        json.dumps({"files": [{**timed, "signature": "main", "backend": "wasm"}], "reference": timed, "page": page})
    )


def test_integers_at_a_graphs_ends_are_refused_for_litert(browser: Browser, tmp_path: Path) -> None:
    class Flags(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x > 0

    path = convert(Program(Flags().eval(), {"x": torch.randn(1, 4)}, ("y",)), tmp_path / "flags.tflite")
    with pytest.raises(DeviceError, match=r"flags.tflite has y in bool, and LiteRT.js .* takes float32, int32, uint8"):
        browser.measure(path, "tflite")


def test_runtimes_that_are_not_there_are_named(tmp_path: Path, onnx: Path) -> None:
    with pytest.raises(DeviceError, match=r"does not hold onnxruntime-web.*mobiledistill devices prepare-browser"):
        Browser(runtimes=Runtimes(tmp_path)).measure(onnx, "onnx")


def test_a_page_of_the_network_has_one_thread(web_runtimes: Runtimes, onnx: Path) -> None:
    with pytest.raises(InputError, match="threads=2 need a page from this computer itself"):
        Browser(lan=True, runtimes=web_runtimes).measure(onnx, "onnx", threads=2)


def test_browsers_are_opened_by_name() -> None:
    assert open_device("browser").name == "browser"
    assert open_device("browser:lan").name == "browser:lan"
    with pytest.raises(InputError, match="There is no device 'browser:wan'"):
        open_device("browser:wan")


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (
            "Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/150.0.0.0 Safari/537.36",
            "Chrome 150",
        ),
        ("Mozilla/5.0 (Android 14; Mobile; rv:152.0) Gecko/152.0 Firefox/152.0", "Firefox 152"),
        ("Mozilla/5.0 (iPhone) AppleWebKit/605 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604", "Safari 26"),
        ("Mozilla/5.0 AppleWebKit/537.36 Chrome/149.0 Mobile Safari/537.36 EdgA/149", "Chrome 149"),
        ("curl", "a browser"),
    ],
)
def test_browsers_are_called_by_their_names(agent: str, name: str) -> None:
    assert _browser._browser_name(agent) == name
