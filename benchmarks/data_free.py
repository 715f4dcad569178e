"""A student that never saw a real image: LeNet-5 from LeNet-5, on what a generator imagined, and on pure noise.

python -m benchmarks.data_free [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--data DIR] [--quick]

The teacher learns MNIST; generator and student never get an image of it. All are scored on the official test through
the written ONNX file. Beside the JSON a page is written, ``data_free.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._mnist import Mnist, load_mnist
from benchmarks.tasks import predict_of_file
from mobiledistill.distill import SoftTargets, TransferSet, imagined

_SOFT = SoftTargets(temperature=4.0, hard=0.0, soft=1.0)
_COUNT = 20_000


class LeNet5(nn.Module):
    """Caffe's LeNet-5: 20 and 50 channels, 500 units, 431 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 20, 5)
        self.second = nn.Conv2d(20, 50, 5)
        self.hidden = nn.Linear(800, 500)
        self.classify = nn.Linear(500, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(n, 1, 28, 28)`` to logits ``(n, 10)``."""
        maps = torch.max_pool2d(self.first(pixels), 2, 2)
        maps = torch.max_pool2d(self.second(maps), 2, 2)
        logits: Tensor = self.classify(self.hidden(maps.flatten(1)).relu())
        return logits


def main() -> None:
    """Fills in the seeds that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/data_free.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/data-free"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true", help="few steps, one epoch")
    options = parser.parse_args()
    task = Mnist(load_mnist(options.data))
    teacher: nn.Module = _made(0)
    long = md.Recipe(epochs=1 if options.quick else 10, learning_rate=1e-3)
    teacher = md.train_model(teacher, task, long, workdir=options.workdir, progress=tell)
    figures = known_figures(options.json) or {"teacher": _accuracy(task, teacher, options.workdir), "seeds": {}}
    recipe = md.Recipe(epochs=1 if options.quick else 4, learning_rate=1e-3)
    for seed in map(str, options.seeds):
        row = figures["seeds"].setdefault(seed, {})
        for name in ("imagined", "noise"):
            if name in row:
                continue
            if name == "imagined":
                transfer = imagined(
                    teacher, task, low=0.0, high=1.0, seed=int(seed), workdir=options.workdir, progress=tell,
                    steps=20 if options.quick else 400, count=_COUNT,
                )  # fmt: skip
            else:
                noise = torch.rand(_COUNT, 1, 28, 28, generator=torch.Generator().manual_seed(int(seed)))
                transfer = TransferSet(task, {"pixels": noise})
            student = md.train_model(
                _made(100 + int(seed)), transfer, recipe, workdir=options.workdir, seed=int(seed), progress=tell,
                teacher=teacher, distill=_SOFT,
            )  # fmt: skip
            row[name] = _accuracy(task, student, options.workdir)
            keep_figures(options.json, figures, page)
            print(seed, name, row[name], flush=True)


def page(found: Mapping[str, Any]) -> str:
    """Markdown: one table."""
    lines = [
        "# Without data",
        "",
        "Made by `python -m benchmarks.data_free` from `data_free.json`. LeNet-5 (431 thousand parameters) on the",
        "official MNIST test, accuracy in percent through the written ONNX file. Generator and students saw no image",
        "of it; 20,000 samples, the same epochs.",
        "",
        "| | mean | each seed |",
        "|---|---|---|",
        f"| the teacher, on real images | {found['teacher']:.2f} | |",
    ]
    for name, title in (("imagined", "student, on imagined images"), ("noise", "student, on noise")):
        values = [row[name] for row in found["seeds"].values() if name in row]
        if values:
            each = ", ".join(f"{value:.2f}" for value in values)
            lines.append(f"| {title} | {statistics.mean(values):.2f} | {each} |")
    return "\n".join([*lines, ""])


def _made(seed: int) -> LeNet5:
    torch.manual_seed(seed)
    return LeNet5()


def _accuracy(task: Mnist, net: nn.Module, folder: Path) -> float:
    example = {"pixels": torch.zeros(1, 1, 28, 28)}
    path = md.convert(md.Program(net.eval(), example, ("logits",)), folder / "scored.onnx")
    return round(100 * float(1 - task.wrong(predict_of_file(path), "test").mean()), 3)


if __name__ == "__main__":
    main()
