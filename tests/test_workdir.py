"""What counts as the same call: data and code, and not what is said about them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobiledistill import InputError
from mobiledistill._workdir import Workdir, code_fingerprint, write_text


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "a_package_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "beside.py").write_text("RATE = 1\n")
    (folder / "model.py").write_text(
        '"""Says."""\nfrom a_package_of_a_test.beside import RATE\nclass Model:\n    x = 1\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def _digest(package: Path) -> str:
    return code_fingerprint(importlib.import_module(f"{package.name}.model").Model())


def test_what_is_said_does_not_count(package: Path) -> None:
    before = _digest(package)
    model = package / "model.py"
    model.write_text(model.read_text().replace("Says.", "Says more.") + "    # and more\n")
    assert _digest(package) == before


@pytest.mark.parametrize(
    ("file", "old", "new"), [("model.py", "x = 1", "x = 2"), ("beside.py", "RATE = 1", "RATE = 2")]
)
def test_what_is_computed_counts(package: Path, file: str, old: str, new: str) -> None:
    before = _digest(package)
    (package / file).write_text((package / file).read_text().replace(old, new))
    assert _digest(package) != before


def test_what_was_loaded_meanwhile_does_not_count(package: Path) -> None:
    """A calibration that is called again in the same process goes on."""
    (package / "late.py").write_text("RATE = 1\n")
    model = package / "model.py"
    model.write_text(model.read_text() + f"    def run(self):\n        from {package.name}.late import RATE\n")
    before = _digest(package)
    importlib.import_module(f"{package.name}.late")
    assert _digest(package) == before
    (package / "late.py").write_text("RATE = 2\n")
    assert _digest(package) != before


def test_a_scripts_neighbours_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts are in no package."""
    (tmp_path / "losses_of_a_test.py").write_text("RATE = 1\n")
    (tmp_path / "job_of_a_test.py").write_text("import torch\nfrom losses_of_a_test import RATE\nclass Model: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        model = importlib.import_module("job_of_a_test").Model()
        before = code_fingerprint(model)
        (tmp_path / "losses_of_a_test.py").write_text("RATE = 2\n")
        assert code_fingerprint(model) != before
    finally:
        for name in ("job_of_a_test", "losses_of_a_test"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("content", [b'{"tr', b"[]", b"\xff\xfe"])
def test_damaged_records_are_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    run = Workdir(tmp_path, {"seed": 0})
    (tmp_path / "rounds.json").write_bytes(content)
    with pytest.raises(InputError, match=r"rounds\.json is damaged; delete it"):
        run.recall("rounds", "key", lambda: 1)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"differs in its damaged run\.json"):
        Workdir(tmp_path, {"seed": 0})


def test_processes_that_share_a_folder_may_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes the whole file between this one's writing aside and its renaming."""
    path, rename = tmp_path / "known.json", Path.replace

    def interrupted(aside: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", rename)
        monkeypatch.setattr(os, "getpid", lambda: 2)
        write_text(path, "the other's")
        return rename(aside, target)

    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(Path, "replace", interrupted)
    write_text(path, "ours")
    assert path.read_text() == "ours"
    assert [file.name for file in tmp_path.iterdir()] == ["known.json"]
