from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from converters._errors import InputError, ModelFileError
from converters._onnx import ONNXModel, export_onnx, operators, read_integers
from converters._program import Program
from mobiledistill.quantize import post_training


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = Program(nn.Sequential(nn.Linear(40, 30), nn.ReLU()), {"x": torch.randn(1, 40)}, ("y",))
    return export_onnx([program], tmp_path_factory.mktemp("linear") / "net.onnx")


@pytest.mark.parametrize("opened", [ONNXModel, read_integers, operators])
def test_a_damaged_file_is_one_clear_line(opened: type[ONNXModel], path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    contents = [
        np.random.default_rng(3).bytes(5000),
        b"",
        b"PK\x03\x04 a zip",
        whole[: len(whole) // 2],
        whole[:40],
        whole.replace(b"Gemm", b"Gums"),
    ]
    for content in contents:
        damaged = tmp_path / "damaged.onnx"
        damaged.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"damaged\.onnx .*\bexport it again\.$") as caught:
            opened(damaged)
        assert "\n" not in str(caught.value)


def test_a_file_that_no_runtime_takes_is_one_clear_line(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2).dims[0] -= 1
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"bad\.onnx") as caught:
        ONNXModel(bad)
    assert "\n" not in str(caught.value)


def test_an_integer_layer_of_an_unknown_type_is_one_clear_line(tmp_path: Path) -> None:
    images = torch.randn(8, 4)
    program = Program(nn.Sequential(nn.Linear(4, 3)).eval(), {"x": images[:1]}, ("y",))
    (quantized,) = post_training(program, {"x": images})
    model = onnx.load(export_onnx([quantized], tmp_path / "net.onnx"))
    next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2).data_type = 33
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"net\.onnx holds a quantized layer that makes no sense \(33\)"):
        read_integers(tmp_path / "net.onnx")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx does not exist"):
        ONNXModel(tmp_path / "gone.onnx")
    with pytest.raises(ModelFileError, match=r"a folder without an \.onnx"):
        ONNXModel(tmp_path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link/secret.bin", "a/../../secret.bin", ""])
def test_weights_outside_the_folder_are_refused(location: str, path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(4800))
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    outside(tensor, location)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    for opened in (ONNXModel, read_integers):
        with pytest.raises(ModelFileError, match="outside its own folder, which is unsafe"):
            opened(folder / "net.onnx")


def test_weights_beside_the_file_are_read(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    outside(tensor, "weights.bin")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    feed = {"x": np.ones((1, 40), np.float32)}
    np.testing.assert_array_equal(ONNXModel(tmp_path / "net.onnx").run(feed)["y"], ONNXModel(path).run(feed)["y"])
    assert operators(tmp_path / "net.onnx") == ["Gemm", "Relu"]
    assert read_integers(tmp_path / "net.onnx") == {"main": []}


def outside(tensor: onnx.TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


@pytest.mark.parametrize(
    ("inputs", "signature", "message"),
    [
        ({"x": np.ones((1, 40))}, "other", r"^Signature 'other' is not in .*: call one of \['main'\]\.$"),
        ({"z": np.ones((1, 40))}, "main", r"^Inputs \['z'\] were given to .*: it reads \['x'\]\.$"),
        ({"x": np.ones((2, 40))}, "main", r"shape \(2, 40\), but the file reads \(1, 40\): give that shape"),
        ({"x": np.ones((40,))}, "main", r"shape \(40,\), but the file reads \(1, 40\)"),
        ({"x": np.ones((1, 40), complex)}, "main", "holds complex128, but the file reads float32: convert it first"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, np.ndarray], signature: str, message: str, path: Path) -> None:
    with pytest.raises(InputError, match=message):
        ONNXModel(path).run(inputs, signature)


def test_threads_and_wider_floats_change_nothing(path: Path) -> None:
    feed = {"x": np.random.default_rng(0).normal(size=(1, 40))}
    one, two = (ONNXModel(path, threads=threads).run(feed)["y"] for threads in (1, 2))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, two)
