from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

from tests.converters.coreml.executor._oracle import inferred, noise, output, quick, seeds, shapes

ALIKE = ["abs", "ceil", "cos", "erf", "exp", "exp2", "floor", "round", "sign", "sin", "square", "tanh"]
POSITIVE = ["sqrt", "log", "rsqrt", "inverse"]
PAIRS = ["add", "floor_div", "maximum", "minimum", "mod", "mul", "real_div", "sub"]
COMPARISONS = ["equal", "greater", "greater_equal", "less", "less_equal", "not_equal"]
TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "floor_div": torch.floor_divide,
    "inverse": lambda x: 1 / x,
    "mod": torch.remainder,
    "mul": torch.mul,
    "real_div": torch.div,
    "sub": torch.sub,
}


def expected(operator: str, *arrays: np.ndarray) -> np.ndarray:
    function = TORCH.get(operator) or getattr(torch, operator)
    return np.asarray(function(*(torch.from_numpy(array) for array in arrays)))


@pytest.mark.parametrize("operator", ALIKE)
@quick
@given(shape=shapes, seed=seeds)
def test_one_argument(operator: str, shape: tuple[int, ...], seed: int) -> None:
    x = noise(shape, seed)

    answer = output(operator, x=x)

    np.testing.assert_allclose(answer, expected(operator, x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer, inferred(operator, x=x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", POSITIVE)
@quick
@given(shape=shapes, seed=seeds)
def test_one_positive_argument(operator: str, shape: tuple[int, ...], seed: int) -> None:
    x = noise(shape, seed, low=0.5)
    small = {} if operator == "sqrt" else {"epsilon": np.float32(1e-6)}

    answer = output(operator, x=x, **small)

    np.testing.assert_allclose(answer, expected(operator, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer, inferred(operator, x=x, **small), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", ["inverse", "log", "rsqrt"])
def test_epsilon_keeps_zero_finite(operator: str) -> None:
    zero = np.zeros(3, np.float32)

    answer = output(operator, x=zero, epsilon=np.float32(0.01))

    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer, inferred(operator, x=zero, epsilon=np.float32(0.01)), rtol=1e-5)


@pytest.mark.parametrize("operator", [*PAIRS, *COMPARISONS])
@quick
@given(shape=shapes, seed=seeds)
def test_two_arguments_of_shapes_that_broadcast(operator: str, shape: tuple[int, ...], seed: int) -> None:
    x, y = noise(shape, seed).round(1), noise((shape[-1],), seed + 1).round(1) + np.float32(0.05)
    y[0] = x.flat[0] or 1.0
    function = TORCH.get(operator) or getattr(torch, {"equal": "eq", "not_equal": "ne"}.get(operator, operator))

    answer = output(operator, x=x, y=y)

    np.testing.assert_allclose(
        answer, np.asarray(function(torch.from_numpy(x), torch.from_numpy(y))), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(answer, inferred(operator, x=x, y=y), rtol=1e-5, atol=1e-6)


@quick
@given(shape=shapes, seed=seeds)
def test_powers(shape: tuple[int, ...], seed: int) -> None:
    x, y = noise(shape, seed, low=0.1), noise(shape, seed + 1)

    np.testing.assert_allclose(output("pow", x=x, y=y), np.power(x, y), rtol=1e-4)


@pytest.mark.parametrize("operator", ["logical_and", "logical_or", "logical_xor"])
def test_logic(operator: str) -> None:
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])

    answer = output(operator, x=x, y=y)

    assert np.array_equal(answer, getattr(np, operator)(x, y))
    assert np.array_equal(answer, inferred(operator, x=x, y=y))
    assert np.array_equal(output("logical_not", x=x), ~x)


def test_integers_divide_without_a_rest() -> None:
    x, y = np.array([7, -7, 9], np.int32), np.array([2, 2, 3], np.int32)

    assert output("floor_div", x=x, y=y).tolist() == [3, -4, 3]
    assert output("real_div", x=x, y=y).dtype == np.int32


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"operator": "clip", "alpha": np.float32(-1), "beta": np.float32(1)}, [-1.0, -0.5, 0.5, 1.0]),
        ({"operator": "threshold", "alpha": np.float32(-1)}, [-1.0, -0.5, 0.5, 2.0]),
        ({"operator": "identity"}, [-2.0, -0.5, 0.5, 2.0]),
        ({"operator": "cast", "dtype": "int32"}, [-2, 0, 0, 2]),
        ({"operator": "cast", "dtype": "bool"}, [True, True, True, True]),
    ],
    ids=["clip", "threshold", "identity", "to integers", "to flags"],
)
def test_limits_and_casts(arguments: dict[str, Any], answer: list[float]) -> None:
    x = np.array([-2.0, -0.5, 0.5, 2.0], np.float32)

    assert output(x=x, **arguments).tolist() == answer


def test_select_takes_from_one_of_two() -> None:
    condition = np.array([True, False])

    answer = output("select", cond=condition, a=np.array([1, 2], np.float32), b=np.array([3, 4], np.float32))

    assert answer.tolist() == [1, 4]
