"""Runs one operator: with the executor, and with coremltools' own inference of constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from converters._coreml._executor import OPERATORS
from converters._coreml._executor._arguments import Arguments
from converters._coreml._library import coremltools
from converters._quiet import quiet

Array = NDArray[Any]

quick = settings(max_examples=12, deadline=None, derandomize=True)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**16)


def noise(shape: tuple[int, ...], seed: int, low: float = -3.0, high: float = 3.0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def outputs(operator: str, **arguments: Any) -> list[Array]:
    """What the executor answers."""
    values = {name: _value(value) for name, value in arguments.items()}
    returned = OPERATORS[operator](Arguments(operator, values))
    return [part.numpy() for part in ((returned,) if isinstance(returned, torch.Tensor) else returned)]


def output(operator: str, **arguments: Any) -> Array:
    (only,) = outputs(operator, **arguments)
    return only


def inferred(operator: str, *, target: str = "iOS17", **arguments: Any) -> Array:
    """What coremltools computes while it builds a program."""
    ct = coremltools()
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function

    with quiet(), Function({}, opset_version=getattr(ct.target, target)):
        value = getattr(mb, operator)(**arguments)
        value = value[0] if isinstance(value, list | tuple) else value
        answer = value.op.materialized_val_inference() if operator.startswith("constexpr_") else value.val
    assert answer is not None, f"coremltools has no inference for {operator}"
    return np.asarray(answer)


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        return [torch.from_numpy(part) for part in value]
    array = np.asarray(value)
    return torch.from_numpy(array.astype(np.int64) if array.dtype in (np.uint16, np.uint32) else array.copy())
