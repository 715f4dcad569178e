"""One Keras teacher as Keras model, SavedModel, ONNX and TFLite: does the same student come out?

python -m benchmarks.cross_framework [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--data DIR]

A small Keras network learns 20,000 images of MNIST; its four files teach a narrow torch student on 1,000 images, each
seed from the same first weights. Students are scored on the official test through the written ONNX file. Beside the
JSON a page is written, ``cross_framework.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._keras_teacher import train_keras
from benchmarks._mnist import Mnist, load_mnist
from benchmarks.losses import Small
from benchmarks.tasks import predict_of_file
from converters import run_in_child
from mobiledistill.distill import SoftTargets
from mobiledistill.teachers import Cached, FileTeacher

_IMAGES, _TRANSFER = 20_000, 1000


def main() -> None:
    """Fills in what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/cross_framework.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/cross-framework"))
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    splits, folder = load_mnist(options.data), options.workdir
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = splits["train"]
    if not (folder / "teacher").exists():
        images = (pixels[:_IMAGES, None].float() / 255).numpy()
        run_in_child(train_keras, folder, images, labels[:_IMAGES].numpy(), what="the teacher", timeout_s=900)
    files = _files(folder)
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:_TRANSFER]
    few = {**splits, "train": (pixels[chosen], labels[chosen])}
    figures = known_figures(options.json)
    for name, path in files.items():
        row = figures.setdefault(name, {"teacher_errors": None, "student_errors": {}})
        teacher = Cached(FileTeacher(path, trust=True), folder / "answers")
        if row["teacher_errors"] is None:
            asked = teacher.answers(Mnist(splits), {"pixels": splits["test"][0][:, None].float() / 255})
            row["teacher_errors"] = int((asked.outputs["logits"].argmax(1) != splits["test"][1]).sum())
        for seed in options.seeds:
            if str(seed) in row["student_errors"]:
                continue
            torch.manual_seed(seed)
            task = Mnist(few, seed=seed, batch_size=50)
            student = md.train_model(
                Small(4), task, md.Recipe(epochs=30, learning_rate=3e-3), workdir=folder, seed=seed, progress=tell,
                teacher=teacher, distill=SoftTargets(),
            )  # fmt: skip
            example = {"pixels": torch.zeros(1, 1, 28, 28)}
            written = md.convert(md.Program(student.eval(), example, ("logits",)), folder / "student.onnx")
            row["student_errors"][str(seed)] = int(task.wrong(predict_of_file(written), "test").sum())
            keep_figures(options.json, figures, page)
            print(name, seed, row, flush=True)


def _files(folder: Path) -> dict[str, Path]:
    source = md.load_keras(folder / "teacher.keras")
    files = {"Keras": folder / "teacher.keras", "SavedModel": folder / "teacher"}
    for name, suffix in (("ONNX", "onnx"), ("TFLite", "tflite")):
        files[name] = folder / f"teacher.{suffix}"
        if not files[name].exists():
            md.convert(source, files[name])
    return files


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a row a file."""
    lines = [
        "# One teacher, four files",
        "",
        "Made by `python -m benchmarks.cross_framework` from `cross_framework.json`. Errors among the 10,000 official",
        "MNIST test images: of the teacher, and of a student of 2,230 parameters that learned from that file on 1,000",
        "images, through its own written ONNX file.",
        "",
        "| the teacher as | its errors | student, mean | each seed |",
        "|---|---|---|---|",
    ]
    for name, row in found.items():
        errors = list(row["student_errors"].values())
        each = ", ".join(map(str, errors))
        lines.append(f"| {name} | {row['teacher_errors']} | {statistics.mean(errors):.0f} | {each} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
