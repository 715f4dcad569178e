from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

from converters._tflite import TFLiteModel
from converters._tflite._export import _name_graph_tensors
from converters._tflite._float_io import make_io_float
from converters._tflite._pack import pack_model
from converters._tflite._schema import parse
from converters._tflite._slim import slim
from tests.converters.tflite._answers import noise
from tests.converters.tflite.conftest import Exported


def model_of(raw: bytes) -> Any:
    model = parse(raw, "test")
    _name_graph_tensors(model)
    make_io_float(model)
    return model


def plain_bytes(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "builtin"])
@pytest.mark.parametrize("kind", ["quantized", "floats"])
def test_slimming_changes_no_bit_of_any_answer(
    kind: str, delegate: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    exported: Exported = request.getfixturevalue(kind)
    plain, slimmed = tmp_path / "plain.tflite", tmp_path / "slim.tflite"
    model = model_of(exported.raw)
    plain.write_bytes(plain_bytes(model))
    slim(model)
    slimmed.write_bytes(pack_model(model))

    before, after = TFLiteModel(plain, delegate=delegate), TFLiteModel(slimmed, delegate=delegate)

    assert before.signatures == after.signatures
    for question in noise(exported.program, 20):
        inputs = {name: value.numpy() for name, value in question.items()}
        assert np.array_equal(before.run(inputs)["logits"], after.run(inputs)["logits"])
    assert slimmed.stat().st_size < 0.8 * plain.stat().st_size


def test_names_that_users_call_by_stay_and_others_go(quantized: Exported) -> None:
    model = parse(quantized.path.read_bytes(), "test")

    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    assert signature.signatureKey == b"main"
    assert [(entry.name, entry.tensorIndex) for entry in signature.inputs] == [(b"features", graph.inputs[0])]
    assert [(entry.name, entry.tensorIndex) for entry in signature.outputs] == [(b"logits", graph.outputs[0])]
    names = {tensor.name for tensor in graph.tensors}
    assert names == {None, b"features", b"logits"}
    assert not model.metadata


def test_a_file_is_at_most_as_large_as_its_numbers_and_300_bytes_a_layer(quantized: Exported) -> None:
    tensors = parse(quantized.path.read_bytes(), "test").subgraphs[0].tensors
    layers = 6

    state = quantized.program.module.state_dict()
    weights = sum(value.numel() for name, value in state.items() if name.endswith(".weight"))
    per_channel = sum(value.numel() for name, value in state.items() if name.endswith(".bias"))
    numbers = weights + 4 * 3 * per_channel  # biases and both kinds of scales have four bytes each
    assert len(tensors) < 40
    assert quantized.path.stat().st_size < numbers + 300 * layers + 1600


@pytest.mark.parametrize("kind", ["quantized", "floats"])
def test_sharing_bytes_loses_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    raw: bytes = request.getfixturevalue(kind).raw

    packed = pack_model(parse(raw, "test"))

    assert len(packed) < len(raw)
    assert as_data(parse(packed, "test")) == as_data(parse(raw, "test"))


def test_equal_vectors_stand_in_a_file_once() -> None:
    from converters._tflite._builder import SharingBuilder

    builder = SharingBuilder(16, data_alignment=4)
    zeros, again = (builder.CreateNumpyVector(np.zeros(8, np.int64)) for _ in range(2))
    assert again == zeros
    written = builder.Offset()
    assert builder.CreateNumpyVector(np.zeros(8, np.int64)) == zeros
    assert builder.Offset() == written
    assert builder.CreateNumpyVector(np.zeros(7, np.int64)) != zeros
    assert builder.CreateNumpyVector(np.array([1, 2], np.int32)) != builder.CreateNumpyVector(
        np.array([1, 3], np.int32)
    )


def as_data(node: Any) -> Any:
    """Flatbuffer objects as plain lists and dictionaries; what is empty and what is absent mean the same."""
    if isinstance(node, np.ndarray):
        return node.tolist() or None
    if isinstance(node, list | tuple):
        return [as_data(item) for item in node] or None
    if hasattr(node, "__dict__"):
        return {name: as_data(value) for name, value in vars(node).items()}
    return node
