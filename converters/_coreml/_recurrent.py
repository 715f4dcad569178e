"""Keeps an LSTM one operator: coremltools has it, but knows it only by the name that older programs gave it."""

from __future__ import annotations

import copy
import functools
from typing import Any

__all__ = ["know_lstm"]


@functools.lru_cache(maxsize=1)
def know_lstm() -> None:
    """Tells coremltools that ``aten.lstm.input`` is its ``lstm``, once; else every step is written out.

    ::

        before: 24 steps of linear, sigmoid, tanh, mul, add ...: 500 operators
        after:  lstm(x, initial_h, initial_c, weight_ih, weight_hh, bias)

    Its ``gru`` is no operator of the format but a loop, which phones run slower than steps that are written out.
    """
    from coremltools.converters.mil.frontend.torch.ops import lstm
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    def lstm_of_exported_programs(context: Any, node: Any) -> None:
        """Older programs gave the answers and both last states a name each; now they are one tuple."""
        named = copy.copy(node)
        named.outputs = [f"{node.name}_{part}" for part in ("answers", "hidden", "cell")]
        lstm(context, named)
        context.add(tuple(context[name] for name in named.outputs), torch_name=node.name)

    register_torch_op(torch_alias=["lstm.input"])(lstm_of_exported_programs)
