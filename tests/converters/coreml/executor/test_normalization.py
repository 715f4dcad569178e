from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds


@quick
@given(seed=seeds, axes=st.integers(1, 3), scaled=st.booleans())
def test_batch_norm(seed: int, axes: int, scaled: bool) -> None:
    x = noise((2, 4, 3, 5, 2)[: 2 + axes], seed)
    mean, gamma, beta = (noise((4,), seed + i) for i in range(3))
    variance = noise((4,), seed + 4, low=0.1)
    affine = {"gamma": gamma, "beta": beta} if scaled else {}
    expected = F.batch_norm(
        *(torch.from_numpy(array) for array in (x, mean, variance)),
        *((torch.from_numpy(gamma), torch.from_numpy(beta)) if scaled else (None, None)),
        eps=1e-3,
    )

    answer = output("batch_norm", x=x, mean=mean, variance=variance, epsilon=np.float32(1e-3), **affine)

    np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-4, atol=1e-5)


@quick
@given(seed=seeds)
def test_instance_norm(seed: int) -> None:
    x, gamma, beta = noise((2, 3, 4, 5), seed), noise((3,), seed + 1), noise((3,), seed + 2)
    expected = F.instance_norm(
        torch.from_numpy(x), None, None, torch.from_numpy(gamma), torch.from_numpy(beta), eps=1e-3
    )

    answer = output("instance_norm", x=x, gamma=gamma, beta=beta, epsilon=np.float32(1e-3))

    np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [[-1], [1, 2], [0, 1, 2]])
@quick
@given(seed=seeds)
def test_layer_norm(axes: list[int], seed: int) -> None:
    x = noise((2, 3, 4), seed)
    shape = tuple(x.shape[axis] for axis in axes)
    gamma, beta = noise(shape, seed + 1), noise(shape, seed + 2)
    weights = (torch.from_numpy(gamma), torch.from_numpy(beta))
    expected = F.layer_norm(torch.from_numpy(x), shape, *weights, eps=1e-3).numpy()
    arguments = {"x": x, "axes": axes, "gamma": gamma, "beta": beta, "epsilon": np.float32(1e-3)}

    answer = output("layer_norm", **arguments)

    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer, inferred("layer_norm", **arguments), rtol=1e-4, atol=1e-5)


def test_l2_norm_divides_by_the_length_of_a_sample() -> None:
    x = noise((2, 3, 4, 5), 0)

    answer = output("l2_norm", x=x, epsilon=np.float32(1e-6))

    np.testing.assert_allclose((answer**2).sum((1, 2, 3)), 1.0, rtol=1e-5)
