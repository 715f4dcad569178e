from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters._coreml import CoreMLModel
from converters._errors import InputError, ModelFileError
from tests.converters.coreml._programs import save_mil
from tests.converters.coreml.conftest import Exported

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")


def add_a_thousandth(mb: Any, x: Any) -> Any:
    return mb.sub(x=mb.add(x=x, y=np.float32(1.001)), y=np.float32(1))


def test_half_precision_rounds_what_each_operator_reads_and_writes(tmp_path: Path) -> None:
    path = save_mil(tmp_path / "net.mlpackage", (3,), add_a_thousandth)
    x = np.array([0.3, 1.7, 20.01], np.float32)
    half = np.float16

    wide, narrow = (CoreMLModel(path, precision).run({"x": x})["y"] for precision in ("float32", "float16"))

    np.testing.assert_allclose(wide, x + 0.001, rtol=1e-4)
    expected = ((x.astype(half) + half(1.001)) - half(1)).astype(np.float32)
    assert narrow.dtype == np.float32
    assert np.array_equal(narrow, expected)
    assert not np.allclose(narrow, wide, rtol=1e-4)


def test_half_precision_rounds_the_inputs(tmp_path: Path) -> None:
    path = save_mil(tmp_path / "net.mlpackage", (1,), lambda mb, x: mb.sub(x=x, y=np.float32(1)))
    x = np.array([1.0004], np.float32)  # half of a float16 step above 1

    wide, narrow = (CoreMLModel(path, precision).run({"x": x})["y"] for precision in ("float32", "float16"))

    assert wide.item() == pytest.approx(0.0004, rel=1e-3)
    assert narrow.item() == 0.0


def test_a_half_precision_program_computes_in_float32(tmp_path: Path) -> None:
    path = save_mil(tmp_path / "net.mlpackage", (1, 4), lambda mb, x: mb.layer_norm(x=x, axes=[1]), half=True)
    x = np.array([[300, -300, 300, -300]], np.float32)

    answer = CoreMLModel(path).run({"x": x})["y"]  # 300 squared is more than float16 holds

    np.testing.assert_allclose(answer, [[1, -1, 1, -1]], rtol=1e-3)


def test_half_precision_accumulates_in_float32(tmp_path: Path) -> None:
    path = save_mil(tmp_path / "net.mlpackage", (1, 4096), lambda mb, x: mb.reduce_sum(x=x, axes=[1]))

    answer = CoreMLModel(path, "float16").run({"x": np.full((1, 4096), 0.25, np.float32)})["y"]

    assert answer.tolist() == [1024]  # adding quarters in float16 stops at 512


def test_types_of_the_program_are_followed(tmp_path: Path) -> None:
    path = save_mil(tmp_path / "net.mlpackage", (3,), add_a_thousandth, half=True)
    x = np.array([0.3, 1.7, 20.01], np.float32)
    half = np.float16

    answer = CoreMLModel(path).run({"x": x})["y"]

    assert np.array_equal(answer, ((x.astype(half) + half(1.001)) - half(1)).astype(np.float32))


def test_an_operator_that_the_executor_lacks_is_named(tmp_path: Path) -> None:
    path = save_mil(tmp_path / "net.mlpackage", (3,), lambda mb, x: mb.topk(x=x, k=2, axis=0)[0])

    with pytest.raises(ModelFileError, match="Operator 'topk' is not one that the Core ML executor knows"):
        CoreMLModel(path)


@pytest.mark.parametrize(
    ("inputs", "signature", "message"),
    [
        ({"features": (1, 1, 40, 101)}, "other", r"'other' is not in .*: call one of \['main'\]"),
        ({"sound": (1, 1, 40, 101)}, "main", r"\['sound'\] were given to .*: it reads \['features'\]"),
        ({"features": (1, 1, 40, 100)}, "main", r"'features' has shape \(1, 1, 40, 100\); .* reads \(1, 1, 40, 101\)"),
    ],
)
def test_wrong_questions_are_refused(
    quantized: Exported, inputs: dict[str, tuple[int, ...]], signature: str, message: str
) -> None:
    arrays = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}

    with pytest.raises(InputError, match=message):
        CoreMLModel(quantized.path).run(arrays, signature)


def test_whole_numbers_of_other_types_are_narrowed(quantized: Exported) -> None:
    x = np.ones((1, 1, 40, 101))
    model = CoreMLModel(quantized.path)

    answers = [model.run({"features": x.astype(dtype)})["logits"] for dtype in (np.float32, np.float64, np.int64)]

    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


def random_bytes(package: Path) -> None:
    (package / MODEL).write_bytes(np.random.default_rng(0).bytes(2000))


def cut_model(package: Path) -> None:
    (package / MODEL).write_bytes((package / MODEL).read_bytes()[:-100])


def no_model(package: Path) -> None:
    (package / MODEL).unlink()


def no_weights(package: Path) -> None:
    shutil.rmtree(package / "Data/com.apple.CoreML/weights")


def no_manifest(package: Path) -> None:
    (package / "Manifest.json").unlink()


def broken_manifest(package: Path) -> None:
    (package / "Manifest.json").write_text('{"itemInfoEntries": [')


def manifest_that_leaves(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    for entry in manifest["itemInfoEntries"].values():
        entry["path"] = "../../" + entry["path"]
    (package / "Manifest.json").write_text(json.dumps(manifest))


def link_out(package: Path) -> None:
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    shutil.move(weights, package.parent / "secret.bin")
    weights.symlink_to(package.parent / "secret.bin")


def nested_manifest(package: Path) -> None:
    (package / "Manifest.json").write_text("[" * 100_000)


def another_kind(package: Path) -> None:
    from converters._coreml._library import model_proto

    spec = model_proto()
    spec.specificationVersion = 4
    spec.neuralNetwork.SetInParent()
    (package / MODEL).write_bytes(spec.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (random_bytes, "damaged model.mlmodel"),
        (cut_model, "damaged"),
        (no_model, "holds no model.mlmodel"),
        (no_weights, "cannot be read"),
        (no_manifest, "it has no Manifest.json"),
        (broken_manifest, "damaged Manifest.json"),
        (manifest_that_leaves, "points outside of its own folder"),
        (link_out, "holds a link"),
        (nested_manifest, "damaged Manifest.json"),
        (another_kind, "holds neuralNetwork, not an ML program"),
    ],
)
def test_damaged_packages_are_refused_in_one_line(
    quantized: Exported, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    package = tmp_path / "net.mlpackage"
    shutil.copytree(quantized.path, package)
    damage(package)

    with pytest.raises(ModelFileError, match=message) as raised:
        CoreMLModel(package)

    assert "\n" not in str(raised.value)


def test_a_file_is_no_package(tmp_path: Path) -> None:
    path = tmp_path / "net.mlpackage"
    path.write_bytes(b"Core ML")

    with pytest.raises(ModelFileError, match="no Core ML package"):
        CoreMLModel(path)
