"""Tensors are found where the formats' own libraries see them, and floats that follow from others are seen."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from converters import read_integers
from mobiledistill.archive._layout import segments_of
from mobiledistill.archive._relations import products, with_relations


def files_of(path: Path) -> list[tuple[str, bytes]]:
    if path.is_file():
        return [("", path.read_bytes())]
    parts = sorted(part for part in path.rglob("*") if part.is_file())
    return [(part.relative_to(path).as_posix(), part.read_bytes()) for part in parts]


def test_initializers_are_found_with_their_rows(students: dict[str, Path]) -> None:
    content = students["onnx"].read_bytes()
    found = {content[one.begin : one.end]: one for one in segments_of([("", content)])}
    tensors = [tensor for tensor in onnx.load(students["onnx"]).graph.initializer if tensor.raw_data]
    assert len(tensors) > 10
    for tensor in tensors:
        one = found[tensor.raw_data]
        assert one.bits == 8 * numpy_helper.to_array(tensor).itemsize
        if len(tensor.dims) == 4 and one.bits == 8:
            assert (one.row, one.down, one.across) == (np.prod(tensor.dims[1:]), *tensor.dims[2:])


@pytest.mark.parametrize("suffix", ["tflite", "mlpackage"])
def test_every_layers_integers_are_found(students: dict[str, Path], suffix: str) -> None:
    path = students[suffix]
    files = files_of(path)
    content = b"".join(part for _, part in files)
    segments = segments_of(files)
    sizes = {one.end - one.begin for one in segments if one.bits == 8 and one.signed}
    layers = read_integers(path)["main"]
    assert {layer.weight.size for layer in layers} <= sizes
    assert all(one.begin < one.end <= len(content) for one in segments)
    assert all(one.end <= other.begin for one, other in itertools.pairwise(segments))


def test_a_palettes_indices_have_the_shape_of_the_weights(students: dict[str, Path]) -> None:
    found = [one for one in segments_of(files_of(students["palette"])) if one.bits == 6]
    convolutions = [(one.end - one.begin, one.row, one.across, one.down) for one in found if one.across > 1]
    assert (16 * 16 * 9 * 6 // 8, 16 * 9, 3, 3) in convolutions


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["", "a.onnx", "a.mlmodel", "weights/weight.bin"]))
def test_no_bytes_break_the_readers(content: bytes, name: str) -> None:
    for start in (b"", b"\x1c\0\0\0TFL3", b"\1\0\0\0\2\0\0\0" + bytes(56) + b"\xef\xbe\xad\xde"):
        whole = start + content
        assert all(one.end <= len(whole) for one in segments_of([(name, whole)]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_models_break_no_reader(students: dict[str, Path], data: st.DataObject) -> None:
    content = bytearray(students[data.draw(st.sampled_from(["tflite", "onnx"]))].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 4))
        content[place : place + 4] = data.draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x80"]))
    found = with_relations(bytes(content), segments_of([("", bytes(content))]))
    assert all(0 <= one.begin <= one.end <= len(content) for one in found)


def test_the_scales_of_biases_follow_from_others(students: dict[str, Path]) -> None:
    content = students["tflite"].read_bytes()
    derived = [one for one in with_relations(content, segments_of([("", content)])) if one.scalar >= 0]
    layers = [layer for layer in read_integers(students["tflite"])["main"] if layer.bias is not None]
    assert len(derived) == len([layer for layer in layers if len(layer.weight_scale) >= 4])
    for one in derived:
        count = (one.end - one.begin) // 4
        scales = np.frombuffer(content, "<f4", 1, one.scalar) * np.frombuffer(content, "<f4", count, one.array)
        assert not one.multiple
        assert scales.tobytes() == content[one.begin : one.end]


def test_float_biases_are_multiples_of_scales(students: dict[str, Path]) -> None:
    content = students["onnx"].read_bytes()
    derived = [one for one in with_relations(content, segments_of([("", content)])) if one.scalar >= 0]
    assert len(derived) >= 4
    assert all(one.multiple for one in derived)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(2**-50, 2**50, width=32), min_size=1, max_size=20),
    st.floats(-(2**50), 2**50, width=32).filter(lambda value: abs(value) > 2**-50),
)
def test_products_are_those_of_ieee_754(values: list[float], factor: float) -> None:
    array, scalar = np.array(values, "<f4"), np.float32(factor)
    made = products(np.ones(len(array), np.int64), scalar.tobytes(), array.tobytes())
    assert made == (scalar * array).tobytes()


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**31) + 1, 2**31 - 1), st.floats(2**-10, 1000, width=32), st.floats(2**-10, 1000, width=32))
def test_multiples_are_rounded_once(number: int, factor: float, value: float) -> None:
    from fractions import Fraction

    made = np.frombuffer(
        products(np.array([number]), np.float32(factor).tobytes(), np.array([value], "<f4").tobytes()), "<f4"
    )[0]
    exact = number * Fraction(factor) * Fraction(value)
    near = [np.nextafter(made, np.float32(end)) for end in (-np.inf, np.inf)]
    assert all(abs(Fraction(float(made)) - exact) <= abs(Fraction(float(other)) - exact) for other in near)


def test_what_is_not_of_normal_size_is_nothing() -> None:
    array = np.array([1.0, 0.0, 1e-40, np.inf, np.nan, 1e30], "<f4")
    made = np.frombuffer(products(np.ones(6, np.int64), np.float32(1e30).tobytes(), array.tobytes()), "<f4")
    assert made.tolist() == [np.float32(1e30), 0, 0, 0, 0, 0]
