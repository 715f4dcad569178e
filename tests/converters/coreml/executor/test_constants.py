from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds


@quick
@given(seed=seeds, axis=st.integers(0, 2), vectors=st.booleans(), signed=st.booleans())
def test_affine_constants_are_scaled_along_their_axis(seed: int, axis: int, vectors: bool, signed: bool) -> None:
    random = np.random.default_rng(seed)
    dtype = np.int8 if signed else np.uint8
    data = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (2, 3, 4)).astype(dtype)
    length = data.shape[axis]
    scale = random.uniform(0.01, 0.1, length).astype(np.float32) if vectors else np.float32(0.05)
    zero_point = random.integers(0, 9, length).astype(dtype) if vectors else dtype(7)
    arguments = {"quantized_data": data, "scale": scale, "zero_point": zero_point, "axis": np.int32(axis)}

    answer = output("constexpr_affine_dequantize", **arguments)

    np.testing.assert_allclose(answer, inferred("constexpr_affine_dequantize", target="iOS16", **arguments), rtol=1e-6)
    first = tuple([0] * 3)
    first_scale, first_zero = (np.ravel(values)[0] for values in (scale, zero_point))
    assert answer[first] == pytest.approx((int(data[first]) - int(first_zero)) * first_scale, rel=1e-6)


@quick
@given(seed=seeds, blocks=st.sampled_from([(4, 1), (1, 1), (2, 3), (4, 6)]), shifted=st.booleans())
def test_blockwise_constants_have_one_scale_for_each_block(seed: int, blocks: tuple[int, int], shifted: bool) -> None:
    random = np.random.default_rng(seed)
    data = random.integers(-128, 128, (4, 6)).astype(np.int8)
    arguments = {"data": data, "scale": random.uniform(0.01, 0.1, blocks).astype(np.float32)}
    if shifted:
        arguments["offset"] = random.integers(-9, 9, blocks).astype(np.int8)

    answer = output("constexpr_blockwise_shift_scale", **arguments)

    expected = inferred("constexpr_blockwise_shift_scale", target="iOS18", **arguments)
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_palettes_of_ios16(bits: int) -> None:
    random = np.random.default_rng(bits)
    palette = random.normal(size=2**bits).astype(np.float32)
    indices = random.integers(0, 2**bits, 30)
    stream = "".join(f"{index:0{bits}b}"[::-1] for index in indices)
    stream += "0" * (-len(stream) % 8)
    packed = np.array([int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8)], np.uint8)
    arguments = {"indices": packed, "lut": palette, "shape": np.array([5, 6], np.uint32)}

    answer = output("constexpr_lut_to_dense", **arguments)

    assert np.array_equal(answer, palette[indices].reshape(5, 6))
    assert np.array_equal(answer, inferred("constexpr_lut_to_dense", target="iOS16", **arguments))


@pytest.mark.parametrize("groups", [(1, 1), (2, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize(("length", "axis"), [(1, 0), (3, 0), (2, 1)])
def test_grouped_palettes_of_ios18(groups: tuple[int, int], length: int, axis: int) -> None:
    random = np.random.default_rng(0)
    indices = random.integers(0, 256, (4, 6)).astype(np.uint8)
    palettes = random.normal(size=(*groups, 256, length)).astype(np.float32)
    arguments = {"indices": indices, "lut": palettes, "vector_axis": np.int32(axis)}

    answer = output("constexpr_lut_to_dense", **arguments)

    assert np.array_equal(answer, inferred("constexpr_lut_to_dense", target="iOS18", **arguments))


def test_packed_sparse_constants_of_ios16() -> None:
    mask = np.array([1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1], np.uint8)
    arguments = {
        "nonzero_data": np.arange(1, 6, dtype=np.float32),
        "mask": np.packbits(mask, bitorder="little"),
        "shape": np.array([3, 4], np.uint32),
    }

    answer = output("constexpr_sparse_to_dense", **arguments)

    assert answer.tolist() == [[1, 0, 0, 2], [3, 0, 0, 0], [0, 4, 0, 5]]
    assert np.array_equal(answer, inferred("constexpr_sparse_to_dense", target="iOS16", **arguments))


def test_sparse_constants_of_ios18() -> None:
    mask = np.array([[1, 0, 1], [0, 0, 1]], np.uint8)

    answer = output("constexpr_sparse_to_dense", nonzero_data=np.array([3, 4, 5], np.float32), mask=mask)

    assert answer.tolist() == [[3, 0, 4], [0, 0, 5]]


def test_half_width_constants() -> None:
    values = noise((3, 4), 0).astype(np.float16)

    answer = output("constexpr_cast", source_val=values, output_dtype="fp32")

    assert answer.dtype == np.float32
    assert np.array_equal(answer, inferred("constexpr_cast", source_val=values, output_dtype="fp32"))
