"""Turns float weights that a program rounds on every call into the integers they round to."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import InputKind, InputSpec

__all__ = ["CONSTANT_KINDS", "fold_weight_quantization", "store_constant"]

CONSTANT_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def fold_weight_quantization(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Replaces each constant ``quantize_per_channel`` (or ``_per_tensor``) by its result, a buffer of integers.

    ONNX and Core ML want weights as stored integers behind a dequantize; a module holds them as floats that lie on
    the grid already, so nothing is lost. A constant that is read in any other way too stays as it is.

    ::

        before: weight (float32) -> quantize_per_channel -> dequantize_per_channel -> conv2d
        after:  weight (int8) -> dequantize_per_channel -> conv2d

    Args:
        exported: a program fresh from ``export_program``; it is changed in place.

    Returns:
        ``exported``.
    """
    import torch.ao.quantization.fx._decomposed  # noqa: F401  (registers the operators that are looked for)

    graph = exported.graph_module.graph
    specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs if spec.kind in CONSTANT_KINDS}
    for placeholder in list(graph.find_nodes(op="placeholder")):
        quantizers = list(placeholder.users)
        if placeholder.name not in specs or not _same_quantizer(quantizers, set(specs)):
            continue
        integers = _quantized(quantizers[0], exported, specs)
        store_constant(exported, placeholder.name, integers)
        placeholder.meta["val"] = quantizers[0].meta["val"]
        for quantizer in quantizers:
            quantizer.replace_all_uses_with(placeholder)
            graph.erase_node(quantizer)
    exported.graph_module.recompile()
    return exported


def _same_quantizer(users: list[fx.Node], constants: set[str]) -> bool:
    """Whether all users of a constant round it, and all onto the same constant grid."""
    ops = torch.ops.quantized_decomposed
    quantize = (ops.quantize_per_channel.default, ops.quantize_per_tensor.default)
    return bool(users) and all(
        user.op == "call_function"
        and user.target in quantize
        and (user.target, user.args) == (users[0].target, users[0].args)
        and all(node.name in constants for node in user.all_input_nodes)
        for user in users
    )


def _quantized(quantizer: fx.Node, exported: torch.export.ExportedProgram, specs: dict[str, InputSpec]) -> torch.Tensor:
    def value(node: fx.Node) -> torch.Tensor:
        name = str(specs[node.name].target)
        stored = exported.state_dict.get(name, exported.constants.get(name))
        if not isinstance(stored, torch.Tensor):
            raise TypeError(f"{name} is no tensor")
        return stored.detach()

    arguments: Any = fx.map_arg(quantizer.args, value)
    assert callable(quantizer.target)  # noqa: S101  (narrows the type; call_function targets are callable)
    integers: torch.Tensor = quantizer.target(*arguments)
    return integers


def store_constant(exported: torch.export.ExportedProgram, placeholder: str, value: torch.Tensor) -> None:
    """Puts another value in the place of a constant; integers cannot be a parameter, so one becomes a buffer."""
    specs = exported.graph_signature.input_specs
    index = next(i for i, spec in enumerate(specs) if spec.arg.name == placeholder)
    spec = specs[index]
    name = str(spec.target)
    if spec.kind is InputKind.PARAMETER:
        specs[index] = InputSpec(InputKind.BUFFER, spec.arg, spec.target, persistent=True)
    (exported.state_dict if name in exported.state_dict else exported.constants)[name] = value
