from __future__ import annotations

from pathlib import Path

import pytest

from converters import DeviceError, InputError
from mobiledistill import devices


def test_every_signature_is_measured_on_random_inputs(tflite: Path) -> None:
    measured = devices.profile(tflite, processes=1, samples=5)
    assert list(measured) == ["main"]
    assert measured["main"].p50_ms > 0


def test_what_cannot_be_profiled_is_said_in_one_line(tmp_path: Path, tflite: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        devices.profile(tmp_path / "absent.tflite")
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match="does not end in"):
        devices.profile(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="signatures main, but inputs name step"):
        devices.profile(tflite, inputs={"step": {}})
    (tmp_path / "m.mlpackage").mkdir()
    with pytest.raises(DeviceError, match="coreml, which host cannot run, so it stays unmeasured"):
        devices.profile(tmp_path / "m.mlpackage")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="There is no device 'toaster'"):
        devices.open("toaster")


def test_the_host_is_a_device() -> None:
    host = devices.open()
    assert isinstance(host, devices.Device)
    assert (host.name, host.formats) == ("host", ("tflite", "onnx"))
