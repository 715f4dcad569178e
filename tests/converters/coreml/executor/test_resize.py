from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from converters._errors import ModelFileError
from tests.converters.coreml.executor._oracle import noise, output

X = noise((2, 3, 4, 5), 0)


def interpolated(**arguments: Any) -> np.ndarray:
    return F.interpolate(torch.from_numpy(X), **arguments).numpy()


@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (1, 2)])
def test_nearest_upsampling_repeats(factors: tuple[int, int]) -> None:
    arguments = {"x": X, "scale_factor_height": np.float32(factors[0]), "scale_factor_width": np.float32(factors[1])}

    answer = output("upsample_nearest_neighbor", **arguments)

    assert np.array_equal(answer, X.repeat(factors[0], 2).repeat(factors[1], 3))
    assert np.array_equal(answer, interpolated(scale_factor=tuple(map(float, factors)), mode="nearest"))


@pytest.mark.parametrize("size", [(8, 10), (7, 3), (2, 5)])
def test_nearest_to_a_size(size: tuple[int, int]) -> None:
    answer = output("resize_nearest_neighbor", x=X, target_size_height=size[0], target_size_width=size[1])

    assert np.array_equal(answer, interpolated(size=size, mode="nearest"))


@pytest.mark.parametrize("corners", [True, False])
def test_bilinear_upsampling(corners: bool) -> None:
    factors = {"scale_factor_height": np.float32(2), "scale_factor_width": np.float32(3)}

    answer = output("upsample_bilinear", x=X, **factors, align_corners=corners)

    expected = interpolated(scale_factor=(2.0, 3.0), mode="bilinear", align_corners=corners)
    np.testing.assert_allclose(answer, expected, atol=1e-5)


@pytest.mark.parametrize(("mode", "corners"), [("STRICT_ALIGN_CORNERS", True), ("UNALIGN_CORNERS", False)])
def test_bilinear_to_a_size(mode: str, corners: bool) -> None:
    answer = output("resize_bilinear", x=X, target_size_height=7, target_size_width=3, sampling_mode=mode)

    expected = interpolated(size=(7, 3), mode="bilinear", align_corners=corners)
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_an_unknown_sampling_mode_is_refused() -> None:
    with pytest.raises(ModelFileError, match="'OFFSET_START' of resize_bilinear"):
        output("resize_bilinear", x=X, target_size_height=7, target_size_width=3, sampling_mode="OFFSET_START")
