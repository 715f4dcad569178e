"""The comparison with other tools: its arithmetic, what the tools are asked for, and a short run of it all."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks._peer_bench import METHODS, OURS
from benchmarks._peer_page import page, plot, rows, times_at_equal_accuracy
from benchmarks._peer_tools import ai_edge_quantizer, plain_tflite, predict_by_index, pruned, stripped
from demo_apps.speech import digits_net

ROOT = Path(__file__).parents[2]


def test_pruning_takes_a_share_of_every_layer_and_leaves_the_original_and_the_classes() -> None:
    net = digits_net(8)
    smaller = pruned(net, torch.zeros(1, 1, 40, 101), 0.5, isomorphic=False)
    same = digits_net(4)
    assert [p.shape for p in smaller.parameters()] == [p.shape for p in same.parameters()]
    assert [p.shape for p in net.parameters()] == [p.shape for p in digits_net(8).parameters()]


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*experimental_preserve_all_tensors")
def test_a_file_without_names_is_smaller_and_answers_as_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    samples = {"x": torch.randn(64, 1, 8, 8)}
    floats = plain_tflite(net, (samples["x"][:1],), tmp_path / "floats.tflite")
    named = ai_edge_quantizer(floats, samples, tmp_path / "named.tflite")
    bare = stripped(named, tmp_path / "bare.tflite")
    assert bare.stat().st_size < named.stat().st_size
    with torch.no_grad():
        wanted = net(samples["x"]).numpy()
    answered = predict_by_index(bare, "y")({"x": samples["x"].numpy()})["y"]
    assert answered.shape == wanted.shape
    assert np.abs(answered - wanted).mean() < 0.05 * np.abs(wanted).max()  # the tool clips what it saw seldom


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((40.0, 80.0), ("=", 2.0)),  # our file of 20
        ((40.0, 75.0), ("=", 40.0 / math.sqrt(10 * 20))),  # half of the way, in logarithms
        ((30.0, 60.0), (">=", 3.0)),
        ((30.0, 95.0), ("<", 0.75)),
    ],
)
def test_costs_are_compared_at_equal_accuracy(theirs: tuple[float, float], expected: tuple[str, float]) -> None:
    ours = [(20.0, 80.0), (10.0, 70.0), (30.0, 79.0), (40.0, 90.0)]  # nobody would take the one of 30
    sign, times = times_at_equal_accuracy(ours, theirs)
    assert sign == expected[0]
    assert times == pytest.approx(expected[1])


def _cell(right: int, size: int) -> dict[str, Any]:
    answers = np.arange(500) < right
    bits = np.packbits(answers).tobytes().hex()
    return {"what": "a network", "accuracy": right / 5, "right": bits, "recordings": 500, "bytes": size}


def _found(ours: tuple[int, int], alone: tuple[int, int]) -> dict[str, Any]:
    """Two seeds; recordings of 500 answered rightly."""
    seeds = {
        str(seed): {
            "cells": {
                OURS: _cell(ours[seed], 11_900),
                "alone": _cell(alone[seed], 11_500),
                "pruned": {"none": "too small"},
            },
            "latency": {"verdict": "valid", "ms": {OURS: 0.01, "alone": 0.02}},
        }
        for seed in (0, 1)
    }
    return {
        "teachers": {seed: {"nncf": _cell(450, 190_000), "onnxruntime": _cell(480, 12_000)} for seed in ("0", "1")},
        "cases": {"size-12kB": seeds},
    }


def test_rows_are_means_of_seeds_and_a_teacher_counts_only_where_it_fits() -> None:
    found = rows(_found(ours=(400, 410), alone=(380, 390)), "size-12kB")
    assert [row.name for row in found] == ["onnxruntime", OURS, "alone"]
    ours, alone = found[1:]
    assert ours.accuracy == pytest.approx(100 * 810 / 1000)
    value, (low, high) = ours.minus(alone)
    assert value == pytest.approx(4.0)  # 20 more of 500 in both seeds
    assert 2.0 < low < 4.0 < high < 6.5  # 1.96 * sqrt(0.04 * 0.96 / 500) = 1.7
    low, high = ours.ci95
    assert low < ours.accuracy < high
    assert high - low == pytest.approx(2 * 1.96 * 100 * math.sqrt(0.81 * 0.19 / 500), rel=0.25)


def test_the_page_tells_who_is_ahead_and_what_does_not_fit() -> None:
    found = _found(ours=(400, 410), alone=(380, 390))
    for cells in found["teachers"].values():
        del cells["onnxruntime"]
    text = page(found)
    assert f"{(1000 - 810) / (1000 - 770):.2f} (goal 0.8)" in text
    assert "| ahead |" in text
    assert "too small" in text
    assert re.search(r"\| small network on the labels \| 1 \| \+4\.00 \[\+2\.\d+, \+5\.\d+\] \| 0\.83 \|", text)
    assert "| behind |" in page(_found(ours=(380, 390), alone=(400, 410)))
    found["cases"]["size-9kB"] = found["cases"]["size-12kB"]
    text = page(found)
    assert text.index("| 9 kB |") < text.index("| 12 kB |")
    drawn = plot(found)
    assert drawn.startswith("<svg")
    assert drawn.count("<circle") == 4


def test_every_method_has_networks_of_every_level() -> None:
    for method in METHODS.values():
        assert method.levels % 32 == 0
        assert method.told(method.levels)


@pytest.mark.long
def test_a_short_run_fills_the_table_and_the_next_one_repeats_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "peers.json"

    def run() -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", "--quick", "--json", str(figures), "--workdir", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    told = run()
    cells = json.loads(figures.read_text())["cases"]["size-20kB"]["0"]["cells"]
    assert list(cells) == ["alone", OURS]
    for name, cell in cells.items():
        assert cell["bytes"] <= 20_000, name
        assert f"0 size-20kB {name} " in told
    assert cells["alone"]["bytes_with_names"] > cells["alone"]["bytes"] + 10_000
    assert "20 kB" in figures.with_suffix(".md").read_text()
    assert "0 size-20kB" not in run()
