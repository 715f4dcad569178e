"""What a converter is given: named signatures of a module, each with example inputs."""

from __future__ import annotations

import keyword
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from converters._cuts import keep_what_is_read
from converters._errors import ConversionError, InputError, MobileDistillError
from converters._moves import spell_moves

__all__ = ["FORMATS", "Format", "Precision", "Program", "check_names", "check_program", "export_program"]

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

    def channels_last(self, *names: str) -> Program:
        """The same signature with images as cameras deliver them, (batch, height, width, channels), under these names.

        It means the same in every format. TFLite, which computes in that order, loses the transposition that it had at
        the door; ONNX and Core ML, which compute channels first, gain one there.

        Example:
            >>> program = Program(nn.Conv2d(3, 8, 1), {"image": torch.zeros(1, 3, 4, 5)}, ("map",))
            >>> program.channels_last("image")(image=torch.zeros(2, 4, 5, 3))["map"].shape
            torch.Size([2, 8, 4, 5])

        Args:
            names: inputs and outputs of three axes or more, the second of them the channels.

        Raises:
            InputError: a name is no input or output, or has no channels.
        """
        ends = [*self.inputs, *self.outputs]
        if unknown := [name for name in names if name not in ends]:
            raise InputError(f"channels_last names {unknown}; inputs and outputs are {ends}.")
        if flat := [name for name in names if name in self.inputs and self.inputs[name].dim() < 3]:
            raise InputError(f"channels_last names {flat}, without the axes of an image: leave them out.")
        inputs = {name: value.movedim(1, -1) if name in names else value for name, value in self.inputs.items()}
        turned = _ChannelsLast(self.module, [name in names for name in ends], self.outputs)
        return Program(turned, {name: value.contiguous() for name, value in inputs.items()}, self.outputs, self.name)


