"""The page of Deep Compression made again, and a short run of all its rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.deep_compression import NETWORKS, page
from mobiledistill.prune import zero_shares

ROOT = Path(__file__).parents[2]


def figures(packed_bytes: int, errors: int, file_bytes: int = 100_000) -> dict[str, Any]:
    rows = {"packed_bytes": packed_bytes, "file_bytes": file_bytes, "errors": errors, "zeros": {"all": 0.95}}
    return {"0": rows, "1": rows | {"errors": errors + 2}}


@pytest.mark.parametrize(
    ("packed_bytes", "errors", "kept"),
    [(20_000, 85, True), (20_001, 85, False), (20_000, 86, False), (1_000, 50, True)],
)
def test_the_page_says_what_was_kept(packed_bytes: int, errors: int, kept: bool) -> None:
    text = page({"LeNet-5/reference": figures(10**6, 80, 2 * 10**6), "LeNet-5/same": figures(packed_bytes, errors)})
    (verdict,) = [line for line in text.splitlines() if line.startswith("- ")]
    assert verdict.endswith("kept." if kept else "missed.")
    assert f"{errors - 80:+.1f} errors" in verdict
    assert f"{2 * 10**6 / packed_bytes:.0f} times less" in verdict
    assert f"| {packed_bytes / 1000:.1f} | 100.0 | {errors + 1:.1f} | {errors - 80:+.1f} |" in text


@pytest.mark.parametrize(
    ("errors", "file_bytes", "kept"), [(180, 125_000, True), (181, 125_000, False), (80, 200_000, False)]
)
def test_a_ternary_file_has_to_show_its_bits(errors: int, file_bytes: int, kept: bool) -> None:
    text = page({"LeNet-5/reference": figures(10**6, 80, 2 * 10**6), "LeNet-5/ternary": figures(9, errors, file_bytes)})
    assert ("ternary" in text and "kept." in text) == kept


def test_networks_are_those_of_the_paper() -> None:
    weights = {name: sum(p.numel() for p in network.make().parameters()) for name, network in NETWORKS.items()}
    assert weights == {
        "LeNet-300-100": 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10,
        "LeNet-5": 20 * 25 + 20 + 50 * 20 * 25 + 50 + 800 * 500 + 500 + 500 * 10 + 10,
    }
    for network in NETWORKS.values():
        for way in network.ways.values():
            small = network.make() if way.make is None else way.make()
            assert isinstance(small, nn.Module)
            assert small(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
            assert len(zero_shares(small)) in (3, 4)


@pytest.mark.long
def test_a_short_run_makes_every_row_and_the_next_one_repeats_nothing(tmp_path: Path) -> None:
    if not (Path(os.environ.get("MOBILEDISTILL_DATA", "data")) / "mnist").is_dir():
        pytest.skip("MOBILEDISTILL_DATA names no folder that holds mnist")
    kept = tmp_path / "deep_compression.json"

    def run() -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.deep_compression", "--quick", f"--json={kept}", f"--workdir={tmp_path}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert "LeNet-5/ternary 0" in run()
    found = json.loads(kept.read_text())
    assert set(found) == {f"{name}/{row}" for name, one in NETWORKS.items() for row in ("reference", *one.ways)}
    for name, network in NETWORKS.items():
        whole = found[f"{name}/reference"]["0"]
        for row, way in network.ways.items():
            small = found[f"{name}/{row}"]["0"]
            if way.sparsity is None:
                assert small["file_bytes"] < whole["file_bytes"] / 14
            else:
                assert small["packed_bytes"] < network.most_bytes
                assert small["zeros"]["all"] == pytest.approx(way.sparsity.share, abs=0.02)
    assert run() == ""
