"""A latency table as a device: predictions, called so, and nothing believed of a file that came from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobiledistill as md
from converters import Kernel, kernels
from mobiledistill.devices import LatencyTable, TableDevice, latency_per_use
from mobiledistill.devices._fit import Correction, Fitted, Hyper, amounts, place
from mobiledistill.devices._measurement import DeviceInfo, RuntimeInfo
from mobiledistill.devices._table import table_of

HOLDOUT = tuple(float(ratio) for ratio in np.linspace(0.9, 1.1, 41))
CALL_MS, MACS_PER_MS = 0.5, 1e6


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)).eval()
    program = md.Program(net, {"image": torch.randn(1, 3, 8, 8)}, ("y",))
    return md.convert(program, tmp_path_factory.mktemp("file") / "net.onnx")


def made(called: list[Kernel], left_out: str = "", version: str = "1.32.0") -> LatencyTable:
    """A table by which every call costs half a millisecond and a million MACs one; without any correction."""
    work, corrections = {}, {}
    for kernel in called:
        if kernel.kind != left_out:
            costs = np.zeros(len(amounts(kernel)))
            costs[0] = CALL_MS
            if kernel.multiplies:
                costs[1] = 1 / MACS_PER_MS
            work[kernel.kind] = costs
            corrections[kernel.kind] = Correction(place(kernel)[None], np.zeros(1))
    onnx = table_of(
        Fitted(work, corrections, Hyper()),
        runtime=RuntimeInfo(name="onnxruntime", version=version),
        files=10,
        repeatability=0.02,
        tail=1.2,
        holdout=HOLDOUT,
    )
    info = DeviceInfo(name="phone", os="none", cpu="none")
    return LatencyTable(device=info, spec="phone", seed=0, networks=5, formats={"onnx": onnx})


@pytest.fixture(scope="module")
def called(file: Path) -> list[Kernel]:
    return kernels(file)["main"]


@pytest.fixture(scope="module")
def expected_ms(called: list[Kernel]) -> float:
    macs = 8 * 3 * 9 * 64 + 8 * 64 * 5  # the convolution's and the linear layer's, by hand
    blocks = sum(kernel.macs for kernel in called)
    assert blocks >= macs  # onnxruntime pads channels to blocks, never below
    return CALL_MS * len(called) + blocks / MACS_PER_MS


def test_a_table_is_opened_by_its_path(file: Path, called: list[Kernel], expected_ms: float, tmp_path: Path) -> None:
    path = made(called).save(tmp_path / "phone.json")

    found = md.profile(file, f"table:{path}")["main"]

    assert found.latency_ms == pytest.approx(expected_ms, rel=1e-6)
    assert found.device.name == "phone"
    assert found.path_kind == "table"


def test_its_answers_are_called_predictions_with_their_error(file: Path, called: list[Kernel]) -> None:
    found = TableDevice(made(called)).measure(file, "onnx")

    assert found is not None
    assert found.verdict == "predicted"
    assert found.prediction is not None
    worst = np.quantile([abs(1 / ratio - 1) for ratio in HOLDOUT], 0.95)
    assert found.prediction.error == pytest.approx(worst, abs=1e-4)
    assert "prediction" in found.reasons[0]
    assert found.p90_ms == pytest.approx(1.2 * found.p50_ms)
    assert found.peak_memory_bytes is None
    assert found.meets(1e9) == "open"  # only what was measured is met


def test_the_interval_is_what_held_out_files_were_off(file: Path, called: list[Kernel]) -> None:
    found = TableDevice(made(called)).measure(file, "onnx")
    assert found is not None
    low, high = np.quantile(HOLDOUT, [0.025, 0.975])

    use = latency_per_use({"main": found}, {"main": 3})

    assert found.ci95_ms == pytest.approx((low * found.latency_ms, high * found.latency_ms))
    assert use.latency_ms == pytest.approx(3 * found.latency_ms)
    assert use.ci95_ms == pytest.approx((3 * low * found.latency_ms, 3 * high * found.latency_ms), rel=0.03)
    assert use.verdict == "predicted"


def test_a_table_survives_being_written(called: list[Kernel], tmp_path: Path) -> None:
    table = made(called)
    assert LatencyTable.load(table.save(tmp_path / "a" / "table.json")) == table
    assert not list((tmp_path / "a").glob(".*"))


def test_unknown_kernels_are_named_and_cost_something(file: Path, called: list[Kernel]) -> None:
    kind = next(kernel.kind for kernel in called if kernel.multiplies)
    whole, partial = made(called), made(called, left_out=kind)

    found = TableDevice(partial).measure(file, "onnx")

    assert found is not None
    assert found.prediction is not None
    assert found.prediction.unknown == (kind,)
    assert any(kind in reason for reason in found.reasons)
    without = whole.predict(file).latency_ms - CALL_MS  # were it counted as nothing, no more than this would be left
    assert found.latency_ms > without - sum(kernel.macs for kernel in called if kernel.kind == kind) / MACS_PER_MS


def test_a_table_of_another_runtime_is_refused(called: list[Kernel]) -> None:
    with pytest.raises(md.InputError, match=r"made with onnxruntime 1\.2\.0, but 1\.\d+\.\d+ is installed"):
        TableDevice(made(called, version="1.2.0"))


def test_what_the_table_does_not_hold_is_not_guessed(file: Path, called: list[Kernel]) -> None:
    device = TableDevice(made(called))
    assert device.measure(file, "tflite") is None
    with pytest.raises(md.DeviceError, match="predicts the median on 1 thread"):
        device.measure(file, "onnx", threads=2)
    with pytest.raises(md.DeviceError, match="not the 90th percentile"):
        device.measure(file, "onnx", percentile=90)
    with pytest.raises(md.InputError, match="has the signatures main"):
        device.measure(file, "onnx", signature="other")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda t: t.update(schema_version=2), "schema_version"),
        (lambda t: t.update(extra=1), "extra"),
        (lambda t: t["formats"]["onnx"].update(holdout=[]), "holdout"),
        (lambda t: t["formats"]["onnx"].update(holdout=[-1.0]), "holdout"),
        (lambda t: t["formats"]["onnx"].update(holdout=[1e-320]), "holdout"),
        (lambda t: t["formats"]["onnx"].update(reach=0), "reach"),
        (lambda t: t["formats"]["onnx"].update(reach=1e200), "reach"),
        (lambda t: t["formats"]["onnx"].update(offset=1e200), "offset"),
        (lambda t: t["formats"].update(gguf=t["formats"]["onnx"]), "formats"),
        (lambda t: next(iter(t["formats"]["onnx"]["kinds"].values())).update(pulls=[1.0, 2.0]), "equally long"),
        (lambda t: next(iter(t["formats"]["onnx"]["kinds"].values())).update(work=[-1.0] * 6), "work"),
        (lambda t: next(iter(t["formats"]["onnx"]["kinds"].values())).update(work=[1.0] * 9), "amounts of work"),
        (lambda t: t["formats"]["onnx"].update(kinds={}), "kinds"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(called: list[Kernel], tmp_path: Path, change: Any, place: str) -> None:
    content = json.loads(made(called).to_json())
    change(content)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(content))

    with pytest.raises(md.InputError, match=place) as caught:
        md.devices.open(f"table:{path}")

    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"a": NaN}', b"null"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(md.InputError, match="is no latency table"):
        md.devices.open(f"table:{path}")


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(md.InputError, match=r"cannot be read \(No such file"):
        md.devices.open(f"table:{tmp_path / 'none.json'}")
