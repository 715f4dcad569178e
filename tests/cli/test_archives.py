"""``pack`` and ``unpack`` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import assert_refused, run_here


def test_a_model_goes_there_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, archive = tmp_path / "net.tflite", tmp_path / "net.mdpack"
    model.write_bytes(b"some weights " * 100)
    packed = run_here(capsys, "pack", model, "-o", archive)
    assert packed.returncode == 0, packed.stderr
    after = archive.stat().st_size
    assert packed.stdout == f"{archive}  1,300 bytes before, {after:,} after, {100 * after / 1300:.1f} %\n"

    unpacked = run_here(capsys, "unpack", archive, "-o", tmp_path / "back.tflite")
    assert unpacked.returncode == 0, unpacked.stderr
    assert unpacked.stdout == f"{tmp_path / 'back.tflite'}  {after:,} bytes before, 1,300 after\n"
    assert (tmp_path / "back.tflite").read_bytes() == model.read_bytes()


def test_places_are_found_without_being_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "empty").write_bytes(b"")
    assert run_here(capsys, "pack", tmp_path / "net").returncode == 0
    (tmp_path / "net").rename(tmp_path / "old")
    assert run_here(capsys, "unpack", tmp_path / "net.mdpack").returncode == 0
    assert [part.name for part in (tmp_path / "net").iterdir()] == ["empty"]


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net.mdpack").write_bytes(b"no archive")
    assert_refused(run_here(capsys, "pack", tmp_path / "nowhere"), "is no file and no folder")
    assert_refused(run_here(capsys, "unpack", tmp_path / "net.mdpack"), "is no archive of mobiledistill pack")


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_help_shows_what_to_type(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert f"Example: mobiledistill {command}" in run_here(capsys, command, "--help").stdout
