from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import InputError, ModelFileError
from converters._tflite import TFLiteModel, operators, read_integers
from converters._tflite._pack import pack_model
from converters._tflite._schema import operator_name, read_model
from converters._tflite._slim import slim
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


def _change(model: Any, what: str) -> None:
    graph = model.subgraphs[0]
    convolution = next(operator for operator in graph.operators if operator_name(model, operator) == "CONV_2D")
    weight, given = (graph.tensors[convolution.inputs[position]] for position in (1, 0))
    match what:
        case "a shape that its bytes do not fill":
            weight.shape = [2**27, 64]
        case "no inputs":
            convolution.inputs = []
        case "weights without scales":
            weight.quantization.scale = None
        case "scales without zero points":
            given.quantization.zeroPoint = []


@pytest.mark.parametrize(
    "what",
    ["a shape that its bytes do not fill", "no inputs", "weights without scales", "scales without zero points"],
)
def test_layers_that_make_no_sense_are_one_line(what: str, quantized: Exported, tmp_path: Path) -> None:
    model, path = read_model(quantized.path), tmp_path / "net.tflite"
    _change(model, what)
    path.write_bytes(pack_model(model))

    with pytest.raises(ModelFileError, match=r"net\.tflite holds a quantized layer that makes no sense .*again\.$"):
        read_integers(path)


def test_an_operator_newer_than_the_schema_is_told_by_its_number(quantized: Exported, tmp_path: Path) -> None:
    model, path = read_model(quantized.path), tmp_path / "net.tflite"
    model.operatorCodes[model.subgraphs[0].operators[-1].opcodeIndex].builtinCode = 65_545
    path.write_bytes(pack_model(model))

    assert "BUILTIN_65545" in operators(path)
    assert read_integers(path)["main"]


def test_lists_that_were_left_out_are_empty_ones(quantized: Exported, tmp_path: Path) -> None:
    model, path = read_model(quantized.path), tmp_path / "net.tflite"
    model.subgraphs[0].operators[-1].outputs = None
    path.write_bytes(pack_model(model))

    read = read_model(path)
    assert list(read.subgraphs[0].operators[-1].outputs) == []
    slim(read)


def test_a_signature_that_names_an_inner_tensor_is_refused(quantized: Exported, tmp_path: Path) -> None:
    model, path = read_model(quantized.path), tmp_path / "net.tflite"
    graph = model.subgraphs[0]
    inner = next(index for index in range(len(graph.tensors)) if index not in [*graph.inputs, *graph.outputs])
    model.signatureDefs[0].outputs[0].tensorIndex = inner
    path.write_bytes(pack_model(model))

    with pytest.raises(ModelFileError, match="IndexError"):
        read_model(path)
