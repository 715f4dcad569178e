"""calibrate, on a device whose times are a formula: what the table then says can be worked out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mobiledistill as md
from converters import Format, Kernel, kernels, sections
from mobiledistill import Event
from mobiledistill.devices import (
    DeviceInfo,
    LatencyTable,
    Measurement,
    RuntimeInfo,
    Subject,
    TableDevice,
    Telemetry,
)
from mobiledistill.devices._fit import Hyper, Problem, Timed
from mobiledistill.devices._grid import network
from mobiledistill.devices._host import answers
from mobiledistill.devices._measurement import Backend

NETWORKS = 5


def true_ms(called: list[Kernel]) -> float:
    """A processor of 20 MACs a nanosecond that computes channels by eights, and 2 us for everything it calls."""
    rounded = sum(
        kernel.macs / kernel.channels_out * math.ceil(kernel.channels_out / 8) * 8
        for kernel in called
        if kernel.multiplies
    )
    return 0.002 * len(called) + rounded / 20e6


class Formula:
    """A device that computes how long it takes."""

    name = "formula"
    formats = ("onnx",)

    def __init__(self) -> None:
        self.asked = 0
        self.most = math.inf

    def signatures(self, path: Path, fmt: str) -> tuple[str, ...]:
        return ("main",)

    def measure(self, path: Path, fmt: Any, inputs: Any = None, **options: Any) -> Measurement:
        self.asked += 1
        if self.asked > self.most:
            raise KeyboardInterrupt
        ms = true_ms(kernels(path)["main"])
        return Measurement(
            device=DeviceInfo(name="formula", os="none", cpu="none"),
            runtime=RuntimeInfo(name="onnxruntime", version="1.32.0"),
            path_kind="host",
            file=path.name,
            sha256="0" * 64,
            format=fmt,
            signature="main",
            backend=Backend(asked="cpu", obtained="cpu"),
            threads=1,
            batch=1,
            samples_ms=((ms,),),
            percentile=50.0,
            latency_ms=ms,
            ci95_ms=(ms, ms),
            p50_ms=ms,
            p90_ms=1.25 * ms,
            drift_first_to_last_third=0.0,
            telemetry_before=Telemetry(),
            telemetry_after=Telemetry(),
            verdict="valid",
        )


def calibrated(device: Formula, workdir: Path, progress: Callable[[Event], None] | None = None) -> LatencyTable:
    return md.calibrate(
        device, formats=("onnx",), precisions=("fp32",), networks=NETWORKS, workdir=workdir, progress=progress
    )


EVENTS: list[Event] = []


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    return calibrated(Formula(), tmp_path_factory.mktemp("calibration"), EVENTS.append)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 13, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(13, 30, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(30 * 400, 10),
    )
    program = md.Program(net.eval(), {"image": torch.randn(1, 3, 20, 20)}, ("y",))
    return md.convert(program, tmp_path_factory.mktemp("unseen") / "unseen.onnx")


def test_the_table_predicts_a_file_it_has_not_seen(table: LatencyTable, unseen: Path) -> None:
    called = kernels(unseen)["main"]
    prediction = table.predict(unseen)

    assert prediction.latency_ms == pytest.approx(true_ms(called), rel=0.15)
    assert prediction.unknown == ()


def test_what_it_says_of_its_error_is_what_networks_held_out_were_off(table: LatencyTable) -> None:
    onnx = table.formats["onnx"]
    assert len(onnx.holdout) == NETWORKS  # each was measured twice, and counts once
    assert 0 < onnx.error < 1.0
    assert onnx.repeatability == 0.0  # a formula repeats itself
    assert onnx.tail == pytest.approx(1.25)


def test_a_killed_calibration_goes_on(tmp_path: Path, table: LatencyTable) -> None:
    device = Formula()
    device.most = 25
    with pytest.raises(KeyboardInterrupt):
        calibrated(device, tmp_path)
    done = len([path for path in tmp_path.glob("*-fp32.json")])
    again = Formula()

    resumed = calibrated(again, tmp_path)

    assert done > 0
    assert resumed == table
    assert again.asked < sum(one.files for one in table.formats.values())


def test_a_device_that_was_unplugged_is_asked_again(tmp_path: Path, table: LatencyTable) -> None:
    class Unplugged(Formula):
        def measure(self, path: Path, fmt: Any, inputs: Any = None, **options: Any) -> Measurement:
            raise md.DeviceError("the phone was unplugged")

    with pytest.raises(md.DeviceError, match="unplugged"):
        calibrated(Unplugged(), tmp_path)
    assert calibrated(Formula(), tmp_path) == table


def test_a_table_is_no_device_to_calibrate(tmp_path: Path, table: LatencyTable) -> None:
    with pytest.raises(md.InputError, match="only predicts"):
        md.calibrate(TableDevice(table), formats=("onnx",), workdir=tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"formats": ()}, "No format was given"),
        ({"precisions": ()}, "precisions must be some of fp32, int8"),
        ({"precisions": ("int4",)}, "precisions must be some of fp32, int8"),
        ({"seed": 10**20}, "seed must be 0 or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(md.InputError, match=words):
        md.calibrate(Formula(), **{"formats": ("onnx",), "workdir": tmp_path, **wrong})  # type: ignore[arg-type]  # what is refused


def test_disturbed_times_do_not_count(tmp_path: Path) -> None:
    class Disturbed(Formula):
        def measure(self, path: Path, fmt: Any, inputs: Any = None, **options: Any) -> Measurement:
            return super().measure(path, fmt).model_copy(update={"verdict": "invalid"})

    with pytest.raises(md.InputError, match="Fewer than 5 networks could be timed undisturbed"):
        calibrated(Disturbed(), tmp_path)


def test_progress_says_how_far_it_is(table: LatencyTable) -> None:
    assert [event.done for event in EVENTS] == list(range(NETWORKS + 1))
    assert {event.total for event in EVENTS} == {NETWORKS}


def test_a_folder_of_another_calibration_is_refused(tmp_path: Path) -> None:
    device = Formula()
    device.most = 0
    with pytest.raises(KeyboardInterrupt):
        calibrated(device, tmp_path)
    with pytest.raises(md.InputError, match="holds another run"):
        md.calibrate(device, formats=("onnx",), networks=NETWORKS, seed=3, workdir=tmp_path)


def test_what_the_device_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(md.InputError, match="formula does not run tflite; it runs onnx"):
        md.calibrate(Formula(), formats=("tflite",), workdir=tmp_path)
    with pytest.raises(md.InputError, match="networks must be 5 or more"):
        md.calibrate(Formula(), formats=("onnx",), networks=2, workdir=tmp_path)


def test_the_same_seed_draws_the_same_networks() -> None:
    first, second, other = (network(0, seed) for seed in (1, 1, 2))
    assert str(first.module) == str(second.module)
    assert str(first.module) != str(other.module)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("format", "float_ends"), [("tflite", False), ("tflite", True), ("onnx", False)])
def test_every_kernel_is_in_one_section(tmp_path: Path, format: Format, precision: str, float_ends: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 1), nn.ReLU(), nn.MaxPool2d(2))
    program = md.Program(net.eval(), {"image": torch.randn(1, 3, 12, 12)}, ("y",))
    if precision == "int8":
        (program,) = md.quantize.post_training(program, {"image": torch.randn(4, 3, 12, 12)})
    whole = md.convert(program, tmp_path / f"whole.{format}")

    parts = sections(whole, tmp_path / "parts", [1], float_ends=float_ends)

    def heavy(called: list[Kernel]) -> list[tuple[int, int]]:
        return [(kernel.positions, kernel.macs) for kernel in called if kernel.multiplies]

    assert len(parts) > 2
    assert sorted(one for part in parts for one in heavy(kernels(part)["main"])) == sorted(
        heavy(kernels(whole)["main"])
    )
    assert len(heavy(kernels(whole)["main"])) == 2
    asked = answers([Subject(part, format) for part in parts[1:-1]])
    in_floats = precision == "fp32" or float_ends
    assert all((value.dtype.kind == "f") == in_floats for one in asked for value in one.inputs.values())


def test_work_and_correction_learn_a_law_from_sums() -> None:
    """Files are sums of kernels; the fit has to find each kernel's time without ever seeing one alone."""
    generator = torch.Generator().manual_seed(0)

    def kernel(kind: str) -> Kernel:
        size = int(torch.randint(1000, 100_000, (1,), generator=generator))
        return Kernel(kind, size, size)

    def law(one: Kernel) -> float:
        return 0.001 + one.inputs * (2e-7 if one.kind == "A" else 7e-7)

    drawn = [[kernel(kind) for kind in ("A", "B", "B", "A")[: 2 + number % 3]] for number in range(40)]
    fitted = Problem([Timed(tuple(called), sum(map(law, called))) for called in drawn]).fit(Hyper())

    for probe in (Kernel("A", 30_000, 30_000), Kernel("B", 5_000, 5_000)):
        assert fitted.ms([probe])[0] == pytest.approx(law(probe), rel=0.1)
    assert fitted.unknown([Kernel("C", 1, 1)]) == ("C",)
    assert fitted.ms([Kernel("C", 50_000, 50_000)])[0] > 0.8 * law(Kernel("B", 50_000, 50_000))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"width": 8}, {"width": 64}),
        ({"channels_in": 12, "taps": 3}, {"channels_in": 9, "taps": 4}),  # nine channels are not read in fours
    ],
)
def test_kernels_that_differ_in_one_thing_are_told_apart(one: dict[str, int], other: dict[str, int]) -> None:
    slow, fast = (Kernel("CONV", inputs=4000, outputs=1600, channels_out=16, **sizes) for sizes in (one, other))
    fitted = Problem([Timed((slow,), 2.0), Timed((fast,), 1.0)]).fit(Hyper())
    assert fitted.ms([slow, fast]) == pytest.approx([2.0, 1.0], rel=0.2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_a_kernel_knows_how_wide_the_map_is_that_it_writes(fmt: str, precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1, groups=16)).eval()
    program = md.Program(module, {"x": torch.randn(1, 4, 10, 22)}, ("y",))
    if precision == "int8":
        program = md.quantize.post_training(program, {"x": torch.randn(4, 4, 10, 22)})[0]
    called = kernels(md.convert(program, tmp_path / f"net.{fmt}"))["main"]
    assert [kernel.width for kernel in called if kernel.multiplies] == [22, 11]  # in whatever layout
    assert all(kernel.width == 1 for kernel in called if not kernel.multiplies)
