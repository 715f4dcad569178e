from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds

REDUCTIONS = {
    "reduce_l1_norm": lambda x, axes: np.abs(x).sum(axes, keepdims=True),
    "reduce_l2_norm": lambda x, axes: np.sqrt((x**2).sum(axes, keepdims=True)),
    "reduce_log_sum": lambda x, axes: np.log(x.sum(axes, keepdims=True)),
    "reduce_log_sum_exp": lambda x, axes: np.log(np.exp(x).sum(axes, keepdims=True)),
    "reduce_max": lambda x, axes: x.max(axes, keepdims=True),
    "reduce_mean": lambda x, axes: x.mean(axes, keepdims=True),
    "reduce_min": lambda x, axes: x.min(axes, keepdims=True),
    "reduce_prod": lambda x, axes: x.prod(axes, keepdims=True),
    "reduce_sum": lambda x, axes: x.sum(axes, keepdims=True),
    "reduce_sum_square": lambda x, axes: (x**2).sum(axes, keepdims=True),
}


@pytest.mark.parametrize("operator", REDUCTIONS)
@quick
@given(seed=seeds, axes=st.sets(st.integers(0, 2), min_size=1), keep=st.booleans())
def test_reductions_over_some_axes(operator: str, seed: int, axes: set[int], keep: bool) -> None:
    x = noise((2, 3, 4), seed, low=0.1)
    over = tuple(sorted(axes))
    expected = REDUCTIONS[operator](x, over)
    arguments = {"x": x, "axes": [axis - 3 for axis in over], "keep_dims": keep}

    answer = output(operator, **arguments)

    np.testing.assert_allclose(answer, expected if keep else expected.squeeze(over), rtol=1e-5)
    np.testing.assert_allclose(answer, inferred(operator, **arguments), rtol=1e-4)


@pytest.mark.parametrize("operator", REDUCTIONS)
def test_without_axes_all_are_reduced(operator: str) -> None:
    assert output(operator, x=noise((2, 3), 0, low=0.1)).shape == ()


@quick
@given(seed=seeds, axis=st.integers(-3, 2), keep=st.booleans())
def test_places_of_the_extremes(seed: int, axis: int, keep: bool) -> None:
    x = noise((2, 3, 4), seed)

    largest, smallest = (output(f"reduce_arg{end}", x=x, axis=axis, keep_dims=keep) for end in ("max", "min"))

    assert largest.dtype == np.int32
    assert np.array_equal(largest, torch.from_numpy(x).argmax(axis, keep).numpy())
    assert np.array_equal(smallest, torch.from_numpy(x).argmin(axis, keep).numpy())
