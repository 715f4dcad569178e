from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from converters._errors import ModelFileError
from tests.converters.coreml.executor._oracle import noise, output, quick, seeds


@quick
@given(
    seed=seeds,
    axes=st.integers(1, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    excluded=st.booleans(),
    ceil_mode=st.booleans(),
)
def test_poolings_are_those_of_torch(
    seed: int, axes: int, kernel: int, stride: int, pad: int, excluded: bool, ceil_mode: bool
) -> None:
    pad = min(pad, kernel // 2)
    x = noise((2, 3, 6, 7, 5)[: 2 + axes], seed)
    geometry = {
        "kernel_sizes": [kernel] * axes,
        "strides": [stride] * axes,
        "pad_type": "custom",
        "pad": [pad, pad] * axes,
        "ceil_mode": ceil_mode,
    }
    average = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[axes]
    maximum = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[axes]
    averaged = average(torch.from_numpy(x), kernel, stride, pad, ceil_mode, not excluded).numpy()

    np.testing.assert_allclose(
        output("avg_pool", x=x, exclude_padding_from_average=excluded, **geometry), averaged, rtol=1e-5, atol=1e-6
    )
    assert np.array_equal(
        output("max_pool", x=x, **geometry),
        maximum(torch.from_numpy(x), kernel, stride, pad, ceil_mode=ceil_mode).numpy(),
    )


def test_a_window_that_would_start_behind_the_input_is_left_out() -> None:
    x = noise((1, 1, 2), 0)
    geometry = {"kernel_sizes": [2], "strides": [3], "pad_type": "custom", "pad": [1, 1], "ceil_mode": True}

    answer = output("max_pool", x=x, **geometry)

    assert np.array_equal(answer, F.max_pool1d(torch.from_numpy(x), 2, 3, 1, ceil_mode=True).numpy())
    assert answer.shape == (1, 1, 1)


def test_same_padding_of_a_pooling() -> None:
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5)

    answer = output("max_pool", x=x, kernel_sizes=[2], strides=[2], pad_type="same")

    assert answer.ravel().tolist() == [1, 3, 4]


def test_too_many_axes_are_refused() -> None:
    with pytest.raises(ModelFileError, match="max_pool pools 4 axes of 6"):
        output("max_pool", x=noise((1,) * 6, 0), kernel_sizes=[1] * 4, strides=[1] * 4, pad_type="valid")
