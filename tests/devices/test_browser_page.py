"""The page that is committed is the one that its sources give, and knows the runtimes that it is served with."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES
from tests.devices.conftest import ASSETS

SOURCES = Path(__file__).parents[2] / "browser"


def test_versions_are_the_same_everywhere() -> None:
    locked = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    for runtime in WEB_RUNTIMES.values():
        for package in runtime.packages:
            entry = locked[f"node_modules/{package.name}"]
            assert (entry["version"], entry["integrity"]) == (package.version, package.integrity)


def test_every_package_is_locked_to_its_bytes() -> None:
    lock = SOURCES / "package-lock.json"
    assert "http://" not in lock.read_text()
    installed = [entry for place, entry in json.loads(lock.read_text())["packages"].items() if place]
    assert all(entry["integrity"].startswith("sha512-") for entry in installed)
    asked = json.loads((SOURCES / "package.json").read_text())["devDependencies"]
    assert all(version[0].isdigit() for version in asked.values())


@pytest.mark.slow
def test_the_committed_page_is_built_from_its_sources(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path / "browser"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    fetched = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"needs npm's registry: {fetched.stderr.strip()[-300:]}")
    built = subprocess.run(
        ["npm", "run", "build", "--", "--outDir", "built"], cwd=folder, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    fresh = {path.name: path.read_text() for path in (folder / "built").iterdir()}
    committed = {path.name: path.read_text() for path in (ASSETS / "browser").iterdir()}
    assert fresh == committed
