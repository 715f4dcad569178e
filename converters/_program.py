"""What a converter is given: named signatures of a module, each with example inputs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from converters._errors import ConversionError, InputError

__all__ = ["FORMATS", "Format", "Precision", "Program", "check_program", "export_program"]

Format = Literal["tflite", "coreml", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)

Precision = Literal["float32", "float16"]
"""How what is *not* quantized is stored. Quantization itself belongs to the module, never to a converter."""


@dataclass(frozen=True)
class Program:
    """One signature of a model: a module, its example inputs by name, the names of its outputs.

    The module returns one tensor, a tuple of tensors, or a mapping; its outputs are named in order.
    Shapes are those of the example inputs (the leading axis is the batch, normally 1).

    Example:
        >>> program = Program(nn.Linear(4, 2), {"features": torch.zeros(1, 4)}, ("logits",))
        >>> program(features=torch.ones(3, 4))["logits"].shape
        torch.Size([3, 2])
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    name: str = "main"

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Runs the module on named inputs and names its outputs."""
        returned = self.module(*(inputs[name] for name in self.inputs))
        return dict(zip(self.outputs, _as_tuple(returned), strict=True))


class _NamedOutputs(nn.Module):
    """Gives a module the signature's names: keyword inputs in, a dictionary out."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.module = program.module
        self._inputs = tuple(program.inputs)
        self._outputs = program.outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        returned = _as_tuple(self.module(*(inputs[name] for name in self._inputs)))
        return dict(zip(self._outputs, returned, strict=True))


def export_program(program: Program) -> torch.export.ExportedProgram:
    """Traces one signature; every parameter is named by its path inside ``program.module``, behind ``module.``.

    Raises:
        ConversionError: ``torch.export`` cannot trace the module.
    """
    module = _NamedOutputs(program).eval()
    try:
        inputs = {name: value.contiguous() for name, value in program.inputs.items()}
        with warnings.catch_warnings():  # recurrent layers keep a list of their own weights, of which torch complains
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
            exported = torch.export.export(module, (), kwargs=inputs)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ConversionError(
            f"Signature {program.name!r} of {type(program.module).__name__} cannot be traced by"
            f" torch.export{_place(error)}: {reason} Rewrite that part without data-dependent control flow."
        ) from error
    _check_outputs(program, exported)
    return exported


def check_program(program: Program) -> None:
    """Refuses what every format would take in silence: weights that are not finite, and samples that are empty.

    Raises:
        InputError: which weight or input, and what to do.
    """
    for name, weight in program.module.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise InputError(f"The weight {_path(name)!r} holds NaN or infinity; give a model that was trained well.")
    for name, buffer in program.module.named_buffers():  # masks may be infinite
        if buffer.is_floating_point() and bool(torch.isnan(buffer).any()):
            raise InputError(f"The buffer {_path(name)!r} holds NaN; give a model that was trained well.")
    for name, value in program.inputs.items():
        if value.numel() == 0:
            raise InputError(
                f"Input {name!r} of signature {program.name!r} has the shape {tuple(value.shape)}, which is empty; give"
                " one whole sample as the example."
            )


def _check_outputs(program: Program, exported: torch.export.ExportedProgram) -> None:
    """Files have outputs of fixed sizes, and not of none."""
    (output,) = (node for node in exported.graph.nodes if node.op == "output")
    by_node = {node.name: node.meta.get("val") for node in output.all_input_nodes}
    for name, node in zip(program.outputs, exported.graph_signature.user_outputs, strict=False):
        shape = getattr(by_node.get(str(node)), "shape", ())
        if any(not isinstance(size, int) for size in shape):
            raise ConversionError(
                f"Output {name!r} of signature {program.name!r} has the shape ({', '.join(map(str, shape))}), which"
                " depends on the data; return a fixed number of values, for example the largest ones (torch.topk)."
            )
        if 0 in shape:
            raise ConversionError(
                f"Output {name!r} of signature {program.name!r} has the shape {tuple(shape)}, which is empty; leave it"
                " out, or give its layer a size."
            )


def _place(error: Exception) -> str:
    """Where in the module's source it was that torch.export had to stop, as far as it says."""
    found = re.search(r'raised this error:\s+File "([^"]+)", (line \d+), in (\S+)', str(error))
    return "" if found is None else f" at {found[1].rpartition('/')[2]}, {found[2]}, in {found[3]}"


def _path(name: str) -> str:
    """A weight's path in the module that a program was exported from."""
    return name.removeprefix("program.").removeprefix("module.")


def _as_tuple(returned: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    if isinstance(returned, Tensor):
        return (returned,)
    return tuple(returned.values()) if isinstance(returned, Mapping) else tuple(returned)
