from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds, shapes

ACTIVATIONS: dict[str, tuple[str, dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "clamped_relu": (
        "clamped_relu",
        {"alpha": np.float32(0.1), "beta": np.float32(1)},
        lambda x: F.leaky_relu(x, 0.1).clamp(max=1),
    ),
    "elu": ("elu", {"alpha": np.float32(0.7)}, lambda x: F.elu(x, 0.7)),
    "gelu": ("gelu", {"mode": "EXACT"}, F.gelu),
    "gelu by tanh": ("gelu", {"mode": "TANH_APPROXIMATION"}, lambda x: F.gelu(x, approximate="tanh")),
    "gelu by sigmoid": ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, lambda x: x * torch.sigmoid(1.702 * x)),
    "hard sigmoid": (
        "sigmoid_hard",
        {"alpha": np.float32(1 / 6), "beta": np.float32(0.5)},
        F.hardsigmoid,
    ),
    "leaky_relu": ("leaky_relu", {"alpha": np.float32(0.2)}, lambda x: F.leaky_relu(x, 0.2)),
    "linear": ("linear_activation", {"alpha": np.float32(2), "beta": np.float32(1)}, lambda x: 2 * x + 1),
    "relu": ("relu", {}, torch.relu),
    "relu6": ("relu6", {}, F.relu6),
    "scaled_tanh": (
        "scaled_tanh",
        {"alpha": np.float32(2), "beta": np.float32(0.5)},
        lambda x: 2 * torch.tanh(0.5 * x),
    ),
    "sigmoid": ("sigmoid", {}, torch.sigmoid),
    "silu": ("silu", {}, F.silu),
    "softplus": ("softplus", {}, F.softplus),
    "softsign": ("softsign", {}, F.softsign),
    "tanh": ("tanh", {}, torch.tanh),
    "thresholded_relu": ("thresholded_relu", {"alpha": np.float32(0.5)}, lambda x: F.threshold(x, 0.5, 0.0)),
}
WITHOUT_INFERENCE = {"silu", "gelu by tanh", "gelu by sigmoid"}


@pytest.mark.parametrize("name", ACTIVATIONS)
@quick
@given(shape=shapes, seed=seeds)
def test_activations_are_those_of_torch(name: str, shape: tuple[int, ...], seed: int) -> None:
    operator, arguments, function = ACTIVATIONS[name]
    x = noise(shape, seed, low=-7, high=7)

    answer = output(operator, x=x, **arguments)

    np.testing.assert_allclose(answer, function(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)
    if name not in WITHOUT_INFERENCE:
        np.testing.assert_allclose(answer, inferred(operator, x=x, **arguments), rtol=1e-4, atol=1e-5)


@quick
@given(seed=seeds, channels=st.integers(1, 4))
def test_prelu_has_one_slope_for_each_channel(seed: int, channels: int) -> None:
    x, slopes = noise((2, channels, 3), seed), noise((channels,), seed + 1, low=0.0, high=1.0)

    answer = output("prelu", x=x, alpha=slopes)

    assert np.array_equal(answer, np.where(x >= 0, x, x * slopes[:, None]))


@quick
@given(seed=seeds, axis=st.sampled_from([-1, 0, 1, 2]))
def test_softmax_sums_to_one_along_its_axis(seed: int, axis: int) -> None:
    x = noise((2, 3, 4), seed)

    answer = output("softmax", x=x, axis=axis)

    np.testing.assert_allclose(answer.sum(axis), 1.0, rtol=1e-5)
    np.testing.assert_allclose(answer, inferred("softmax", x=x, axis=axis), rtol=1e-5)
