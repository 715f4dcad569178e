"""What a converter is given: named signatures of a module, each with example inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from converters._errors import ConversionError

__all__ = ["FORMATS", "Format", "Precision", "Program", "export_program"]

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
            return torch.export.export(module, (), kwargs=inputs)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ConversionError(
            f"Signature {program.name!r} of {type(program.module).__name__} cannot be traced by torch.export:"
            f" {reason} Rewrite that part without data-dependent control flow."
        ) from error


def _as_tuple(returned: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    if isinstance(returned, Tensor):
        return (returned,)
    return tuple(returned.values()) if isinstance(returned, Mapping) else tuple(returned)
