from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import Program, size_bytes
from converters._coreml import CoreMLModel, export_coreml, read_integers, slim
from converters._coreml._blobs import Blob, BlobFile, read_blob
from converters._coreml._library import coremltools
from converters._coreml._package import open_package, write_parts
from converters._errors import ModelFileError
from converters._quiet import quiet
from tests.converters._networks import ActivationGrid, QuantizedLayer, example_input, freeze
from tests.converters.coreml._programs import noise, save_mil
from tests.converters.coreml.conftest import Exported


class TwelveLayers(nn.Module):
    """A residual CNN of 12 layers and 40 thousand weights."""

    def __init__(self, width: int = 21, blocks: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2 * blocks))
        self.grids = nn.ModuleList(ActivationGrid() for _ in range(3 * blocks + 3))
        self.head = nn.Linear(width, 10)

    def forward(self, features: Tensor) -> Tensor:
        grids = iter(self.grids)
        x = next(grids)(features)
        x = next(grids)(F.relu(self.stem(x)))
        for first, second in zip(self.convolutions[::2], self.convolutions[1::2], strict=True):
            y = next(grids)(F.relu(first(x)))
            y = next(grids)(second(y))
            last = next(grids)
            x = last(F.relu(x + y))
        x = last(F.adaptive_avg_pool2d(x, 1))
        return next(grids)(self.head(x.flatten(1)))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_slimming_changes_no_bit_of_any_answer(quantized: Exported, precision: str) -> None:
    assert quantized.plain is not None
    before, after = (CoreMLModel(path, precision) for path in (quantized.plain, quantized.path))  # type: ignore[arg-type]

    assert before.signatures == after.signatures
    for features in noise(quantized.program, 10)["features"]:
        inputs = {"features": features[None]}
        assert np.array_equal(before.run(inputs)["logits"], after.run(inputs)["logits"])


def test_slimming_changes_no_integer(quantized: Exported) -> None:
    assert quantized.plain is not None
    before, after = (read_integers(path)["main"] for path in (quantized.plain, quantized.path))

    assert len(before) == len(after) == 6
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one.weight, other.weight)
        assert np.array_equal(one.weight_scale, other.weight_scale)
        assert one.bias is not None
        assert other.bias is not None
        assert np.array_equal(one.bias, other.bias)
        assert (one.input, one.output) == (other.input, other.output)


def test_half_of_the_package_goes_and_apple_s_library_still_opens_it(quantized: Exported, tmp_path: Path) -> None:
    assert quantized.plain is not None
    models = [path / "Data/com.apple.CoreML/model.mlmodel" for path in (quantized.plain, quantized.path)]

    assert models[1].stat().st_size < 0.5 * models[0].stat().st_size
    assert size_bytes(quantized.path) < 0.5 * size_bytes(quantized.plain)
    copy = tmp_path / "copy.mlpackage"  # coremltools writes the manifest anew in what it opens
    shutil.copytree(quantized.path, copy)
    with quiet():
        opened = coremltools().models.MLModel(str(copy), skip_model_load=True)
        description = opened.get_spec().description
    assert [entry.name for entry in description.input] == ["features"]
    assert [entry.name for entry in description.output] == ["logits"]
    assert set(json.loads((quantized.path / "Manifest.json").read_text())) == {
        "fileFormatVersion",
        "itemInfoEntries",
        "rootModelIdentifier",
    }


def test_twelve_layers_of_forty_thousand_integers_fit_60_kb(tmp_path: Path) -> None:
    network = TwelveLayers().eval()
    with torch.no_grad():
        network(torch.randn(4, 1, 40, 101))
    freeze(network)
    program = Program(network, {"features": example_input()}, ("logits",))
    layers = [part for part in network.modules() if isinstance(part, QuantizedLayer)]

    path = export_coreml([program], tmp_path / "net.mlpackage")

    weights = sum(layer.weight.numel() for layer in layers)
    scales_and_biases = sum(8 * len(layer.bias) for layer in layers)
    assert (len(layers), weights) == (12, 40_089)
    assert size_bytes(path) <= 60_000
    assert size_bytes(path) - weights - scales_and_biases <= 14_000


def test_notes_of_the_converter_go_and_those_of_the_author_stay(quantized: Exported, tmp_path: Path) -> None:
    assert quantized.plain is not None
    package, path = open_package(quantized.plain), tmp_path / "net.mlpackage"
    metadata = package.spec.description.metadata
    metadata.license = "CC0"
    metadata.userDefined["com.github.apple.coremltools.conversion_date"] = "2026-11-23"
    metadata.userDefined["preprocessing"] = "none"
    write_parts(path, package.spec, (package.weights / "weight.bin").read_bytes())

    slim(path)

    kept = open_package(path).spec.description.metadata
    assert (kept.license, dict(kept.userDefined)) == ("CC0", {"preprocessing": "none"})
    assert not open_package(quantized.path).spec.description.HasField("metadata")


