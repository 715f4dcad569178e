"""The commands as a person calls them: what they print, what they refuse, how they exit."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from converters import Program, convert, run_in_child, save_program
from mobiledistill.quantize import calibrate, freeze, prepare
from tests.converters._faulty import Stream
from tests.converters.keras._models import save_models
from tests.networks import Residual, settled

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mobiledistill", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in this process, which is quicker."""
    from mobiledistill.cli import main

    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, int(stopped.value.code or 0), captured.out, captured.err)


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 2, nothing on standard output, one line on standard error that holds the words."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("mobiledistill:")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized network as .pt2, .tflite and .onnx, with inputs beside it."""
    folder = tmp_path_factory.mktemp("student")
    images = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    prepared = prepare({"main": settled(Residual(), images)})
    calibrate(prepared, {"main": {"image": images}}, 99.99)
    program = Program(freeze(prepared)["main"], {"image": images[:1]}, ("logits",))
    save_program(program, folder / "student.pt2")
    convert(program, folder / "student.tflite")
    np.savez(folder / "inputs.npz", image=images.numpy())
    return folder


def test_verify_finds_the_reference_beside_the_file(student: Path) -> None:
    result = run("verify", student / "student.tflite", "--inputs", student / "inputs.npz", "--json")
    assert result.returncode == 0, result.stderr
    parity = json.loads(result.stdout)
    assert parity["integers_equal"] is True
    assert parity["n"] == 64
    assert parity["sqnr_db"] > 28
    assert parity["outside"] == {"of": "XNNPACK", "operators": {}, "total": parity["outside"]["total"]}


def test_verify_refuses_a_file_of_another_student(student: Path, tmp_path: Path) -> None:
    other = tmp_path / "student.pt2"
    images = torch.randn(64, 1, 16, 16)
    prepared = prepare({"main": settled(Residual(), images)})
    calibrate(prepared, {"main": {"image": images}}, 99.99)
    save_program(Program(freeze(prepared)["main"], {"image": images[:1]}, ("logits",)), other)
    assert_refused(run("verify", student / "student.tflite", "--reference", other), "First departing layer: stem.0")