class _ChannelsLast(nn.Module):
    """A module whose chosen inputs and outputs have their channels last.

    Args:
        module: reads and answers channels first.
        turned: for each input, then each output, whether it is a chosen one.
        outputs: their names.
    """

    def __init__(self, module: nn.Module, turned: list[bool], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self._turned = turned
        self._outputs = outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        first = [x.movedim(-1, 1) if turned else x for x, turned in zip(inputs, self._turned, strict=False)]
        returned = _as_tuple(self.module(*first))
        marked = list(zip(self._outputs, returned, self._turned[len(inputs) :], strict=True))
        if flat := [name for name, y, turned in marked if turned and y.dim() < 3]:
            raise InputError(f"channels_last names {flat}, without the axes of an image: leave them out.")
        return tuple(y.movedim(1, -1) if turned else y for _, y, turned in marked)


_TAKEN = {
    *("any", "bool", "dict", "false", "func", "list", "program", "self", "state", "string", "tensor", "true", "tuple"),
    *("bf16", "fp16", "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}
"""Words of Core ML's language, and the one that torch passes itself."""


def check_names(programs: Sequence[Program]) -> None:
    """Refuses names that one of the formats could not keep, so that all keep the same.

    Raises:
        InputError: names the names.
    """
    names = [name for program in programs for name in (program.name, *program.inputs, *program.outputs)]
    wrong = sorted({name for name in names if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)})
    if wrong:
        raise InputError(
            f"Not every format can spell the names {wrong}: use letters, numbers and underscores, a letter first."
        )
    if taken := sorted({name for name in names if keyword.iskeyword(name) or name in _TAKEN}):
        raise InputError(f"The names {taken} are words of Python or of Core ML's language: choose others.")
    for program in programs:
        ends = [*program.inputs, *program.outputs]
        if twice := sorted({name for name in ends if ends.count(name) > 1}):
            raise InputError(f"Signature {program.name!r} has {twice} twice among its inputs and outputs: rename one.")


class _NamedOutputs(nn.Module):
    """Gives a module the signature's names: keyword inputs in, a dictionary out."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.module = program.module
        self._inputs = tuple(program.inputs)
        self._outputs = program.outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        returned = self.module(*(inputs[name] for name in self._inputs))
        _check_returned(returned, self._outputs)
        return dict(zip(self._outputs, _as_tuple(returned), strict=True))


class _InOrder(nn.Module):
    """A module as positions: torch.export cannot free the axes of keyword inputs."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.module = program.module
        self._outputs = program.outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        returned = self.module(*inputs)
        _check_returned(returned, self._outputs)
        return _as_tuple(returned)


def export_program(
    program: Program, free_axes: Mapping[str, Iterable[int]] | None = None
) -> torch.export.ExportedProgram:
    """Traces one signature; every parameter is named by its path inside ``program.module``, behind ``module.``.

    Args:
        program: the signature.
        free_axes: the axes of each input that may have any length, as far as the module lets them; None for none.

    Raises:
        ConversionError: ``torch.export`` cannot trace the module.
    """
    module = _NamedOutputs(program).eval()
    try:
        inputs = {name: value.contiguous() for name, value in program.inputs.items()}
        with warnings.catch_warnings():  # recurrent layers keep a list of their own weights, of which torch complains
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
            if free_axes is None:
                exported = torch.export.export(module, (), kwargs=inputs)
            else:
                shapes = [dict.fromkeys(free_axes.get(name, ()), torch.export.Dim.AUTO) for name in inputs]
                longer = tuple(_longer(value, axes) for value, axes in zip(inputs.values(), shapes, strict=True))
                exported = torch.export.export(_InOrder(program).eval(), longer, dynamic_shapes=(tuple(shapes),))
    except MobileDistillError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ConversionError(
            f"Signature {program.name!r} of {type(program.module).__name__} cannot be traced by"
            f" torch.export{_place(error)}: {reason} Rewrite that part without data-dependent control flow."
        ) from error
    _check_outputs(program, exported)
    return keep_what_is_read(spell_moves(exported))


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
        if value.dim() == 0:
            raise InputError(
                f"Input {name!r} of signature {program.name!r} is a single number without axes; samples lie along axis"
                " 0, so give it the shape (1,)."
            )
        if value.numel() == 0:
            raise InputError(
                f"Input {name!r} of signature {program.name!r} has the shape {tuple(value.shape)}, which is empty; give"
                " one whole sample as the example."
            )


def _check_returned(returned: Tensor | Sequence[Tensor] | Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    """A name for each output; a mapping's own names in its own order, where they are the same."""
    count = len(_as_tuple(returned))
    if count != len(names):
        raise ConversionError(f"The module returns {count} outputs, but {len(names)} names were given: {list(names)}.")
    if isinstance(returned, Mapping) and set(returned) == set(names) and tuple(returned) != names:
        raise ConversionError(
            f"The module returns {list(returned)} in this order, but the names were given as {list(names)}, and outputs"
            " are named in order: give the names in the module's."
        )


def _check_outputs(program: Program, exported: torch.export.ExportedProgram) -> None:
    """Files have outputs of sizes that are known before they run, and not of none."""
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    (output,) = (node for node in exported.graph.nodes if node.op == "output")
    by_node = {node.name: node.meta.get("val") for node in output.all_input_nodes}
    for name, node in zip(program.outputs, exported.graph_signature.user_outputs, strict=False):
        shape = getattr(by_node.get(str(node)), "shape", ())
        if any(not isinstance(size, int) and free_unbacked_symbols(size) for size in shape):
            raise ConversionError(
                f"Output {name!r} of signature {program.name!r} has the shape ({', '.join(map(str, shape))}), which"
                " depends on the data; return a fixed number of values, for example the largest ones (torch.topk)."
            )
        if any(isinstance(size, int) and size == 0 for size in shape):
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


def _longer(value: Tensor, axes: Iterable[int]) -> Tensor:
    """At least two along each free axis: torch.export takes a length of 1 for one that stays."""
    for axis in axes:
        if value.shape[axis] == 1:
            value = torch.cat([value, value], axis)
    return value


def _as_tuple(returned: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    if isinstance(returned, Tensor):
        return (returned,)
    return tuple(returned.values()) if isinstance(returned, Mapping) else tuple(returned)
