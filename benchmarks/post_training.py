"""What 8-bit integers cost in accuracy: without training, and with a short one, scored through the files.

python -m benchmarks.post_training [NETWORK ...] [--seeds 0 1 2] [--json FILE] [--workdir DIR] [--quick]

Small networks learn the spoken digits (FSDD, the speaker theo held out: 500 clips of a voice never heard), each seed
from first weights of its own; then the same network in integers through every format's own runtime: calibrated only,
and after four epochs of training with rounding. Beside them what ranges from minimum to maximum give, the plain recipe.
Finished trainings and seeds are not repeated. Beside the JSON a page is written, ``post_training.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from benchmarks.tasks import Unmeasured, predict_of_file, predict_of_module
from converters import FORMATS, suffix_of
from demo_apps.speech import TEACHER_RECIPE, digits, digits_net
from mobiledistill.quantize import Int8, post_training


class DSCNN(nn.Module):
    """A convolution, then depthwise and pointwise ones in turns (Zhang et al. 2017, "Hello Edge").

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(*[self._block(width) for _ in range(4)])
        self.head = nn.Linear(width, 10)

    @staticmethod
    def _block(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Log-mel maps ``(n, 1, 40, 101)`` to logits ``(n, 10)``."""
        logits: torch.Tensor = self.head(self.body(self.stem(features)).mean((2, 3)))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "DS-CNN, width 64": lambda: DSCNN(64),
    "residual, width 10": lambda: digits_net(10),
    "DS-CNN, width 26": lambda: DSCNN(26),
    "residual, width 5": lambda: digits_net(5),
}
_TRAINED = md.Recipe(epochs=4, learning_rate=5e-4, weight_decay=0.0)
_EPOCHS = 20


def main() -> None:
    """Runs what is missing; writes the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), help=f"some of {', '.join(NETWORKS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/post_training.json"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/post-training"))
    parser.add_argument("--quick", action="store_true", help="two epochs, one seed, the smallest network")
    options = parser.parse_args()
    if unknown := [name for name in options.networks if name not in NETWORKS]:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    if options.quick:
        options.networks, options.seeds = [list(NETWORKS)[-1]], [0]
    for seed in options.seeds:
        for name in options.networks:
            known = known_figures(options.json)
            if str(seed) in known.get(name, {}):
                continue
            found = _measure(
                NETWORKS[name], seed, options.workdir / name.replace(", ", "-").replace(" ", "-"), options.quick
            )
            known.setdefault(name, {})[str(seed)] = found
            keep_figures(options.json, known, page)
            print(name, seed, json.dumps(found), flush=True)


def _measure(make: Callable[[], nn.Module], seed: int, workdir: Path, quick: bool) -> dict[str, Any]:
    task = digits(split="speaker", seed=seed)
    torch.manual_seed(seed)
    recipe = replace(TEACHER_RECIPE, epochs=2 if quick else _EPOCHS)
    network = md.train_model(make(), task, recipe, workdir=workdir / "float", seed=seed)
    calibration = {name: torch.from_numpy(value) for name, value in task.calibration_inputs("main").items()}
    program = md.Program(network, {name: value[:1] for name, value in calibration.items()}, ("logits",))

    def score(predict: md.Predict) -> float:
        return float(task.evaluate(predict, "test").value)

    def through_files(scheme: Int8) -> dict[str, float]:
        (stored,) = post_training(program, calibration, scheme)
        scores = {}
        for form in FORMATS:
            path = md.convert(stored, workdir / f"seed{seed}{suffix_of(form)}")
            md.verify(path, stored, {name: value[:64].numpy() for name, value in calibration.items()})
            scores[form] = score(predict_of_file(path))
        return scores

    def in_the_module(scheme: Int8) -> float:
        (stored,) = post_training(program, calibration, scheme)
        return score(predict_of_module(task, stored.module))

    untrained = md.Recipe(epochs=0)
    trained = md.compress(
        network,
        task,
        md.Budget(size_bytes=1_000_000_000),
        device=Unmeasured(),
        schedule=md.Schedule(cut_steps=1, distill=untrained, quantize=_TRAINED, stretch=1.0, rounds=0, seed=seed),
        workdir=workdir / f"trained-seed{seed}",
    )
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "float": score(predict_of_module(task, network)),
        "calibrated": through_files(Int8()),
        "trained": {form: artifact.score.value for form, artifact in trained.artifacts.items()},
        "in the module": {
            "minimum to maximum": in_the_module(Int8(percentile=100.0)),
            "least squared error": in_the_module(Int8(percentile=None)),
            "biases corrected": in_the_module(Int8(correct_biases=True)),
        },
    }


def page(found: Mapping[str, Any]) -> str:
    """Markdown: means over seeds, worst format, points lost."""
    lines = [
        "# Accuracy in 8-bit integers",
        "",
        "Made by `python -m benchmarks.post_training` from `post_training.json`. Accuracy in % on 500 clips of a",
        "speaker never heard (FSDD), means over seeds; points lost against the float network, mean (worst seed), in",
        "the format that loses most.",
        "",
        "| | parameters | seeds | float | calibrated: lost | four epochs: lost |",
        "|---|---|---|---|---|---|",
    ]
    for name, seeds in found.items():
        floats = [one["float"] for one in seeds.values()]
        cells = []
        for how in ("calibrated", "trained"):
            lost = {form: [one["float"] - one[how][form] for one in seeds.values()] for form in FORMATS}
            form = max(lost, key=lambda form: statistics.mean(lost[form]))
            cells.append(f"{statistics.mean(lost[form]):+.2f} ({max(lost[form]):+.1f}), {form}")
        parameters = next(iter(seeds.values()))["parameters"]
        lines.append(
            f"| {name} | {parameters:,} | {len(seeds)} | {statistics.mean(floats):.1f} | {' | '.join(cells)} |"
        )
    lines += ["", "Ranges and biases, points lost in the module, mean over seeds:", ""]
    kinds = list(next(iter(next(iter(found.values())).values()))["in the module"])
    lines += [f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for name, seeds in found.items():
        means = [statistics.mean(one["float"] - one["in the module"][kind] for one in seeds.values()) for kind in kinds]
        lines.append(f"| {name} | {' | '.join(f'{mean:+.2f}' for mean in means)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
