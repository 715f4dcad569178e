"""Files from anywhere at the commands' doors: one line, exit code 2, nothing left behind, nothing run."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from converters import Program, convert, save_program
from tests.cli.test_commands import assert_refused, run_here
from tests.converters._hostile import HOSTILE, Bomb, edited


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in every format."""
    folder = tmp_path_factory.mktemp("net")
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    program = Program(network, {"image": torch.randn(1, 1, 8, 8)}, ("logits",))
    save_program(program, folder / "net.pt2")
    for suffix in (".tflite", ".onnx", ".mlpackage"):
        convert(program, folder / f"net{suffix}")
    return folder


def cut(net: Path, folder: Path) -> Path:
    whole = (net / "net.tflite").read_bytes()
    (folder / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    return folder / "cut.tflite"


def empty(net: Path, folder: Path) -> Path:
    (folder / "empty.onnx").touch()
    return folder / "empty.onnx"


def wrong_mark(net: Path, folder: Path) -> Path:
    (folder / "other.tflite").write_bytes((net / "net.onnx").read_bytes())
    return folder / "other.tflite"


def a_pickle(net: Path, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(pickle.dumps(Bomb(folder / "it-ran")))
    return folder / "model.onnx"


def a_file_in_place_of_a_folder(net: Path, folder: Path) -> Path:
    (folder / "file.mlpackage").write_bytes(np.random.default_rng(0).bytes(4096))
    return folder / "file.mlpackage"


def weights_elsewhere(location: str) -> Callable[[Path, Path], Path]:
    def write(net: Path, folder: Path) -> Path:
        (folder / "inside").mkdir()
        (folder / "secret.bin").write_bytes(bytes(4 * 144 * 3))
        (folder / "inside" / "link.bin").symlink_to(folder / "secret.bin")
        model = onnx.load(net / "net.onnx")
        tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location.format(folder=folder))
        (folder / "inside" / "net.onnx").write_bytes(model.SerializeToString())
        return folder / "inside" / "net.onnx"

    return write


@pytest.mark.parametrize(
    ("command", "made", "words"),
    [
        ("verify", cut, "damaged TFLite model"),
        ("verify", empty, "no ONNX model"),
        ("verify", wrong_mark, "'TFL3' is missing"),
        ("verify", a_pickle, "no ONNX model"),
        ("verify", a_file_in_place_of_a_folder, "no Core ML package"),
        ("verify", weights_elsewhere("../secret.bin"), "outside its own folder"),
        ("verify", weights_elsewhere("{folder}/secret.bin"), "outside its own folder"),
        ("verify", weights_elsewhere("link.bin"), "outside its own folder"),
        ("profile", cut, "cannot be loaded"),
        ("profile", empty, "cannot be loaded"),
        ("profile", a_pickle, "cannot be loaded"),
        ("profile", weights_elsewhere("../secret.bin"), ""),
    ],
)
def test_a_file_that_is_no_model(
    command: str,
    made: Callable[[Path, Path], Path],
    words: str,
    net: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = made(net, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    more = ["--reference", net / "net.pt2"] if command == "verify" else []
    assert_refused(run_here(capsys, command, path, *more), path.name, words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["pickled example inputs", "size that is Python", "record above the folder"])
@pytest.mark.parametrize("command", ["convert", "verify"])
def test_a_program_that_would_run_code(
    kind: str, command: str, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    witness = tmp_path / "it-ran"
    hostile = edited(net / "net.pt2", tmp_path / "hostile.pt2", HOSTILE[kind](witness))
    if command == "convert":
        result = run_here(capsys, "convert", hostile, "--to", tmp_path / "to")
    else:
        result = run_here(capsys, "verify", net / "net.onnx", "--reference", hostile)
    assert_refused(result, "hostile.pt2", "could run any code")
    assert list(tmp_path.iterdir()) == [hostile]


def test_a_program_whose_weights_are_no_numbers(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = nn.Sequential(nn.Linear(4, 2))
    broken[0].bias.data[1] = float("nan")
    path = save_program(Program(broken.eval(), {"x": torch.randn(1, 4)}, ("y",)), tmp_path / "broken.pt2")
    assert_refused(run_here(capsys, "convert", path, "--to", tmp_path), "'0.bias' holds NaN")
    assert list(tmp_path.iterdir()) == [path]


def arrays(**values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **values)
    return content.getvalue()


def deflated(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


HEADER = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }".ljust(117) + b"\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no .npz of plain arrays"),
        (b"PK\x03\x04 cut", "no .npz of plain arrays"),
        (arrays(image=np.ones((2, 1, 8, 8)))[:200], "no .npz of plain arrays"),
        (pickle.dumps({"image": 1}), "no .npz of plain arrays"),
        (arrays(image=np.array([Bomb(Path("it-ran"))], dtype=object)), "no .npz of plain arrays"),
        (arrays(image=np.array(["text"])), "no array of numbers"),
        (deflated("image.npy", HEADER % b"99999999999999"), "no .npz of plain arrays"),
        (deflated("image.npy", b"no array"), "no array of numbers"),
        (arrays(image=np.ones((0, 1, 8, 8))), "empty batch"),
        (arrays(image=np.ones((2, 1, 8, 9))), "has the shape (2, 1, 8, 9)"),
        (arrays(picture=np.ones((2, 1, 8, 8))), "which reads ['image']"),
    ],
)
def test_inputs_that_are_none(
    content: bytes, words: str, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inputs.npz").write_bytes(content)
    result = run_here(capsys, "verify", net / "net.onnx", "--inputs", tmp_path / "inputs.npz")
    assert_refused(result, words)
    assert not Path("it-ran").exists()


def test_outputs_of_another_shape(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inputs.npz").write_bytes(arrays(image=np.ones((2, 1, 8, 8))))
    (tmp_path / "due.npz").write_bytes(arrays(logits=np.ones((2, 4))))
    given = ["--inputs", tmp_path / "inputs.npz", "--expected", tmp_path / "due.npz"]
    assert_refused(run_here(capsys, "verify", net / "net.onnx", *given), "is due as float64 (2, 4)")
