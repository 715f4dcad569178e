"""Every reader of ours, with real files for it and a way to damage them."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import converters
import mobiledistill as md
from benchmarks.fuzz._mutate import mutated, mutated_json
from mobiledistill.devices import Measurement
from tests.report import _runs as runs

__all__ = ["READERS", "Reader"]

Files = Mapping[str, bytes]
"""One input of a reader, by path below its folder; most are one file."""


@dataclass(frozen=True)
class Reader:
    """A reader of files from anywhere.

    Attributes:
        what: what it reads, for people.
        corpus: writes real files below a folder and returns them.
        damage: one of those files, damaged.
        read: reads what lies in a folder; raises errors of ours, or answers.
    """

    what: str
    corpus: Callable[[Path], list[Files]]
    damage: Callable[[list[Files], random.Random], Files]
    read: Callable[[Path], object]


# -- real files ---------------------------------------------------------------------------------------------------


def _programs() -> list[md.Program]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    program = md.Program(network.eval(), {"image": torch.randn(1, 1, 8, 8)}, ("logits",))
    return [program, md.quantize.post_training(program, {"image": torch.randn(16, 1, 8, 8)})[0]]


def _written(suffix: str) -> Callable[[Path], list[Files]]:
    def corpus(folder: Path) -> list[Files]:
        return [
            _contents(converters.convert(program, folder / f"{number}{suffix}"), f"model{suffix}")
            for number, program in enumerate(_programs())
        ]

    return corpus


def _saved(folder: Path) -> list[Files]:
    return [
        _contents(converters.save_program(program, folder / f"{number}.pt2"), "model.pt2")
        for number, program in enumerate(_programs())
    ]


def _arrays(folder: Path) -> list[Files]:
    found: list[Files] = []
    for write in (np.savez, np.savez_compressed):
        content = io.BytesIO()
        write(content, image=np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32), index=np.arange(4))
        found.append({"inputs.npz": content.getvalue()})
    return found


def _measurements(folder: Path) -> list[Files]:
    return [{"measurement.json": runs.measurement(format, 0.2).to_json().encode()} for format in converters.FORMATS]


def _plans(folder: Path) -> list[Files]:
    cut = md.Plan(channels={"stem": 6, "block.0": 12}, original_channels={"stem": 32, "block.0": 32}, bits=8)
    return [{"plan.json": plan.to_json().encode()} for plan in (cut, md.Plan(width=12, depth=2))]


def _results(folder: Path) -> list[Files]:
    results = (runs.digits(), runs.one_format(), runs.unmeasured(), runs.unreachable(), runs.family())
    return [{"result.json": json.dumps(result.to_dict()).encode()} for result in results]


def _contents(path: Path, name: str) -> Files:
    if path.is_file():
        return {name: path.read_bytes()}
    return {
        f"{name}/{part.relative_to(path).as_posix()}": part.read_bytes() for part in path.rglob("*") if part.is_file()
    }


# -- damage -------------------------------------------------------------------------------------------------------


def _damaged(corpus: list[Files], draw: random.Random) -> Files:
    """One part of one input: JSON as a document, anything else as bytes."""
    files = draw.choice(corpus)
    name = draw.choice(sorted(files))
    others = [other[name] for other in corpus if name in other]
    damage = mutated_json if name.endswith(".json") else mutated
    return {**files, name: damage(files[name], others, draw)}


def _damaged_archive(corpus: list[Files], draw: random.Random) -> Files:
    """The archive's own bytes, which its checksums guard; more often a record, and the archive whole again."""
    if draw.random() < 0.25:
        return _damaged(corpus, draw)
    ((name, content),) = draw.choice(corpus).items()
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(packed, "w") as target:
        entries = source.namelist()
        documents = [entry for entry in entries if entry.endswith(".json")]
        victim = draw.choice(documents if draw.random() < 0.6 else entries)
        for entry in entries:
            damage = mutated_json if entry.endswith(".json") else mutated
            record = source.read(entry)
            target.writestr(entry, damage(record, (), draw) if entry == victim else record)
    return {name: packed.getvalue()}


# -- readers ------------------------------------------------------------------------------------------------------


def _read_tflite(folder: Path) -> None:
    from converters._tflite._integers import read_integers
    from converters._tflite._pack import pack_model
    from converters._tflite._schema import read_model
    from converters._tflite._slim import slim

    read_integers(folder / "model.tflite")
    model = read_model(folder / "model.tflite")
    slim(model)
    pack_model(model)


def _read_onnx(folder: Path) -> None:
    from converters._onnx import operators, read_integers

    read_integers(folder / "model.onnx")
    operators(folder / "model.onnx")


def _read_package(folder: Path) -> None:
    from converters._coreml import CoreMLModel, read_integers

    CoreMLModel(folder / "model.mlpackage")
    read_integers(folder / "model.mlpackage")


def _read_program(folder: Path) -> None:
    converters.load_program(folder / "model.pt2")


def _read_arrays(folder: Path) -> None:
    from mobiledistill.cli._files import _arrays as read

    read(folder / "inputs.npz")


def _read_measurement(folder: Path) -> None:
    Measurement.from_json((folder / "measurement.json").read_bytes())


def _read_plan(folder: Path) -> None:
    md.Plan.from_json((folder / "plan.json").read_text(errors="replace"))


def _read_result(folder: Path) -> None:
    from mobiledistill.report import report_from_file

    report_from_file(folder / "result.json", folder / "report.html")


READERS: dict[str, Reader] = {
    "tflite": Reader("TFLite files: flatbuffer, integers, slimming", _written(".tflite"), _damaged, _read_tflite),
    "onnx": Reader("ONNX files: graph, integers", _written(".onnx"), _damaged, _read_onnx),
    "coreml": Reader("Core ML packages: manifest, weights, executor", _written(".mlpackage"), _damaged, _read_package),
    "pt2": Reader("exported programs", _saved, _damaged_archive, _read_program),
    "npz": Reader("inputs of the command line", _arrays, _damaged, _read_arrays),
    "measurement": Reader("measurements", _measurements, _damaged, _read_measurement),
    "plan": Reader("plans", _plans, _damaged, _read_plan),
    "result": Reader("results that a report is made of", _results, _damaged, _read_result),
}
"""By the name on the command line."""
