"""Patches and expansions, spelled as what every format has: reshapes, permutations and plain broadcasting."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from converters._quiet import quiet

__all__ = ["cut_up", "joined", "spell_moves"]

_aten = torch.ops.aten

_BROADCASTING = (_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor)


def spell_moves(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Cuts images into patches, and joins them, by moves alone; drops expansions that arithmetic does by itself.

    ::

        before: im2col -> (1, 36, 16)                  fold: scatter in TFLite, which runtimes refuse; a gather in
        after:  reshape -> permute -> reshape          Core ML over a table of all places

        before: (1, 16, 4, 1) -> expand -> mul         a tile in Core ML; in TFLite, beside images, an error
        after:  (1, 16, 4, 1) -> mul

    Patches that overlap, or leave a border, stay as they are.
    """
    kinds = {node.target for node in exported.graph.nodes}
    if not kinds.isdisjoint((_aten.im2col.default, _aten.col2im.default)):
        with quiet():
            exported = exported.run_decompositions({_aten.im2col.default: cut_up, _aten.col2im.default: joined})
    if not kinds.isdisjoint((_aten.expand.default, _aten.expand_as.default)):
        for node in list(exported.graph.nodes):
            if node.target in (_aten.expand.default, _aten.expand_as.default):
                _leave_to_arithmetic(node)
        exported.graph.eliminate_dead_code()
        exported.graph_module.recompile()
    return exported


def cut_up(x: Tensor, kernel: list[int], dilation: list[int], padding: list[int], stride: list[int]) -> Any:
    """A decomposition of ``aten.im2col``: ``(n, c, height, width)`` to ``(n, c * kernel, patches)``."""
    height, width = x.shape[-2:]
    if x.dim() != 4 or not _side_by_side((height, width), kernel, dilation, padding, stride):
        return NotImplemented
    rows, columns = height // kernel[0], width // kernel[1]
    cells = x.reshape(-1, rows, kernel[0], columns, kernel[1]).permute(0, 2, 4, 1, 3)
    return cells.reshape(x.shape[0], x.shape[1] * kernel[0] * kernel[1], rows * columns)


def joined(
    patches: Tensor, size: list[int], kernel: list[int], dilation: list[int], padding: list[int], stride: list[int]
) -> Any:
    """A decomposition of ``aten.col2im``: ``(n, c * kernel, patches)`` to ``(n, c, height, width)``."""
    if patches.dim() != 3 or not _side_by_side(tuple(size), kernel, dilation, padding, stride):
        return NotImplemented
    cells = patches.reshape(-1, kernel[0], kernel[1], size[0] // kernel[0], size[1] // kernel[1])
    channels = patches.shape[1] // (kernel[0] * kernel[1])
    return cells.permute(0, 3, 1, 4, 2).reshape(patches.shape[0], channels, size[0], size[1])


def _side_by_side(
    size: tuple[int, ...], kernel: list[int], dilation: list[int], padding: list[int], stride: list[int]
) -> bool:
    """Whether patches cover an image once, without a border."""
    return (
        stride == kernel
        and not any(padding)
        and all(step == 1 for step in dilation)
        and all(side % length == 0 for side, length in zip(size, kernel, strict=True))
    )


def _leave_to_arithmetic(expand: fx.Node) -> None:
    """Gives what is expanded to those readers that bring the full shape along by their other operand."""
    source: Any = expand.args[0]
    spread = expand.meta["val"]
    for reader in list(expand.users):
        others = [operand for operand in reader.args[:2] if operand is not expand]
        if reader.target in _BROADCASTING and len(others) == 1 and _is_alike(others[0], spread):
            reader.replace_input_with(expand, source)


def _is_alike(operand: Any, spread: Tensor) -> bool:
    """Whether an operand has the same shape and, since one without axes would yield to another's, the same type."""
    value = operand.meta.get("val") if isinstance(operand, fx.Node) else None
    return isinstance(value, Tensor) and value.shape == spread.shape and value.dtype == spread.dtype
