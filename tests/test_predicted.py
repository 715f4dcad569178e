"""compress on a latency table: the search keeps a predicted limit, and everything says that it was predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from converters import Program, convert, kernels
from mobiledistill import Budget, Recipe, Schedule, compress, train_model
from mobiledistill.devices import DeviceInfo, LatencyTable, RuntimeInfo
from mobiledistill.devices._fit import Correction, Fitted, Hyper, amounts, place
from mobiledistill.devices._table import table_of
from tests.networks import Residual, Stripes

HOLDOUT = tuple(float(ratio) for ratio in np.linspace(0.95, 1.05, 21))
MACS_PER_MS = 1e6


def a_table(folder: Path) -> LatencyTable:
    """A device that takes a millisecond for a million multiply-accumulates, and for nothing else."""
    module = Residual(24).eval()
    file = convert(Program(module, {"image": torch.randn(1, 1, 16, 16)}, ("logits",)), folder / "probe.onnx")
    work, corrections = {}, {}
    for kernel in kernels(file)["main"]:
        costs = np.zeros(len(amounts(kernel)))
        if kernel.multiplies:
            costs[1] = 1 / MACS_PER_MS
        else:
            costs[0] = 1e-6
        work[kernel.kind] = costs
        corrections[kernel.kind] = Correction(place(kernel)[None], np.zeros(1))
    onnx = table_of(
        Fitted(work, corrections, Hyper()),
        runtime=RuntimeInfo(name="onnxruntime", version="1.32.0"),
        files=1,
        repeatability=0.01,
        tail=1.1,
        holdout=HOLDOUT,
    )
    info = DeviceInfo(name="phone", os="none", cpu="none")
    return LatencyTable(device=info, spec="phone", seed=0, networks=5, formats={"onnx": onnx})


@pytest.mark.slow
def test_a_limit_on_latency_is_kept_as_far_as_the_table_goes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    table = a_table(tmp_path)
    teacher = train_model(Residual(24), Stripes(), Recipe(epochs=6, learning_rate=1e-2), workdir=tmp_path / "teacher")
    limit = 0.6 * table.predict(tmp_path / "probe.onnx").latency_ms
    short = Schedule(cut_steps=1, distill=Recipe(epochs=4), quick=Recipe(epochs=1), stretch=1.0)

    result = compress(
        teacher,
        Stripes(),
        Budget(latency_ms=limit, peak_memory_bytes=1_000_000),
        device=f"table:{table.save(tmp_path / 'phone.json')}",
        formats=("onnx",),
        quantize=None,
        schedule=short,
        workdir=tmp_path / "run",
    )

    latency, memory = result.limits
    assert latency.status == "met"
    assert latency.measured is not None
    assert 0.5 * limit < latency.measured < limit / HOLDOUT[-2]  # the upper end of what is possible keeps it
    assert latency.predicted == pytest.approx(table.formats["onnx"].error, abs=1e-3)
    assert (memory.status, memory.predicted) == ("unmeasured", None)
    assert not result.plan.cuts_nothing
    assert "(predicted, within 5 % on files held out)" in result.summary()
    assert "~" in result.summary()
    told = result.to_dict()
    assert told["artifacts"]["onnx"]["verdict"] == "predicted"
    assert told["artifacts"]["onnx"]["latency_ms"]["prediction"]["error"] == pytest.approx(latency.predicted)
    assert [check["predicted"] for check in told["limits"]] == [latency.predicted, None]
    assert result.report_path is not None
    assert "was not measured" in result.report_path.read_text()
