from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds


@quick
@given(seed=seeds, batch=st.integers(1, 4), biased=st.booleans())
def test_linear_multiplies_with_rows_of_the_weight(seed: int, batch: int, biased: bool) -> None:
    x, weight, bias = noise((batch, 5), seed), noise((3, 5), seed + 1), noise((3,), seed + 2)
    arguments = {"x": x, "weight": weight, **({"bias": bias} if biased else {})}

    answer = output("linear", **arguments)

    np.testing.assert_allclose(answer, x @ weight.T + (bias if biased else 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answer, inferred("linear", **arguments), rtol=1e-5, atol=1e-5)


@quick
@given(seed=seeds, transpose_x=st.booleans(), transpose_y=st.booleans(), heads=st.integers(1, 3))
def test_matmul_transposes_what_it_is_told_to(seed: int, transpose_x: bool, transpose_y: bool, heads: int) -> None:
    x, y = noise((heads, 2, 5), seed), noise((1, 5, 3), seed + 1)
    expected = torch.from_numpy(x) @ torch.from_numpy(y)
    arguments = {
        "x": np.ascontiguousarray(x.swapaxes(1, 2)) if transpose_x else x,
        "y": np.ascontiguousarray(y.swapaxes(1, 2)) if transpose_y else y,
        "transpose_x": transpose_x,
        "transpose_y": transpose_y,
    }

    answer = output("matmul", **arguments)

    np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answer, inferred("matmul", **arguments), rtol=1e-5, atol=1e-5)
