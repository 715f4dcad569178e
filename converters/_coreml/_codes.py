"""Weights in the few bits that the module spells them in."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters._codes import Codes, CodesInLayout, codes_like
from converters._coreml._library import coremltools

__all__ = ["needs_ios18", "store_codes_pass"]

_PASS = "store_codes"
_NAMESPACE = "mobiledistill"


def needs_ios18(codes: Sequence[Codes]) -> bool:
    """Whether a weight is in integers below 8 bits or in blocks; iOS16 has those of 8 bits a channel, and palettes."""
    return any(one.table is None and (one.bits < 8 or one.block is not None) for one in codes)


def store_codes_pass(codes: Sequence[Codes]) -> tuple[str, dict[str, Any]]:
    """The name and the options of the pass that puts a weight's integers in the place of its floats.

    It goes to the end of coremltools' own passes::

        before: weight = const(float32 (64, 128)); linear(weight=weight)
        after:  weight = constexpr_blockwise_shift_scale(data=int4 (64, 128), scale=(64, 1)); linear(weight=weight)
        or:     weight = constexpr_lut_to_dense(indices=uint2 (64, 128), lut=(1, 1, 4, 1)); linear(weight=weight)

    Integers of 2 bits and signs become the second form with a table for each scale.
    """
    _register()
    return f"{_NAMESPACE}::{_PASS}", {"codes": list(codes)}


@functools.lru_cache(maxsize=1)
def _register() -> None:
    coremltools()
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.helper import block_context_manager
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    class StoreCodes(AbstractGraphPass):  # type: ignore[misc]  # a library without types
        codes: tuple[Codes, ...] = ()

        def apply(self, program: Any) -> None:
            @block_context_manager  # type: ignore[untyped-decorator]  # likewise
            def visit(block: Any) -> None:
                for operation in list(block.operations):
                    for inner in operation.blocks:
                        visit(inner)
                    _store(block, operation, self.codes)

            for function in program.functions.values():
                visit(function)

    register_pass(namespace=_NAMESPACE, name=_PASS)(StoreCodes)


def _store(block: Any, operation: Any, codes: Sequence[Codes]) -> None:
    if operation.op_type != "const" or operation.outputs[0] in block.outputs:
        return
    value = operation.outputs[0].val
    found = codes_like(value, codes) if isinstance(value, np.ndarray) else None
    if found is None:
        return
    stored = _constant(operation, found)
    block.replace_uses_of_var_after_op(anchor_op=stored.op, old_var=operation.outputs[0], new_var=stored)
    block.remove_ops([operation])


def _constant(operation: Any, found: CodesInLayout) -> Any:
    """The compressed constant, in the spelling of the target's own version."""
    from coremltools.converters.mil.frontend._utils import _construct_constexpr_dequant_op, _construct_constexpr_lut_op

    dtype, name = operation.outputs[0].val.dtype, f"{operation.name}_codes"
    if found.codes.table is not None:
        table = found.codes.table.astype(dtype).reshape([1] * found.integers.ndim + [-1, 1])
        return _construct_constexpr_lut_op(found.integers, table, name=name, before_op=operation)
    assert found.scale is not None  # noqa: S101  (no table: scales)
    scale = found.scale.astype(dtype)
    if found.codes.bits <= 2:  # Core ML has no such integers, but tables of two or four values for each scale
        indices = found.integers.astype(np.int8).view(np.uint8) & 3
        meanings = [0, 1, 0, -1]
        if found.codes.bits == 1:
            indices, meanings = indices >> 1, [1, -1]
        tables = (scale[..., None] * np.array(meanings, dtype))[..., None]
        return _construct_constexpr_lut_op(indices, tables, name=name, before_op=operation)
    return _construct_constexpr_dequant_op(
        found.integers.astype(np.int8), None, scale, axis=found.axis, name=name, before_op=operation
    )
