"""Weights in few bits, in every format: the module's own codes, in as few bytes, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import (
    FORMATS,
    ConversionError,
    Format,
    ParityError,
    Program,
    convert,
    load_program,
    save_program,
    size_bytes,
    suffix_of,
    verify,
)
from converters._codes import codes_like, fold_codes
from converters._program import export_program
from mobiledistill.quantize import Int8, LayerScheme, Mixed, Palette, WeightOnly, post_training


class Net(nn.Module):
    """A picture's way through convolutions of every layout, and a linear layer with rows of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, groups=64)
        self.pointwise, self.up = nn.Conv2d(64, 64, 1), nn.ConvTranspose2d(64, 16, 4, 2, 1)
        self.mix, self.head = nn.Conv2d(16, 64, 3), nn.Linear(64, 20)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.pointwise(F.relu(self.depthwise(F.relu(self.stem(image))))))
        return self.head(F.relu(self.mix(F.relu(self.up(x)))).mean((2, 3)))


class Words(nn.Module):
    """A table whose rows a tied linear layer reads again."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.inner, self.norm = nn.Embedding(512, 64), nn.Linear(64, 64), nn.LayerNorm(64)

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.norm(F.relu(self.inner(self.rows(ids)))), self.rows.weight)


STORED: list[tuple[LayerScheme, Format, float]] = [
    *((WeightOnly(8), format, 1.0) for format in FORMATS),
    *((WeightOnly(4), format, 0.5) for format in FORMATS),
    *((WeightOnly(4, block=16), format, 0.5 + 0.25) for format in ("coreml", "onnx")),
    *((WeightOnly(2), format, 0.25) for format in FORMATS),
    *((WeightOnly(1), format, 0.25) for format in ("tflite", "onnx")),
    (WeightOnly(1), "coreml", 0.125),
    (WeightOnly(2, block=16), "onnx", 0.25 + 0.25),
    *((Palette(bits), "coreml", bits / 8) for bits in (2, 4, 6, 8)),
    *((Palette(bits), "onnx", bits / 8) for bits in (2, 4, 8)),
]
LEAST_OF_A_CONTAINER = {"tflite": 5_800, "coreml": 7_500, "onnx": 3_600}
"""Bytes of graph, scales and small tables that come on top; a palette of 8 bits adds 1 kB a layer."""


@pytest.fixture(scope="module")
def program() -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Program(Net().eval(), {"image": torch.randn(1, 3, 24, 24)}, ("logits",))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.randn(8, 3, 24, 24).numpy()


@pytest.mark.parametrize(("scheme", "format", "bytes_per_weight"), STORED, ids=str)
def test_a_file_is_as_small_as_its_codes_and_answers_as_its_module(
    program: Program, images: np.ndarray, tmp_path: Path, scheme: LayerScheme, format: Format, bytes_per_weight: float
) -> None:
    (stored,) = post_training(program, scheme=scheme)
    path = convert(stored, tmp_path / f"a{suffix_of(format)}")
    assert verify(path, stored, {"image": images}).sqnr_db > 100  # the same floats, but for the order of sums
    weights = sum(parameter.numel() for parameter in program.module.parameters())
    tables = 6 * 1024 if scheme == Palette(8) else 0
    if format == "coreml" and isinstance(scheme, WeightOnly) and scheme.bits < 4:  # a table for each channel
        tables = sum(4 * 2**scheme.bits * p.shape[0] for p in program.module.parameters() if p.ndim > 1)
    assert size_bytes(path) < bytes_per_weight * weights + LEAST_OF_A_CONTAINER[format] + tables


@pytest.mark.parametrize("format", FORMATS)
def test_a_tied_table_is_stored_once(tmp_path: Path, format: Format) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = Program(Words().eval(), {"ids": torch.randint(0, 512, (1, 9))}, ("logits",))
    (stored,) = post_training(words, scheme=WeightOnly(8))
    path = convert(stored, tmp_path / f"a{suffix_of(format)}")
    ids = np.random.default_rng(0).integers(0, 512, (8, 9))
    assert verify(path, stored, {"ids": ids}).sqnr_db > 100
    assert size_bytes(path) < 1.5 * 512 * 64


def test_codes_survive_on_disk(program: Program, tmp_path: Path) -> None:
    (stored,) = post_training(program, scheme=WeightOnly(4))
    loaded = load_program(save_program(stored, tmp_path / "net.pt2"))
    before, after = (convert(one, tmp_path / f"{i}.onnx") for i, one in enumerate((stored, loaded)))
    assert size_bytes(after) == size_bytes(before)


@pytest.mark.parametrize("format", FORMATS)
def test_the_rest_can_be_halved_as_well(program: Program, images: np.ndarray, tmp_path: Path, format: Format) -> None:
    (stored,) = post_training(program, scheme=Mixed(WeightOnly(4), {"mix": None}))
    whole = size_bytes(convert(stored, tmp_path / f"whole{suffix_of(format)}"))
    path = convert(stored, tmp_path / f"half{suffix_of(format)}", precision="float16")
    assert verify(path, stored, {"image": images}, "float16").sqnr_db > 50
    assert size_bytes(path) < whole - 0.9 * 2 * 16 * 64 * 9


@pytest.mark.parametrize("format", FORMATS)
def test_layers_of_integers_and_layers_of_codes_share_a_file(
    program: Program, images: np.ndarray, tmp_path: Path, format: Format
) -> None:
    mixed = Mixed(Int8(), {"pointwise": WeightOnly(8), "up": WeightOnly(4), "head": None})
    (stored,) = post_training(program, {"image": torch.from_numpy(images)}, mixed)
    path = convert(stored, tmp_path / f"a{suffix_of(format)}")
    parity = verify(path, stored, {"image": images})
    assert parity.integers_equal
    assert parity.sqnr_db > 40


def test_onnx_holds_the_modules_own_integers(program: Program, tmp_path: Path) -> None:
    (stored,) = post_training(program, scheme=WeightOnly(4))
    model = onnx.load(convert(stored, tmp_path / "a.onnx"))
    halves = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT4]
    (mine,) = [codes for codes in fold_codes(export_program(stored)) if codes.name == "pointwise"]
    integers = [onnx.numpy_helper.to_array(tensor).astype(np.int8) for tensor in halves]
    assert any(
        one.size == mine.integers.size and np.array_equal(one.ravel(), mine.integers.ravel()) for one in integers
    )


def test_a_file_with_another_code_is_refused(program: Program, images: np.ndarray, tmp_path: Path) -> None:
    (stored,) = post_training(program, scheme=WeightOnly(8))
    path = convert(stored, tmp_path / "a.onnx")
    model = onnx.load(path)
    whole = max(
        (t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8), key=lambda t: len(t.raw_data)
    )
    content = bytearray(whole.raw_data)
    content[100:140] = bytes((byte + 64) % 256 for byte in content[100:140])
    whole.raw_data = bytes(content)
    onnx.save(model, path)
    with pytest.raises(ParityError):
        verify(path, stored, {"image": images})


@pytest.mark.parametrize(
    ("scheme", "format", "told"),
    [
        (Palette(4), "tflite", "is a palette: a TFLite runtime would look every weight up on every call"),
        (WeightOnly(4, block=16), "tflite", "has a scale for every 16 weights"),
        (Palette(6), "onnx", "is a palette of 6 bits: ONNX stores 2, 4 or 8"),
    ],
)
def test_what_a_format_lacks_is_refused_by_the_layers_name(
    program: Program, tmp_path: Path, scheme: LayerScheme, format: Format, told: str
) -> None:
    (stored,) = post_training(program, scheme=scheme)
    with pytest.raises(ConversionError, match=told):
        convert(stored, tmp_path / f"a{suffix_of(format)}")
    assert list(tmp_path.iterdir()) == []


class Rows(nn.Module):
    """Integers that a table looks up as they are, and a tied linear layer with their scales."""

    codes: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randint(-127, 128, (64, 16)).to(torch.int8))
        self.register_buffer("scale", torch.rand(64, 1) / 100 + 0.001)

    def forward(self, ids: Tensor) -> Tensor:
        x = F.embedding(ids, self.codes.to(torch.float32)) * self.scale[ids]
        return F.linear(torch.tanh(x), self.codes.to(torch.float32) * self.scale)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_integers_that_something_else_reads_stay_integers(tmp_path: Path, format: Format) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = Program(Rows().eval(), {"ids": torch.randint(0, 64, (1, 5))}, ("logits",))
    path = convert(rows, tmp_path / f"a{suffix_of(format)}")
    assert verify(path, rows, {"ids": np.random.default_rng(0).integers(0, 64, (8, 5))}).sqnr_db > 100


def test_scales_of_another_shape_are_no_codes() -> None:
    class Odd(nn.Module):
        codes: Tensor
        scale: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("codes", torch.ones(4, 6, dtype=torch.int8))
            self.register_buffer("scale", torch.rand(4, 2, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, (self.codes.reshape(4, 2, 3).to(torch.float32) * self.scale).reshape(4, 6))

    assert fold_codes(export_program(Program(Odd().eval(), {"x": torch.randn(1, 6)}, ("y",)))) == []


def test_codes_are_found_in_any_order_of_axes(program: Program) -> None:
    (stored,) = post_training(program, scheme=WeightOnly(8))
    codes = fold_codes(export_program(stored))
    (mine,) = [one for one in codes if one.name == "mix"]
    moved = codes_like(np.ascontiguousarray(mine.values.transpose(0, 2, 3, 1)), codes)
    assert moved is not None
    assert moved.axis == 0
    assert np.array_equal(moved.integers, mine.integers.transpose(0, 2, 3, 1))
    assert codes_like(mine.values + np.float32(1e-6), codes) is None
