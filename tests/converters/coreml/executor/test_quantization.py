from __future__ import annotations

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed
from hypothesis import given
from hypothesis import strategies as st

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds, shapes

_ops = torch.ops.quantized_decomposed


def test_halves_go_to_the_even_step_and_the_ends_saturate() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 300.0, -300.0], np.float32)

    answer = output("quantize", input=x, scale=np.float32(1), output_dtype="int8")

    assert answer.dtype == np.int8
    assert answer.tolist() == [0, 2, 2, 0, -2, 126, 127, -128]


@quick
@given(shape=shapes, seed=seeds, zero_point=st.integers(-128, 127), exponent=st.integers(-6, 0))
def test_one_grid_as_torch_rounds_it(shape: tuple[int, ...], seed: int, zero_point: int, exponent: int) -> None:
    x, scale = noise(shape, seed), 2.0**exponent
    expected = _ops.quantize_per_tensor.default(torch.from_numpy(x), scale, zero_point, -128, 127, torch.int8)
    grid = {"scale": np.float32(scale), "zero_point": np.int8(zero_point)}

    integers = output("quantize", input=x, output_dtype="int8", **grid)

    assert np.array_equal(integers, expected.numpy())
    assert np.array_equal(integers, inferred("quantize", input=x, output_dtype="int8", **grid))
    real = _ops.dequantize_per_tensor.default(expected, scale, zero_point, -128, 127, torch.int8)
    assert np.array_equal(output("dequantize", input=integers, **grid), real.numpy())


@quick
@given(seed=seeds, axis=st.integers(0, 2))
def test_one_grid_for_each_channel(seed: int, axis: int) -> None:
    x = noise((2, 3, 4), seed)
    channels = x.shape[axis]
    random = np.random.default_rng(seed)
    scale = 2.0 ** random.integers(-6, 0, channels).astype(np.float32)
    zero_point = random.integers(-9, 9, channels)
    grid = {"scale": scale, "zero_point": zero_point.astype(np.int8), "axis": axis}
    torch_grid = (torch.from_numpy(scale), torch.from_numpy(zero_point), axis, -128, 127, torch.int8)
    expected = _ops.quantize_per_channel.default(torch.from_numpy(x), *torch_grid)

    integers = output("quantize", input=x, output_dtype="int8", **grid)

    assert np.array_equal(integers, expected.numpy())
    real = _ops.dequantize_per_channel.default(expected, *torch_grid)
    np.testing.assert_allclose(output("dequantize", input=integers, **grid), real.numpy(), rtol=1e-6)


def test_unsigned_steps_lie_128_higher() -> None:
    x = noise((50,), 1)
    grid = {"scale": np.float32(0.02)}

    signed = output("quantize", input=x, zero_point=np.int8(-100), output_dtype="int8", **grid)
    unsigned = output("quantize", input=x, zero_point=np.uint8(28), output_dtype="uint8", **grid)

    assert np.array_equal(unsigned.astype(int), signed.astype(int) + 128)
    assert np.array_equal(
        output("dequantize", input=unsigned, zero_point=np.uint8(28), **grid),
        output("dequantize", input=signed, zero_point=np.int8(-100), **grid),
    )
