"""The page that is committed is the one that its sources give, and knows the runtimes that it is served with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mobiledistill.devices._browser_runtimes import WEB_RUNTIMES
from tests.devices.conftest import ASSETS

SOURCES = Path(__file__).parents[2] / "browser"
PAGES = [SOURCES.parent / "demo_apps" / demo / "page" for demo in ("speech", "detection", "translation")]


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


@pytest.mark.parametrize("page", [*PAGES, ASSETS / "browser"], ids=lambda page: page.parent.name)
def test_nothing_is_fetched_from_elsewhere(page: Path) -> None:
    files = contents(page)
    assert {"index.html", "page.js", "worker.js"} <= set(files)
    named = {address for text in files.values() for address in re.findall(r"https?://[^\s\"'`)]+", text)}
    assert named <= {"http://www.w3.org/2000/svg"}  # the name of a language, not a place


@pytest.mark.slow
def test_the_committed_pages_are_built_from_their_sources(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path / "browser"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    fetched = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"needs npm's registry: {fetched.stderr.strip()[-300:]}")
    built = subprocess.run(["npm", "run", "build"], cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    for page in (*PAGES, ASSETS / "browser"):
        fresh = tmp_path / page.relative_to(SOURCES.parent)
        assert contents(fresh) == contents(page), page


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}
