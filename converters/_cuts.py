"""Of a constant that is only read in part, the part."""

from __future__ import annotations

import torch
from torch import fx

from converters._fold import CONSTANT_KINDS, store_constant

__all__ = ["keep_what_is_read"]

_CUTS = (torch.ops.aten.slice.Tensor, torch.ops.aten.select.int)


def keep_what_is_read(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Cuts each constant to the slice that its readers take, in place; the program is smaller and answers the same.

    ::

        before: positions (1, 9999, 48) -> slice -> (1, 49, 48) -> linear        1.9 MB in the file
        after:  positions (1, 49, 48) -> linear                                  9 kB

    Tables of positions are made for the longest input there may be, and a file has one length. Where readers take
    different slices, the whole stays.

    Returns:
        ``exported``.
    """
    graph = exported.graph_module.graph
    names = {spec.arg.name: str(spec.target) for spec in exported.graph_signature.input_specs if _is_constant(spec)}
    for constant in graph.find_nodes(op="placeholder"):
        while constant.name in names and _one_cut(list((rounded := _rounded(constant))[-1].users)):
            first = next(iter(rounded[-1].users))
            whole = exported.state_dict.get(names[constant.name], exported.constants.get(names[constant.name]))
            if not isinstance(whole, torch.Tensor):
                break
            assert callable(first.target)  # noqa: S101  (narrows the type; call_function targets are callable)
            part = first.target(whole.detach(), *first.args[1:], **first.kwargs)
            store_constant(exported, constant.name, part.clone())
            for value in rounded:
                value.meta["val"] = first.meta["val"].to(value.meta["val"].dtype)
            for cut in list(rounded[-1].users):
                cut.replace_all_uses_with(rounded[-1])
                graph.erase_node(cut)
    exported.graph_module.recompile()
    return exported


def _rounded(constant: fx.Node) -> list[fx.Node]:
    """A constant and what rounds it onto one grid, as far as nothing else reads it; cuts may as well come first."""
    import torch.ao.quantization.fx._decomposed

    ops = torch.ops.quantized_decomposed
    found = [constant]
    for rounds in (ops.quantize_per_tensor.default, ops.dequantize_per_tensor.default):
        readers = list(found[-1].users)
        if len(readers) == 1 and readers[0].target is rounds and len(readers[0].all_input_nodes) == 1:
            found.append(readers[0])
    return found


def _is_constant(spec: torch.export.graph_signature.InputSpec) -> bool:
    return spec.kind in CONSTANT_KINDS


def _one_cut(readers: list[fx.Node]) -> bool:
    """Whether all that reads a constant cuts the same part out, by numbers that are known."""
    return bool(readers) and all(
        reader.target in _CUTS
        and (reader.target, reader.args, reader.kwargs) == (readers[0].target, readers[0].args, readers[0].kwargs)
        and len(reader.all_input_nodes) == 1
        and all(isinstance(argument, int | None) for argument in [*reader.args[1:], *reader.kwargs.values()])
        for reader in readers
    )