@pytest.fixture(scope="module")
def stranger(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose module is not at hand, and inputs for it."""
    folder = tmp_path_factory.mktemp("stranger")
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    module = settled(Residual(), images)
    convert(Program(module, {"image": images[:1]}, ("logits",)), folder / "net.mlpackage")
    np.savez(folder / "inputs.npz", image=images.numpy())
    with torch.no_grad():
        np.savez(folder / "expected.npz", logits=module(images).numpy())
    return folder


def test_verify_without_a_reference_shows_what_a_package_answers(stranger: Path, tmp_path: Path) -> None:
    kept = tmp_path / "answers.npz"
    arguments = ("verify", stranger / "net.mlpackage", "--inputs", stranger / "inputs.npz")
    result = run(*arguments, "--save", kept)
    assert result.returncode == 0, result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "8 samples, in float32 and again in float16" in result.stdout
    assert "logits" in result.stdout
    assert "All values stay within float16." in result.stdout
    with np.load(kept) as answers, np.load(stranger / "expected.npz") as expected:
        assert list(answers) == ["logits"]
        np.testing.assert_allclose(answers["logits"], expected["logits"], atol=1e-4)
        low = float(expected["logits"].min())

    printed = json.loads(run(*arguments, "--json").stdout)
    assert printed["outside"] is None  # nothing of it is in integers
    found = printed["signatures"]["main"]
    assert (found["n"], found["overflow"]) == (8, None)
    assert found["outputs"]["logits"]["low"] == pytest.approx(low, abs=1e-4)
    assert 30 < found["outputs"]["logits"]["apart_db"] < 120


def test_answers_of_several_signatures_are_kept_by_signature(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    module, cache = Stream().eval(), torch.zeros(1, 4, 1, 2)
    inputs = {"long": {"sound": torch.randn(1, 4, 1, 9), "cache": cache}}
    inputs["short"] = {"sound": torch.randn(1, 4, 1, 3), "cache": cache}
    programs = [Program(module, values, ("scores", "new_cache"), name) for name, values in inputs.items()]
    convert(programs, tmp_path / "net.mlpackage")
    named = {f"{name}/{key}": value.numpy() for name, values in inputs.items() for key, value in values.items()}
    np.savez(tmp_path / "inputs.npz", **named)

    result = run_here(
        capsys,
        *("verify", tmp_path / "net.mlpackage", "--inputs", tmp_path / "inputs.npz", "--save", tmp_path / "out.npz"),
    )

    assert result.returncode == 0, result.stderr
    assert "net.mlpackage, signature long: 1 sample," in result.stdout
    with np.load(tmp_path / "out.npz") as kept:
        assert set(kept) == {f"{name}/{output}" for name in inputs for output in ("scores", "new_cache")}
        for program in programs:
            with torch.no_grad():
                scores = program(**inputs[program.name])["scores"]
            np.testing.assert_allclose(kept[f"{program.name}/scores"], scores, atol=1e-4)


def test_verify_saves_only_answers_to_inputs(
    capsys: pytest.CaptureFixture[str], stranger: Path, tmp_path: Path
) -> None:
    package, inputs = stranger / "net.mlpackage", stranger / "inputs.npz"
    assert_refused(run_here(capsys, "verify", package, "--save", tmp_path / "a.npz"), "--save needs --inputs")
    assert_refused(run_here(capsys, "verify", package), "name the module's .pt2 with --reference")
    nowhere = run_here(capsys, "verify", package, "--inputs", inputs, "--save", tmp_path / "none" / "a.npz")
    assert_refused(nowhere, "cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_convert_writes_and_proves(student: Path, tmp_path: Path) -> None:
    result = run("convert", student / "student.pt2", "--formats", "onnx", "--to", tmp_path, "--json")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "student.onnx").stat().st_size == json.loads(result.stdout)["onnx"]["size_bytes"]


@pytest.mark.long
def test_convert_reads_keras_models(tmp_path: Path) -> None:
    run_in_child(save_models, tmp_path)
    result = run("convert", tmp_path / "cnn.keras", "--formats", "tflite", "--to", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["tflite"]["sqnr_db"] >= 80
    files = ("verify", tmp_path / "out" / "cnn.tflite", "--reference", tmp_path / "cnn.keras", "--json")
    assert json.loads(run(*files).stdout)["n"] == 16


def test_keras_files_that_can_run_code_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "saved_model.pb").touch()
    (tmp_path / "net.h5").touch()
    assert_refused(run_here(capsys, "convert", tmp_path / "net"), "can run code", "--trust")
    assert_refused(run_here(capsys, "convert", tmp_path / "net.h5"), "old HDF5 format", "model.save")


def test_an_onnx_file_is_no_source(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused = run_here(capsys, "convert", tmp_path / "net.onnx")
    assert_refused(refused, "no well-kept library turns one back into a module", "torch.export.save")


def test_convert_takes_the_opset(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    result = run_here(
        capsys, "convert", student / "student.pt2", "--formats", "onnx", "--to", tmp_path, "--opset", "21"
    )
    assert result.returncode == 0, result.stderr
    assert onnx.load(tmp_path / "student.onnx").opset_import[0].version == 21


@pytest.mark.parametrize(
    ("option", "words"),
    [(("--opset", "7"), "choose one from 18 to 25"), (("--target", "iOS9"), "choose one of iOS16, iOS17, iOS18")],
)
def test_convert_refuses_what_cannot_be_written(
    student: Path, tmp_path: Path, option: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(run_here(capsys, "convert", student / "student.pt2", "--to", tmp_path, *option), words)
    assert not list(tmp_path.iterdir())


def test_convert_refuses_what_the_target_lacks(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_here(
        capsys, *("convert", student / "student.pt2", "--formats", "coreml", "--to", tmp_path, "--target", "iOS16")
    )
    assert_refused(result, "iOS16 lacks quantized activations, which need iOS17")


def test_profile_measures(student: Path) -> None:
    result = run("profile", student / "student.tflite", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["main"]["p50_ms"] > 0


def test_profile_measures_two_files_in_turns(student: Path) -> None:
    file = student / "student.tflite"
    result = run("profile", file, "--against", file, "--json", "--force")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["measured"]["sha256"] == found["against"]["sha256"]
    assert found["ratio"] == pytest.approx(found["measured"]["latency_ms"] / found["against"]["latency_ms"])
    assert_refused(run("profile", file, "--against", student / "none.tflite"), "none.tflite does not exist")


@pytest.mark.parametrize("command", ["convert", "verify", "profile"])
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_random_bytes_are_refused_in_one_line(student: Path, tmp_path: Path, command: str, suffix: str) -> None:
    garbage = tmp_path / f"garbage{suffix}"
    garbage.write_bytes(np.random.default_rng(0).bytes(4096))
    more = ["--reference", str(student / "student.pt2")] if command == "verify" else []
    assert_refused(run(command, garbage, *more), garbage.name)


@pytest.mark.parametrize("command", ["convert", "verify", "profile"])
def test_a_missing_file_is_refused(student: Path, tmp_path: Path, command: str) -> None:
    suffix = ".pt2" if command == "convert" else ".tflite"
    more = ["--reference", str(student / "student.pt2")] if command == "verify" else []
    assert_refused(run(command, tmp_path / f"none{suffix}", *more), "does not exist")


def test_a_program_that_hides_a_pickle_is_refused_and_not_run(student: Path, tmp_path: Path) -> None:
    import zipfile

    hostile, witness = tmp_path / "hostile.pt2", tmp_path / "it-ran"
    with zipfile.ZipFile(student / "student.pt2") as source, zipfile.ZipFile(hostile, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("model_weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
            if entry.filename.endswith("weights/weight_0"):
                content = f"cposix\nsystem\n(S'touch {witness}'\ntR.".encode()
            target.writestr(entry, content)
    assert_refused(run("convert", hostile, "--formats", "onnx", "--to", tmp_path), "pickled payloads")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "-3"], "is not above 0"),
        (["--size", "banana"], "is not a size"),
        (["--latency", "0"], "is not above 0"),
        (["--latency", "0.3ms@p"], "holds no percentile"),
        (["--latency", "0.3ms@p90,20kB"], "holds no percentile"),
        (["--latency-share", "0"], "latency_share must be greater than 0"),
        ([], "No limit was given"),
        (["--size", "60kB", "--formats", "gguf"], "tflite,coreml,onnx"),
        (["--size", "60kB", "--data", "/no/such/folder"], "/no/such/folder"),
        (["--size", "60kB", "--split", "weekday"], "official, speaker"),
    ],
)
def test_the_demo_refuses_bad_options(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str, tmp_path: Path
) -> None:
    assert_refused(run_here(capsys, "demo", "speech", "--workdir", tmp_path, *arguments), words)


def test_a_work_folder_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(
        run_here(capsys, "demo", "speech", "--size", "60kB", "--workdir", tmp_path / "file" / "run"),
        "cannot be written",
    )


def test_a_recording_cut_in_half_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fsdd_root: Path
) -> None:
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for source in sorted((fsdd_root / "recordings").glob("*_theo_*.wav"))[:40]:
        shutil.copy(source, folder)
    victim = sorted(folder.iterdir())[7]
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    result = run_here(capsys, "demo", "speech", "--size", "60kB", "--data", tmp_path, "--workdir", tmp_path / "run")
    assert_refused(result, victim.name)
    assert not (tmp_path / "run").exists()


JOB = """
import torch
from tests.networks import Residual, Stripes

def task():
    return Stripes()

def teacher():
    network = Residual(classes={classes})
    {change}
    return network
"""


@pytest.mark.parametrize(
    ("classes", "change", "words"),
    [
        (5, "pass", "outputs have the shapes [(1, 5)]"),
        (4, "network.head.weight.data[0, 0] = float('nan')", "'head.weight' holds NaN"),
    ],
)
def test_compress_refuses_a_teacher_that_does_not_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, classes: int, change: str, words: str
) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB.format(classes=classes, change=change))
    assert_refused(run_here(capsys, "compress", job, "--size", "30kB", "--workdir", tmp_path / "run"), words)


def test_a_job_may_be_called_as_a_module_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that it starts look for modules where it does."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    job = tmp_path / "queue.py"
    job.write_text(JOB.format(classes=5, change="pass"))
    assert_refused(run_here(capsys, "compress", job, "--size", "30kB", "--workdir", tmp_path / "run"), "[(1, 5)]")
    assert hasattr(importlib.import_module("queue"), "Queue")
    assert run_in_child(math.sqrt, 4.0) == 2.0


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["demo", "speech"], ["compress"], ["convert"], ["verify"], ["profile"], ["report"]]
)
def test_help_shows_what_to_type(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    result = run_here(capsys, *command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout
    assert not command or command == ["demo"] or "Example: mobiledistill" in result.stdout


def test_the_report_of_no_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert_refused(run_here(capsys, "report", tmp_path), "no result.json")


def test_the_doctor_tells_what_it_saw(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from mobiledistill import Finding, Illness
    from mobiledistill.train import findings_to_json

    findings = [
        Finding(Illness.TARGETS_TOO_SOFT, 0, "at temperature 100 all is alike.", "Lower it.", "lowered it to 4."),
        Finding(Illness.STARVED, 3, "training waits.", "Prepare samples once."),
    ]
    (tmp_path / "doctor.json").write_text(findings_to_json(findings))
    shown = run_here(capsys, "doctor", tmp_path)
    assert shown.returncode == 0
    assert "targets too soft (before training): at temperature 100" in shown.stdout
    assert "Done: lowered it to 4." in shown.stdout
    assert "starved (epoch 3): training waits.\n  Prepare samples once." in shown.stdout
    (tmp_path / "doctor.json").write_text("[]")
    assert "healthy" in run_here(capsys, "doctor", tmp_path).stdout
    (tmp_path / "doctor-0123.json").write_text(findings_to_json(findings))
    both = run_here(capsys, "doctor", tmp_path).stdout
    assert both.index("doctor-0123.json:") < both.index("starved") < both.index("doctor.json:") < both.index("healthy")
    assert_refused(run_here(capsys, "doctor", tmp_path / "none"), "no doctor.json")
