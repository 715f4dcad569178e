"""Programs that anyone saved with torch.export: to every format, whatever goes in, and never run blindly."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.zoo import ZOO
from converters import FORMATS, Format, InputError, ModelFileError, convert, load_program, suffix_of, verify

BATCH = torch.export.Dim("batch", min=1, max=64)


class Structures(nn.Module):
    """Takes a tensor, a pair of them, a keyword and a number; returns a mapping with a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, pair: tuple[Tensor, Tensor], factor: int, *, input: Tensor) -> dict[str, Any]:
        y = self.layer(x + pair[0] * factor)
        return {"logits": y, "parts": (y.softmax(-1), pair[1] + input), "nothing": None}


def save(module: nn.Module, path: Path, *args: Any, **more: Any) -> Path:
    """As a user saves it, without anything of ours."""
    torch.export.save(torch.export.export(module.eval(), args, **more), path)
    return path


@pytest.fixture
def structures(tmp_path: Path) -> Path:
    module, one = Structures(), torch.randn(1, 4)
    return save(module, tmp_path / "net.pt2", one, (one, one[:, :2]), 2, kwargs={"input": one[:, 2:]})


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["ds-cnn", "ssd", "keyword-transformer"])
def test_plainly_saved_networks_become_every_format(tmp_path: Path, name: str, format: Format) -> None:
    network = ZOO[name]
    module = network.program().module
    program = load_program(save(module, tmp_path / "net.pt2", *network.samples(1).values()))
    samples = network.samples(8, seed=3)
    path = convert(program, tmp_path / f"net{suffix_of(format)}")
    inputs = dict(zip(program.inputs, (value.numpy() for value in samples.values()), strict=True))
    parity = verify(path, program, inputs)
    assert parity.n == 8
    assert parity.sqnr_db >= 80
    with torch.no_grad():
        answers = module(*network.samples(1, seed=4).values())
    answers = (answers,) if isinstance(answers, Tensor) else answers
    loaded = program(**dict(zip(program.inputs, network.samples(1, seed=4).values(), strict=True)))
    torch.testing.assert_close(tuple(loaded.values()), tuple(answers))


@pytest.mark.parametrize("format", FORMATS)
def test_structures_are_taken_apart_and_named(structures: Path, tmp_path: Path, format: Format) -> None:
    program = load_program(structures)
    assert list(program.inputs) == ["x", "pair_0", "pair_1", "input"]
    assert program.outputs == ("logits", "parts_0", "parts_1")
    assert verify(convert(program, tmp_path / f"net{suffix_of(format)}"), program).sqnr_db >= 80


@pytest.mark.parametrize("format", FORMATS)
def test_of_a_dynamic_batch_one_sample_is_taken(tmp_path: Path, format: Format) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    path = save(module, tmp_path / "net.pt2", torch.randn(6, 3, 8, 8), dynamic_shapes=({0: BATCH},))
    program = load_program(path)
    assert [tuple(value.shape) for value in program.inputs.values()] == [(1, 3, 8, 8)]
    file = convert(program, tmp_path / f"net{suffix_of(format)}")
    assert verify(file, program, {"input": torch.randn(9, 3, 8, 8).numpy()}).sqnr_db >= 80


def test_a_fixed_batch_of_several_is_refused(tmp_path: Path) -> None:
    path = save(nn.Linear(4, 2), tmp_path / "net.pt2", torch.randn(6, 4))
    with pytest.raises(InputError, match=r"exported for input \(6, 4\), but files answer one sample: .* dynamic"):
        load_program(path)


class Touch:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.trace),)


def pickled(trace: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Touch(trace),), buffer)
    return buffer.getvalue()


def edited(source: Path, edit: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None) -> Path:
    """A copy of an archive, its entries edited, more of them added."""
    path = source.with_name("hostile.pt2")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, edit(entry.filename, old.read(entry.filename)))
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return path


def as_it_is(_: str, content: bytes) -> bytes:
    return content


def test_hostile_example_inputs_are_not_opened(structures: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = edited(structures, lambda name, content: pickled(trace) if "sample_inputs" in name else content)
    with pytest.raises(ModelFileError, match="example inputs that are no plain tensors"):
        load_program(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["data/weights/model.pt", "data/constants/model.pt", "data/aotinductor/model/a.so"])
def test_older_places_and_compiled_code_are_not_opened(structures: Path, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    path = edited(structures, as_it_is, {f"net/{name}": pickled(trace)})
    with pytest.raises(ModelFileError, match=rf"holds the record 'net/{name}'"):
        load_program(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["net/MODELS/model.json", "other/models/model.json"])
def test_two_entries_for_one_name_are_refused(structures: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="holds the record"):
        load_program(edited(structures, as_it_is, {name: b"{}"}))


def test_sizes_are_arithmetic_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    source = save(nn.Linear(4, 2), tmp_path / "net.pt2", torch.randn(6, 4), dynamic_shapes=({0: BATCH},))
    hostile = f"__import__('os').mkdir('{trace}')".encode()

    def replace(name: str, content: bytes) -> bytes:
        return re.sub(rb"Symbol\([^\"]*\)", hostile, content) if name.endswith("model.json") else content

    with pytest.raises(ModelFileError, match="holds the size"):
        load_program(edited(source, replace))
    assert not trace.exists()


@pytest.mark.parametrize("target", ["torch.serialization.os.system", "torch.ops.aten.from_file.default", "os.system"])
def test_operators_are_torchs_own(structures: Path, target: str) -> None:
    def replace(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.ops.aten.linear.default", target.encode())

    with pytest.raises(ModelFileError, match=f"holds the operator '{target}'"):
        load_program(edited(structures, replace))