def test_inner_names_are_short_and_constants_stand_once(two_signatures: Exported) -> None:
    program = open_package(two_signatures.path).spec.mlProgram

    for function in program.functions.values():
        (block,) = function.block_specializations.values()
        names = [output.name for operation in block.operations for output in operation.outputs]
        constants = [
            operation.attributes["val"].SerializeToString(deterministic=True)
            for operation in block.operations
            if operation.type == "const"
        ]
        assert all(len(name) <= 3 for name in names if name not in block.outputs)
        assert len(names) == len(set(names))
        assert len(constants) == len(set(constants))


def test_slimming_twice_is_slimming_once(quantized: Exported, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(quantized.path, copy)

    slim(copy)

    for part in quantized.path.rglob("*"):
        if part.is_file():
            assert (copy / part.relative_to(quantized.path)).read_bytes() == part.read_bytes()


def test_constants_of_all_sizes_survive(tmp_path: Path) -> None:
    sizes = (1, 3, 200, 300, 5000)
    random = np.random.default_rng(0)
    constants = [random.normal(size=size).astype(np.float32) for size in (*sizes, *sizes)]
    path = save_mil(
        tmp_path / "net.mlpackage",
        (1,),
        lambda mb, x: mb.concat(values=[x, *constants, *constants], axis=0),
    )
    before = CoreMLModel(path).run({"x": np.ones(1, np.float32)})["y"]

    slim(path)

    assert np.array_equal(CoreMLModel(path).run({"x": np.ones(1, np.float32)})["y"], before)
    assert np.array_equal(before, np.concatenate([np.ones(1), *constants, *constants]).astype(np.float32))


def test_weights_of_several_files_come_into_one(tmp_path: Path) -> None:
    constant = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    path = save_mil(
        tmp_path / "net.mlpackage", (5000,), lambda mb, x: mb.mul(x=mb.add(x=x, y=constant), y=constant[::-1])
    )
    package = open_package(path)
    shutil.copy(package.weights / "weight.bin", package.weights / "other.bin")
    (block,) = package.spec.mlProgram.functions["main"].block_specializations.values()
    blobs = [operation.attributes["val"].blobFileValue for operation in block.operations if operation.type == "const"]
    blobs[0].fileName = "@model_path/weights/other.bin"
    (path / "Data/com.apple.CoreML/model.mlmodel").write_bytes(package.spec.SerializeToString())

    slim(path)

    answer = CoreMLModel(path).run({"x": np.ones(5000, np.float32)})["y"]
    assert np.array_equal(answer, (1 + constant) * constant[::-1])
    assert [part.name for part in open_package(path).weights.iterdir()] == ["weight.bin"]


def test_a_package_that_cannot_be_read_is_left_alone(quantized: Exported, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(quantized.path, copy)
    weights = copy / "Data/com.apple.CoreML/weights/weight.bin"
    weights.write_bytes(weights.read_bytes()[:200])
    before = {part: part.read_bytes() for part in copy.rglob("*") if part.is_file()}

    with pytest.raises(ModelFileError):
        slim(copy)

    assert {part: part.read_bytes() for part in copy.rglob("*") if part.is_file()} == before
    assert [part.name for part in tmp_path.iterdir()] == ["copy.mlpackage"]


def test_equal_blobs_share_a_place() -> None:
    blobs = [Blob(2, b"abcd", 0), Blob(2, b"x" * 100, 0), Blob(4, b"abcd", 0), Blob(2, b"abcd", 0)]
    file = BlobFile()

    places = [file.add(blob) for blob in blobs]

    assert places[0] == places[3]
    assert len(set(places)) == 3
    assert all(place % 64 == 0 for place in places)
    assert [read_blob(file.to_bytes(), place) for place in places] == blobs
    assert int.from_bytes(file.to_bytes()[:4], "little") == 3


@pytest.mark.parametrize("offset", [-64, 0, 10_000])
def test_a_place_without_a_blob_is_refused(offset: int) -> None:
    file = BlobFile()
    file.add(Blob(2, b"abcd", 0))

    with pytest.raises(ModelFileError, match="weight file"):
        read_blob(file.to_bytes(), offset)
