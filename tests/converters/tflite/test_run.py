from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from converters import InputError, ModelFileError
from converters._tflite import TFLiteModel, operators, read_integers
from converters._tflite._pack import pack_model
from converters._tflite._schema import read_model
from tests.converters.tflite.conftest import Exported

FEATURES = np.zeros((1, 1, 40, 101), np.float32)


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(64), b"\x1c\0\0\0TFL3" + bytes(range(200))])
def test_garbage_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(content)

    for read in (TFLiteModel, read_integers, operators):
        with pytest.raises(ModelFileError, match=r"net\.tflite is") as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        TFLiteModel(tmp_path / "net.tflite")


def test_a_file_cut_anywhere_is_refused(quantized: Exported, tmp_path: Path) -> None:
    whole, path = quantized.path.read_bytes(), tmp_path / "net.tflite"

    for length in range(0, len(whole), 101):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            TFLiteModel(path)


def test_flipped_bytes_are_read_or_refused_and_nothing_else(quantized: Exported, tmp_path: Path) -> None:
    whole, path, chance = quantized.path.read_bytes(), tmp_path / "net.tflite", random.Random(0)

    refused = 0
    for _ in range(200):
        flipped = bytearray(whole)
        for _ in range(5):
            flipped[chance.randrange(len(whole))] = chance.randrange(256)
        path.write_bytes(flipped)
        try:
            read_model(path)
        except ModelFileError:
            refused += 1
    assert 0 < refused < 200


def test_an_index_that_points_nowhere_is_refused_before_the_runtime_sees_it(
    quantized: Exported, tmp_path: Path
) -> None:
    model, path = read_model(quantized.path), tmp_path / "net.tflite"
    model.subgraphs[0].operators[3].inputs = [999, 1, 2]
    path.write_bytes(pack_model(model))

    with pytest.raises(ModelFileError, match="IndexError"):
        TFLiteModel(path)


@pytest.mark.parametrize(
    ("inputs", "signature", "message"),
    [
        ({"features": FEATURES}, "other", r"'other' is not in .*call one of \['main'\]"),
        ({"image": FEATURES}, "main", r"it reads \['features'\]"),
        ({"features": FEATURES[:, :, :39]}, "main", r"shape \(1, 1, 39, 101\).*reads \(1, 1, 40, 101\)"),
        ({"features": FEATURES.astype(np.complex64)}, "main", "complex64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    inputs: dict[str, np.ndarray], signature: str, message: str, quantized: Exported
) -> None:
    with pytest.raises(InputError, match=message):
        TFLiteModel(quantized.path).run(inputs, signature)


def test_doubles_are_narrowed_and_threads_change_nothing(floats: Exported) -> None:
    inputs = {"features": np.random.default_rng(0).standard_normal(FEATURES.shape)}

    one, two = TFLiteModel(floats.path), TFLiteModel(floats.path, threads=2)

    np.testing.assert_allclose(one.run(inputs)["logits"], two.run(inputs)["logits"], rtol=1e-5, atol=1e-6)
    assert one.run(inputs)["logits"].dtype == np.float32


def test_a_file_without_signatures_is_called_by_tensor_names(floats: Exported, tmp_path: Path) -> None:
    model, path = read_model(floats.path), tmp_path / "net.tflite"
    model.signatureDefs = None
    path.write_bytes(pack_model(model))

    bare, named = TFLiteModel(path), TFLiteModel(floats.path)

    assert bare.signatures == named.signatures
    assert np.array_equal(
        bare.run({"features": FEATURES + 1})["logits"], named.run({"features": FEATURES + 1})["logits"]
    )
    assert read_integers(path) == {"main": []}
