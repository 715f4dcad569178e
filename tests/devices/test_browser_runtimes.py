"""What a browser computes with: fetched in exact versions, checked, and nothing else taken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from converters import InputError
from mobiledistill.devices import Browser, Runtimes, _browser_runtimes, prepare_browser
from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES, WebRuntime, _integrity, _Package


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as written:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Small packages in place of the real ones."""
    core = archive(
        tmp_path / "core.tgz",
        {"package/index.js": b'import { x } from "@a/b";', "../../evil.js": b"evil", "package/other.js": b"other"},
    )
    bare = archive(tmp_path / "bare.tgz", {"package/b.js": b"export const x = 1;"})
    onnx = archive(tmp_path / "onnx.tgz", {"package/ort.mjs": b"ort"})
    made = {
        "tflite": WebRuntime(
            "LiteRT.js",
            (
                _Package("@a/core", "1.0.0", _integrity(core), {"index.js": "package/index.js"}),
                _Package("@a/b", "1.0.0", _integrity(bare), {"b.js": "package/b.js"}),
            ),
            bare={"@a/b": "b.js"},
        ),
        "onnx": WebRuntime("ort", (_Package("ort", "2.0.0", _integrity(onnx), {"ort.mjs": "package/ort.mjs"}),)),
    }
    monkeypatch.setattr(_browser_runtimes, "WEB_RUNTIMES", made)
    return {"core": core, "bare": bare, "onnx": onnx}


def test_archives_are_laid_out_and_nothing_else_of_them(archives: dict[str, Path], tmp_path: Path) -> None:
    made = prepare_browser(list(archives.values()), folder=tmp_path / "to")
    there = sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file())
    assert there == ["LiteRT.js-1.0.0/b.js", "LiteRT.js-1.0.0/index.js", "ort-2.0.0/ort.mjs"]
    assert (made.of("tflite") / "index.js").read_text() == 'import { x } from "./b.js";'  # as a browser wants it
    assert made.has("onnx")
    assert prepare_browser(list(archives.values()), folder=tmp_path / "to").has("tflite")  # once more: all the same


def test_one_format_is_enough(archives: dict[str, Path], tmp_path: Path) -> None:
    made = prepare_browser([archives["onnx"]], folder=tmp_path / "to")
    assert (made.has("onnx"), made.has("tflite")) == (True, False)
    with pytest.raises(InputError, match="No format's archives are complete"):
        prepare_browser([archives["core"]], folder=tmp_path / "to")


def test_another_archive_is_refused(archives: dict[str, Path], tmp_path: Path) -> None:
    changed = tmp_path / "changed.tgz"
    changed.write_bytes(archives["onnx"].read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"changed.tgz is none of the archives that are needed: @a/core@1.0.0"):
        prepare_browser([changed], folder=tmp_path / "to")
    with pytest.raises(InputError, match="cannot be read"):
        prepare_browser([tmp_path / "missing.tgz"], folder=tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_without_npm_the_line_says_so(
    archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"npm is not installed.*install Node.js"):
        prepare_browser(folder=tmp_path / "to")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(InputError, match=r"npm does not fetch .*: npm error code ENOTFOUND"):
        prepare_browser(folder=tmp_path / "to")


def test_they_are_looked_for_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_BROWSER", str(tmp_path))
    assert Runtimes.found().folder == tmp_path
    (gate,) = Browser().examine()
    assert (gate.passed, gate.seen) == (False, "no LiteRT.js, no onnxruntime-web")
    assert gate.advice == "run mobiledistill devices prepare-browser"
    monkeypatch.delenv("MOBILEDISTILL_BROWSER")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Runtimes.found().folder == tmp_path / "cache" / "mobiledistill" / "browser"


def test_the_real_ones_are_whole(web_runtimes: Runtimes) -> None:
    for fmt, runtime in WEB_RUNTIMES.items():
        assert set(web_runtimes.files(fmt)) == set(runtime.files)
    assert "@litertjs" not in (web_runtimes.of("tflite") / "index.js").read_text()
