"""A quantized module whose ties fall another way.

An average of four integers lies exactly between two others one time in four, a sum of products comes close to such a
middle now and then, and there runtimes differ: half to even, half away from zero, or whatever the last bit of a float
says. In a shallow network that is one step here and there. A deep one may carry it on until its outputs differ by many
steps, and no file of it can be closer to the module than the module is to itself with other luck.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from converters._program import Program

__all__ = ["TiesOtherwise"]

_REACH = 2.0**-17
"""In steps of a grid: what the last bit of a 32-bit accumulator, scaled to 8 bits, may move a value."""


class TiesOtherwise(nn.Module):
    """A program's module, in which every value is moved by up to 2^-17 of a step before it is rounded.

    Args:
        program: what to trace.
        seed: which way the ties fall.
    """

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)
        self._traced: fx.GraphModule = torch.export.export(program.module, tuple(program.inputs.values())).module(
            check_guards=False
        )
        for node in list(self._traced.graph.nodes):
            if node.target is not torch.ops.quantized_decomposed.quantize_per_tensor.default:
                continue
            value, step = node.args[:2]
            if value.op == "get_attr":  # a table of weights lies on its grid
                continue
            with self._traced.graph.inserting_before(node):
                node.replace_input_with(value, self._traced.graph.call_function(self._moved, (value, step)))
        self._traced.recompile()

    def forward(self, *inputs: Tensor) -> Any:
        """What the module returns."""
        return self._traced(*inputs)

    def _moved(self, value: Tensor, step: float) -> Tensor:
        return value + (2 * torch.rand(value.shape, generator=self._generator) - 1) * (_REACH * step)
