"""Hosted phones: the real client of Qualcomm AI Hub, old and new, against a service on this computer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from converters import DeviceError, InputError
from mobiledistill import devices
from mobiledistill.cli import main
from mobiledistill.devices import Hosted, Measurement, _hosted
from mobiledistill.devices._host import answers
from tests.devices.aihub import CLIENTS, Service, running

PHONE = "Samsung Galaxy S23"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Service]]:
    """The service that a release of the client asks; it starts once."""
    with ExitStack() as stack:

        @cache
        def started(version: str) -> Service:
            return stack.enter_context(running(version, tmp_path_factory.mktemp("aihub")))

        yield started


@pytest.fixture(params=CLIENTS)
def every(
    request: pytest.FixtureRequest, services: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> Service:
    """The service, seen by each release of the client."""
    return chosen(services(request.param), monkeypatch)


@pytest.fixture
def service(services: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch) -> Service:
    return chosen(services(CLIENTS[0]), monkeypatch)


def chosen(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    service.start_over()
    monkeypatch.setenv("MOBILEDISTILL_AIHUB_PYTHON", str(service.python))
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(service.ini))
    return service


def measured(path: Path, **options: int) -> Measurement:
    found = Hosted(PHONE, upload=True).measure(path, "tflite" if path.suffix == ".tflite" else "onnx", **options)
    assert found is not None
    return found


def test_a_file_is_sent_run_timed_and_its_answers_are_checked(every: Service, tflite: Path) -> None:
    (expected,) = answers([devices.Subject(tflite, "tflite")])
    every.answers_with(expected.outputs)

    found = measured(tflite, samples=30)

    assert every.model == tflite.read_bytes()
    assert list(every.inputs) == list(expected.inputs)
    assert all(np.array_equal(every.inputs[name], value) for name, value in expected.inputs.items())
    assert all(b"--max_profiler_iterations 30" in job for job in every.jobs[:1])
    assert found.verdict == "valid"
    assert found.path_kind == "cloud"
    assert found.samples_ms == (tuple(1.5 + 0.01 * (index % 3) for index in range(30)),)
    assert (found.p50_ms, found.load_cold_ms, found.load_warm_ms) == (1.51, 80.0, 9.0)
    assert found.peak_memory_bytes == 42_000_000
    assert (found.device.name, found.device.os) == (PHONE, "Android 13")
    assert found.device.cpu == "qualcomm-snapdragon-8gen2"
    assert (found.backend.asked, found.backend.obtained) == ("all", "NPU 3, CPU 1")
    assert found.runtime.version == "aihub-2026.11"
    assert found.job_url is not None
    assert found.job_url.endswith("/jobs/j1/")
    assert found.outputs is not None
    assert found.outputs.largest_error == 0
    assert Measurement.from_json(found.to_json()) == found


def test_one_job_is_enough_where_it_also_answers(service: Service, onnx: Path) -> None:
    (expected,) = answers([devices.Subject(onnx, "onnx")])
    service.answers_with({f"output_{index}": value for index, value in enumerate(expected.outputs.values())})
    found = measured(onnx)
    assert len(service.jobs) == 1
    assert service.model == onnx.read_bytes()
    assert found.outputs is not None  # matched by their order, since the service has names of its own
    assert found.outputs.same


def test_wrong_answers_make_a_time_worthless(service: Service, tflite: Path) -> None:
    (expected,) = answers([devices.Subject(tflite, "tflite")])
    service.answers_with({name: np.roll(value, 1, axis=-1) for name, value in expected.outputs.items()})
    found = measured(tflite)
    assert found.verdict == "invalid"
    assert "not this computer's" in found.reasons[0]
    service.answers_with({name: value[..., :1] for name, value in expected.outputs.items()})
    found = measured(tflite)
    assert found.verdict == "invalid"
    assert "same shape" in found.reasons[0]


def test_what_the_service_does_not_know_stays_unknown(service: Service, tflite: Path) -> None:
    service.set(profile={"major_version": 1, "execution_time": 1500}, layers=[])
    found = measured(tflite)
    assert found.samples_ms == ((1.5,),)
    assert (found.verdict, found.reasons) == ("invalid", ("the service told one time and no samples",))
    assert found.meets(10) == "open"
    assert (found.load_cold_ms, found.load_warm_ms, found.peak_memory_bytes, found.outputs) == (None,) * 4
    assert found.backend.obtained == "unknown"


def test_a_phone_that_slows_down_is_told(service: Service, tflite: Path) -> None:
    times = [1000 + 20 * index for index in range(30)]
    service.set(profile={"major_version": 1, "minor_version": 2, "execution_time": 1000, "all_execution_times": times})
    found = measured(tflite)
    assert found.verdict == "invalid"
    assert "drifted by +" in found.reasons[0]


def test_nothing_is_sent_unasked(service: Service, tflite: Path) -> None:
    with pytest.raises(InputError, match=r"nothing leaves this computer unasked.*--upload"):
        devices.open(f"aihub:{PHONE}").measure(tflite, "tflite")
    assert service.requests == []


def test_a_name_that_is_not_there_is_told_its_neighbours(every: Service, tflite: Path) -> None:
    with pytest.raises(DeviceError, match="no phone 'Samsung Galaxy S22'; near it are Samsung Galaxy S2"):
        Hosted("Samsung Galaxy S22", upload=True).measure(tflite, "tflite")
    assert set(every.requests) == {"GET /api/v1/devices/"}


def test_a_job_that_fails_says_why(every: Service, tflite: Path) -> None:
    every.set(job="FAILED", failure="Unsupported operator FOO.")
    with pytest.raises(DeviceError, match=r"did not run on Samsung Galaxy S23: Unsupported operator FOO\..*/jobs/j1"):
        measured(tflite)


def test_a_job_that_stays_in_the_queue_is_given_up(
    every: Service, tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_hosted, "_POLL_S", 0.05)
    every.set(job="PROVISIONING_DEVICE")
    with pytest.raises(DeviceError, match=r"still PROVISIONING_DEVICE .*jobs/j1.*wait_s"):
        Hosted(PHONE, upload=True, wait_s=0.1).measure(tflite, "tflite")


def test_times_are_told_missing_where_the_job_has_none(service: Service, tflite: Path) -> None:
    service.set(profile={"major_version": 1})
    with pytest.raises(DeviceError, match=r"told no times of reference\.tflite.*jobs/j1"):
        measured(tflite)


def test_without_a_token_nothing_works(
    every: Service, tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every.set(refuse={"GET /api/v1/devices/": [401, "who are you"]})
    with pytest.raises(DeviceError, match=r"valid token: Failed to authenticate.*qai-hub configure"):
        measured(tflite)
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(tmp_path / "nowhere.ini"))
    with pytest.raises(DeviceError, match=r"valid token: .*nowhere.ini not found.*qai-hub configure") as raised:
        measured(tflite)
    assert "\n" not in str(raised.value)


def test_a_refusal_is_passed_on(service: Service, tflite: Path) -> None:
    service.set(refuse={"POST /api/v1/jobs/": [400, '{"detail": "The option --foo is unknown."}']})
    with pytest.raises(DeviceError, match=r"refuses reference.tflite: The option --foo is unknown"):
        measured(tflite)


@pytest.mark.long
def test_a_limit_on_jobs_is_told(service: Service, tflite: Path) -> None:
    service.set(refuse={"POST /api/v1/jobs/": [429, '{"detail": "You have 5 jobs in the queue."}']})
    with pytest.raises(DeviceError, match="no more jobs for now: You have 5 jobs in the queue"):
        measured(tflite)


def test_the_way_to_an_environment_is_told(tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_AIHUB_PYTHON", str(tmp_path / "python"))
    with pytest.raises(DeviceError, match="devices prepare-aihub"):
        measured(tflite)
    (tmp_path / "python").write_text('#!/bin/sh\necho \'{"phase": "upload"}\'\necho boom >&2\nexit 3\n')
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(DeviceError, match="ended without an answer: boom"):
        measured(tflite)


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("no folder")
    with pytest.raises(InputError, match=r"taken cannot be made an environment: "):
        devices.prepare_aihub(tmp_path / "taken")


def test_arguments_that_do_not_fit_are_refused(tflite: Path) -> None:
    with pytest.raises(InputError, match="threads is 4"):
        measured(tflite, threads=4)
    with pytest.raises(InputError, match="compute_unit must be one of all, npu"):
        Hosted(PHONE, compute_unit="tpu")  # type: ignore[arg-type]  # what is no unit
    with pytest.raises(InputError, match="needs a name"):
        devices.open("aihub:")
    assert Hosted(PHONE, upload=True).measure(tflite, "coreml") is None


def test_every_condition_is_looked_at(service: Service) -> None:
    assert [gate.passed for gate in devices.examine(f"aihub:{PHONE}")] == [True] * 3
    *_, phone = devices.examine("aihub:Samsung Galaxy S99")
    assert not phone.passed
    assert "Google Pixel 8" in phone.advice
    assert set(service.requests) == {"GET /api/v1/devices/"}


def test_the_commands_reach_hosted_phones(
    service: Service, tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"aihub:{PHONE}"
    assert run("profile", tflite, "--device", name, "--upload", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert (found["path_kind"], found["p50_ms"]) == ("cloud", 1.51)
    assert run("profile", tflite, "--device", name) == 2
    assert "--upload" in one_line(capsys)
    assert run("doctor", "--device", name) == 0
    service.set(refuse={"GET /api/v1/devices/": [401, ""]})
    assert run("profile", tflite, "--device", name, "--upload") == 4
    assert "token" in one_line(capsys)
    words = f"calibrate --quick --workdir {tmp_path / 'grid'} --out {tmp_path / 'table'} --device".split()
    assert run(*words, name) == 2
    assert "--upload" in capsys.readouterr().err.splitlines()[-1]
    assert run(*words, name, "--upload") == 4
    assert "token" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "table").exists()
    assert run("doctor", "--device", name) == 4
    monkeypatch.setenv("ADB", "/no/such/adb")
    capsys.readouterr()
    assert run("devices", "--json") == 0
    (listed,) = (one for one in json.loads(capsys.readouterr().out) if one["name"] == "aihub")
    assert not listed["ready"]
    assert "qai-hub configure" in listed["why"]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code if isinstance(ended.value.code, int) else 0


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said
