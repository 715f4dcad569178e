"""How much a larger teacher brings: the curve behind the sizes that the demos fix in code.

python -m benchmarks.teacher_sizes [sentences detection translation] [--share 0.3] [--json FILE] [--seed N]

Every size learns by the demo's own recipe with a share of its epochs (1 is what the demo does), so that a curve takes
an hour of one core instead of five; scores are those of the validation, since they decide something. Each size is kept
in the work folder as soon as it has learned: stopped and started again, the program goes on. Beside the JSON a page is
written, ``teacher_sizes.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks.tasks import predict_of_module
from demo_apps.detection import Detector
from demo_apps.speech.sentences import sentences_net
from demo_apps.translation import translator


@dataclass(frozen=True)
class Family:
    """The teachers one demo could have had.

    Attributes:
        demo: the demo.
        task: its task.
        sizes: what each size is called, and how it is made; the demo's own is among them.
        ours: the one that the demo takes.
    """

    demo: str
    task: str
    sizes: Mapping[str, Callable[[Any], nn.Module]]
    ours: str


def _detector(width: int, blocks: tuple[int, int, int] = (1, 2, 2)) -> Callable[[Any], nn.Module]:
    return lambda task: Detector(len(task.classes), width=width, blocks=blocks)


def _sentences(inner: int) -> Callable[[Any], nn.Module]:
    return lambda task: sentences_net(
        len(task.tokens), task.width, inner
    )  # the stream's caches are of the task's width


def _translator(width: int, depth: int) -> Callable[[Any], nn.Module]:
    return lambda task: translator(
        width, depth, source_tokens=len(task.source_vocabulary), target_tokens=len(task.target_vocabulary)
    )


FAMILIES = {
    "sentences": Family(
        "speech",
        "sentences",
        {f"{inner} inner channels": _sentences(inner) for inner in (112, 224, 448, 672)},
        "448 inner channels",
    ),
    "detection": Family(
        "detection", "cells", {f"width {width}": _detector(width) for width in (8, 12, 16, 24)}, "width 16"
    ),
    "translation": Family(
        "translation",
        "en-de",
        {f"width {width}, {depth} layers": _translator(width, depth) for width, depth in ((96, 2), (192, 3), (256, 4))},
        "width 192, 3 layers",
    ),
}


def main() -> None:
    """Trains the sizes that are still missing; writes the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(FAMILIES), help=f"some of {', '.join(FAMILIES)}")
    parser.add_argument("--share", type=float, default=0.3, help="of the epochs of the demo's own recipe")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/teacher_sizes.json"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/teacher-sizes"))
    options = parser.parse_args()
    if unknown := [name for name in options.tasks if name not in FAMILIES]:
        parser.error(f"no such task: {', '.join(unknown)}; choose some of {', '.join(FAMILIES)}")
    if not 0 < options.share <= 1:
        parser.error(f"--share is a part of the epochs, above 0 and at most 1, but got {options.share}")
    for name in options.tasks:
        for size, make in FAMILIES[name].sizes.items():
            one = _learn(FAMILIES[name], make, options.share, options.seed, options.workdir / name)
            known = known_figures(options.json)
            known.setdefault(name, {})[size] = one
            keep_figures(options.json, known, page)
            print(name, size, one, flush=True)


def _learn(family: Family, make: Callable[[Any], nn.Module], share: float, seed: int, workdir: Path) -> dict[str, Any]:
    demo: md.Demo = next(
        entry for entry in entry_points(group="mobiledistill.demos") if entry.name == family.demo
    ).load()
    settings = demo.tasks[family.task]
    task = settings.make_task(md.DemoRequest(settings.splits[0], None, seed, False))
    torch.manual_seed(seed)
    module = make(task)
    recipe = replace(settings.teacher_recipe, epochs=max(1, round(share * settings.teacher_recipe.epochs)))
    began = time.monotonic()
    module = md.train_model(module, task, recipe, workdir=workdir, seed=seed, progress=tell)
    minutes = (time.monotonic() - began) / 60
    score = task.evaluate(predict_of_module(task, module), "validation")
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "metric": task.metric.name,
        "score": score.value,
        "ci95": list(score.ci95),
        "epochs": recipe.epochs,
        "minutes": round(minutes, 1),
        "seed": seed,
    }


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a table a family."""
    lines = [
        "# Sizes of teachers",
        "",
        "Made by `python -m benchmarks.teacher_sizes` from `teacher_sizes.json`: what a larger teacher brings, on the",
        "validation, after a share of the epochs that the demos train for. Bold: the demo's own.",
        "",
    ]
    for name, family in FAMILIES.items():
        if name not in found:
            continue
        rows = {size: found[name][size] for size in family.sizes if size in found[name]}
        metric = next(iter(rows.values()))["metric"]
        lines += [f"## {name.capitalize()}", "", f"| | parameters | {metric} | 95 % interval | epochs | minutes |"]
        lines.append("|---" * 6 + "|")
        for size, one in rows.items():
            low, high = one["ci95"]
            label = f"**{size}**" if size == family.ours else size
            lines.append(
                f"| {label} | {one['parameters']:,} | {one['score']:.3g} | {low:.3g} to {high:.3g} | {one['epochs']}"
                f" | {one['minutes']:.0f} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
