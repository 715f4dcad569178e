from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters._errors import ModelFileError
from tests.converters.coreml.executor._oracle import inferred, noise, output

X = noise((3, 4), 0)
PLACES = np.array([[0, 2], [-1, 1]], np.int32)

CASES: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {
    "cumsum": ("cumsum", {"x": X, "axis": 1}, X.cumsum(1)),
    "cumsum of what came before": ("cumsum", {"x": X, "axis": 1, "exclusive": True}, X.cumsum(1) - X),
    "cumsum from the end": ("cumsum", {"x": X, "axis": 0, "reverse": True}, X[::-1].cumsum(0)[::-1]),
    "fill": ("fill", {"shape": np.array([2, 3], np.int32), "value": np.float32(0.5)}, np.full((2, 3), 0.5, np.float32)),
    "gather_along_axis": (
        "gather_along_axis",
        {"x": X[:2], "indices": PLACES, "axis": 1},
        np.take_along_axis(X[:2], PLACES, 1),
    ),
    "gather_nd": ("gather_nd", {"x": X, "indices": PLACES}, X[PLACES[:, 0], PLACES[:, 1]]),
    "one_hot": (
        "one_hot",
        {
            "indices": np.array([2, 0], np.int32),
            "one_hot_vector_size": 3,
            "axis": -1,
            "on_value": np.float32(1),
            "off_value": np.float32(0),
        },
        np.eye(3, dtype=np.float32)[[2, 0]],
    ),
    "range_1d": (
        "range_1d",
        {"start": np.int32(2), "end": np.int32(9), "step": np.int32(3)},
        np.array([2, 5, 8], np.int32),
    ),
    "shape": ("shape", {"x": X}, np.array([3, 4], np.int32)),
}


@pytest.mark.parametrize("name", CASES)
def test_indices(name: str) -> None:
    operator, arguments, expected = CASES[name]

    answer = output(operator, **arguments)

    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)
    assert answer.dtype == expected.dtype
    if not (name.startswith("cumsum ") or operator in ("one_hot", "gather_nd", "gather_along_axis")):
        np.testing.assert_allclose(answer, inferred(operator, **arguments), rtol=1e-5, atol=1e-6)


def test_a_filled_twin_has_the_shape_of_the_other() -> None:
    answer = output("fill_like", ref_tensor=X, value=np.int32(7))

    assert np.array_equal(answer, np.full((3, 4), 7, np.int32))


def test_ranges_of_floats() -> None:
    answer = output("range_1d", start=np.float32(0), end=np.float32(1), step=np.float32(0.25))

    assert np.array_equal(answer, np.arange(0, 1, 0.25, dtype=np.float32))


def test_gather_nd_with_batch_axes_is_refused() -> None:
    with pytest.raises(ModelFileError, match="gather_nd has batch axes"):
        output("gather_nd", x=X, indices=PLACES[:, :1], batch_dims=1)
