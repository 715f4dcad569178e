from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from converters._errors import ModelFileError
from tests.converters.coreml.executor._oracle import noise, output, quick, seeds

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@quick
@given(
    seed=seeds,
    axes=st.integers(1, 3),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 2),
    biased=st.booleans(),
)
def test_convolutions_are_those_of_torch(
    seed: int, axes: int, groups: int, kernel: int, stride: int, dilation: int, pad: int, biased: bool
) -> None:
    x = noise((2, 2 * groups, *(range(7, 7 + axes))), seed)
    weight = noise((4 * groups, 2, *[kernel] * axes), seed + 1)
    bias = noise((4 * groups,), seed + 2)
    geometry = {"strides": [stride] * axes, "dilations": [dilation] * axes, "groups": groups}
    tensors = (torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias) if biased else None)
    expected = CONVOLUTIONS[axes](*tensors, stride, pad, dilation, groups)
    arguments = {"x": x, "weight": weight, "pad_type": "custom", "pad": [pad, pad] * axes, **geometry}

    answer = output("conv", **arguments, **({"bias": bias} if biased else {}))

    np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "rows"), [("same", (1, 2)), ("same_lower", (2, 1))])
def test_an_odd_row_of_same_padding_goes_to_one_end(kind: str, rows: tuple[int, int]) -> None:
    x, weight = noise((1, 2, 9, 9), 0), noise((3, 2, 4, 4), 1)  # 9 rows need 3 more to give 9 again
    padded = F.pad(torch.from_numpy(x), (*rows, *rows))

    answer = output("conv", x=x, weight=weight, pad_type=kind, strides=[1, 1], dilations=[1, 1], groups=1)

    expected = F.conv2d(padded, torch.from_numpy(weight)).numpy()
    assert answer.shape == (1, 3, 9, 9)
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


@quick
@given(seed=seeds, size=st.integers(5, 12), kernel=st.integers(1, 4), stride=st.integers(1, 3))
def test_same_padding_leaves_one_output_for_each_stride(seed: int, size: int, kernel: int, stride: int) -> None:
    x, weight = noise((1, 1, size), seed), noise((1, 1, kernel), seed)

    answer = output("conv", x=x, weight=weight, pad_type="same", strides=[stride])

    assert answer.shape == (1, 1, -(-size // stride))


def test_before_and_after_may_differ() -> None:
    x, weight = noise((1, 2, 6, 5), 3), noise((2, 2, 3, 3), 4)
    expected = F.conv2d(F.pad(torch.from_numpy(x), (2, 0, 0, 1)), torch.from_numpy(weight)).numpy()

    answer = output("conv", x=x, weight=weight, pad_type="custom", pad=[0, 1, 2, 0])

    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_a_padding_nobody_knows_is_named() -> None:
    with pytest.raises(ModelFileError, match=r"'circular' of conv is not one of valid, custom, same, same_lower"):
        output("conv", x=noise((1, 1, 5), 0), weight=noise((1, 1, 2), 0), pad_type="circular")


TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@quick
@given(
    seed=seeds,
    axes=st.integers(1, 3),
    groups=st.integers(1, 3),
    kernel=st.integers(2, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 1),
    more=st.integers(0, 1),
    biased=st.booleans(),
)
def test_transposed_convolutions_are_those_of_torch(
    seed: int, axes: int, groups: int, kernel: int, stride: int, dilation: int, pad: int, more: int, biased: bool
) -> None:
    more = min(more, max(stride, dilation) - 1)
    x, weight = noise((2, 2 * groups, *(range(4, 4 + axes))), seed), noise((2 * groups, 3, *[kernel] * axes), seed + 1)
    bias = noise((3 * groups,), seed + 2)
    tensors = (torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias) if biased else None)
    expected = TRANSPOSED[axes](*tensors, stride, pad, more, groups, dilation).numpy()
    geometry = {"strides": [stride] * axes, "dilations": [dilation] * axes, "groups": groups}
    shape = {"output_shape": list(expected.shape)} if more else {}

    answer = output(
        "conv_transpose", x=x, weight=weight, pad_type="custom", pad=[pad, pad] * axes, **geometry, **shape,
        **({"bias": bias} if biased else {}),
    )  # fmt: skip

    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_with_same_padding_is_refused() -> None:
    with pytest.raises(ModelFileError, match="Padding 'same' of conv_transpose"):
        output("conv_transpose", x=noise((1, 1, 4), 0), weight=noise((1, 1, 2), 1), pad_type="same")
