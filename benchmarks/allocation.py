"""How long it takes to analyse a network of five million parameters and to decide what to cut, and on what it depends.

python -m benchmarks.allocation [--json FILE] [--width 192]

The spoken digits' network, as wide as that, untrained: neither takes longer for what the weights are. The sensitivity
is measured on batches of the real task, with 4 bits among the choices and without; then plans are made for budgets of
half, a quarter and a tenth of the bytes. Beside the JSON a page is written, ``allocation.md``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mobiledistill as md
from benchmarks._figures import keep_figures
from demo_apps.speech import demo, digits_net
from mobiledistill._cuts import Cuts
from mobiledistill._student import example_run, run_per_use
from mobiledistill.search import CostModel

_SHARES = (0.5, 0.25, 0.1)
_BATCHES = 16  # as ``compress`` looks at
_SIZE: tuple[md.Format, str] = ("tflite", "size_bytes")


def main() -> None:
    """Measures both ways and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/allocation.json"))
    parser.add_argument("--width", type=int, default=192)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = demo.tasks["digits"].make_task(md.DemoRequest("official", None, 0))
    torch.manual_seed(0)
    net = digits_net(options.width)
    found: dict[str, Any] = {
        "parameters": sum(value.numel() for value in net.parameters()),
        "epoch_seconds": round(_epoch_seconds(task, net), 1),
        "epochs": _epochs(md.Schedule()),
    }
    for name, half_bits in (("8 bits", False), ("8 or 4 bits", True)):
        found[name] = _of_search(task, net, half_bits=half_bits)
        print(name, found[name], flush=True)
    found["load"] = round(os.getloadavg()[0], 1)
    keep_figures(options.json, found, page)


def _of_search(task: md.Task, net: nn.Module, *, half_bits: bool) -> dict[str, Any]:
    began = time.perf_counter()
    cuts = Cuts(net, example_run(task), run_per_use(task), lambda module: _losses(task, module), 8, half_bits=half_bits)
    analysed = time.perf_counter() - began
    cost = CostModel(1.0)
    whole = cost.predict(_SIZE, cuts.uncut())
    seconds = []
    for share in _SHARES:
        began = time.perf_counter()
        plans = [cuts.propose(cost, {_SIZE: share * whole}, way) for way in range(cuts.ways)]
        seconds.append(round(time.perf_counter() - began, 2))
        if not all(plan and cost.predict(_SIZE, cuts.amounts(plan)) <= share * whole for plan in plans):
            raise RuntimeError(f"not every way keeps {share} of {whole:,.0f} bytes")
    return {
        "choices": len(cuts.sensitivity.rises),
        "trials": sum(map(len, cuts.sensitivity.rises.values())),
        "analysis_seconds": round(analysed, 1),
        "sensitivity_seconds": round(cuts.sensitivity.seconds, 1),
        "allocation_seconds": seconds,
    }


def _losses(task: md.Task, module: nn.Module) -> Iterator[Tensor]:
    for batch in islice(task.train_batches(0), _BATCHES):
        yield F.cross_entropy(module(*batch.inputs.values()), batch.targets["label"])


def _epoch_seconds(task: md.Task, net: nn.Module) -> float:
    """One epoch of plain training, from a tenth of its batches."""
    batches = list(task.train_batches(0))
    few = batches[: max(1, len(batches) // 10)]
    began = time.perf_counter()
    for batch in few:
        net.zero_grad()
        F.cross_entropy(net(*batch.inputs.values()), batch.targets["label"]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return (time.perf_counter() - began) * len(batches) / len(few)


def _epochs(schedule: md.Schedule) -> int:
    """All that ``compress`` trains by default, where nothing is stretched."""
    return (schedule.cut_steps - 1) * schedule.cut.epochs + schedule.distill.epochs + schedule.quantize.epochs


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a line for each way."""
    lines = [
        "# How long it takes to decide",
        "",
        f"Made by `python -m benchmarks.allocation` from `allocation.json`: a network of {found['parameters']:,}"
        " parameters,",
        f"an epoch of which takes {found['epoch_seconds']:.0f} s here on one thread (load {found['load']:g}).",
        f"The share is of the {found['epochs']} epochs that `compress` trains by default, if students were as slow.",
        "",
        f"| stored in | choices | trials | analysis | of it sensitivity | share | plans for {_told()} of the bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    training = found["epochs"] * found["epoch_seconds"]
    for name in ("8 bits", "8 or 4 bits"):
        one = found[name]
        plans = ", ".join(f"{seconds:.2f} s" for seconds in one["allocation_seconds"])
        lines.append(
            f"| {name} | {one['choices']} | {one['trials']} | {one['analysis_seconds']:.0f} s |"
            f" {one['sensitivity_seconds']:.0f} s | {100 * one['sensitivity_seconds'] / training:.1f} % | {plans} |"
        )
    return "\n".join([*lines, ""])


def _told() -> str:
    return ", ".join(f"{100 * share:g}" for share in _SHARES) + " %"


if __name__ == "__main__":
    main()
