from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from converters import ONNX
from converters._onnx._export import _translate
from converters._onnx._fuse import fuse
from converters._onnx._slim import slim
from converters._program import Program
from converters._quiet import quiet
from tests.converters._networks import example_input, float_net, quantized_net


@pytest.fixture(scope="module", params=[float_net, quantized_net], ids=["float", "int8"])
def written(request: pytest.FixtureRequest) -> bytes:
    program = Program(request.param(), {"features": example_input()}, ("logits",))
    with quiet():
        content: bytes = _translate(program, ONNX())[0].SerializeToString()
    return content


def run(model: Any, *, optimized: bool) -> list[np.ndarray]:
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = torch.randn(16, 1, 1, 40, 101, generator=torch.Generator().manual_seed(1)).numpy()
    return [session.run(["logits"], {"features": x})[0] for x in inputs]


@pytest.mark.parametrize("fused", [True, False])
def test_slimming_changes_bytes_and_not_one_bit_of_the_answers(written: bytes, fused: bool) -> None:
    before, after = onnx.ModelProto.FromString(written), onnx.ModelProto.FromString(written)
    for model in (before, after):
        if fused:
            fuse(model)
    slim(after)
    onnx.checker.check_model(after, full_check=True)
    for optimized in (False, True):
        np.testing.assert_array_equal(run(after, optimized=optimized), run(before, optimized=optimized))
    assert after.ByteSize() < before.ByteSize()


def test_what_is_left_is_mostly_weights(written: bytes) -> None:
    model = onnx.ModelProto.FromString(written)
    fuse(model)
    slim(model)
    weights = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
    assert model.ByteSize() - weights < 60 * (len(model.graph.node) + len(model.graph.initializer))
    assert not model.graph.value_info
    assert not any(part.metadata_props for part in (model, *model.graph.node))
    assert [end.name for end in (*model.graph.input, *model.graph.output)] == ["features", "logits"]


def test_equal_constants_are_stored_once_but_for_zero_points_of_weights(written: bytes) -> None:
    model = onnx.ModelProto.FromString(written)
    fuse(model)
    slim(model)
    zero_points = {node.input[2] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    contents = [
        (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        for tensor in model.graph.initializer
        if tensor.name not in zero_points
    ]
    assert len(set(contents)) == len(contents)
    readers = [node.input[2] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    vectors = [tensor.name for tensor in model.graph.initializer if tensor.name in zero_points and tensor.dims]
    assert all(readers.count(name) == 1 for name in vectors)


def test_the_precise_mode_of_old_processors_takes_the_file(written: bytes) -> None:
    model = onnx.ModelProto.FromString(written)
    fuse(model)
    slim(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    features = {"features": example_input().numpy()}
    plain = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, features)[0], plain.run(None, features)[0], atol=0.01)


def inner_graph() -> Any:
    """A branch that reads a value and a constant of the graph around it, under names that slimming would use."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    then = helper.make_graph(
        [helper.make_node("Add", ["long_name", "twin"], ["b"])],
        "then",
        [],
        [helper.make_tensor_value_info("b", kind, [2])],
    )
    other = helper.make_graph(
        [helper.make_node("Mul", ["long_name", "twin"], ["b"])],
        "else",
        [],
        [helper.make_tensor_value_info("b", kind, [2])],
    )
    nodes = [
        helper.make_node("Neg", ["a"], ["long_name"], name="stack trace"),
        helper.make_node("ReduceSum", ["long_name", "axes"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["flag"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["c"], then_branch=then, else_branch=other),
        helper.make_node("Sub", ["c", "first"], ["result"]),
    ]
    constants = {name: np.array([3, 4], np.float32) for name in ("first", "twin")}
    graph = helper.make_graph(
        nodes,
        "outer",
        [helper.make_tensor_value_info("a", kind, [2])],
        [helper.make_tensor_value_info("result", kind, [2])],
        [
            *(onnx.numpy_helper.from_array(value, name) for name, value in constants.items()),
            onnx.numpy_helper.from_array(np.array([0]), "axes"),
            onnx.numpy_helper.from_array(np.array([9, 9], np.float32), "unused"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_branches_keep_reading_the_right_values() -> None:
    before, after = inner_graph(), inner_graph()
    slim(after)
    onnx.checker.check_model(after, full_check=True)
    assert len(after.graph.initializer) == 2
    for value in ([1, 2], [0, 0]):
        feed = {"a": np.array(value, np.float32)}
        given, expected = (
            onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)
            for model in (after, before)
        )
        np.testing.assert_array_equal(given[0], expected[0])
