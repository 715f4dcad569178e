"""Recurrent layers, one step of a sequence after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from converters._coreml._executor._arguments import Arguments, Operator
from converters._errors import ModelFileError

__all__ = ["RECURRENT"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
}


def _lstm(arguments: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    """A sequence ``(steps, batch, in)`` to all or the last hidden values, the last hidden and the last cell values.

    Gates stand in the order input, forget, output, cell; both directions lie beside each other on the last axis.
    """
    for unknown in ("peephole", "peephole_back", "clip"):
        if unknown in arguments:
            raise ModelFileError(f"An lstm with {unknown!r} is not one that the Core ML executor knows.")
    x, direction = arguments.tensor("x"), arguments.word("direction", "forward")
    hidden, cell = arguments.tensor("initial_h"), arguments.tensor("initial_c")
    ways = [("", direction == "reverse")]
    if direction == "bidirectional":
        ways.append(("_back", True))
    found = [
        _one_way(arguments, suffix, x.flip(0) if backwards else x, first, state)
        for (suffix, backwards), first, state in zip(
            ways, hidden.chunk(len(ways), -1), cell.chunk(len(ways), -1), strict=True
        )
    ]
    every = [steps.flip(0) if backwards else steps for (_, backwards), (steps, _, _) in zip(ways, found, strict=True)]
    last = torch.cat([one for _, one, _ in found], -1)
    sequence = torch.cat(every, -1) if arguments.flag("output_sequence") else last[None]
    return sequence, last, torch.cat([one for _, _, one in found], -1)


def _one_way(
    arguments: Arguments, suffix: str, x: Tensor, hidden: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    weight, recurrent = arguments.tensor(f"weight_ih{suffix}"), arguments.tensor(f"weight_hh{suffix}")
    read = F.linear(x, weight, arguments.optional(f"bias{suffix}"))
    gate = _activation(arguments, "recurrent_activation", "sigmoid")
    candidate = _activation(arguments, "cell_activation", "tanh")
    activation = _activation(arguments, "activation", "tanh")
    steps = []
    for one in read:
        entry, forget, exit_, new = (one + F.linear(hidden, recurrent)).chunk(4, -1)
        cell = gate(forget) * cell + gate(entry) * candidate(new)
        hidden = gate(exit_) * activation(cell)
        steps.append(hidden)
    return torch.stack(steps), hidden, cell


def _activation(arguments: Arguments, role: str, default: str) -> Callable[[Tensor], Tensor]:
    name = arguments.word(role, default)
    if name not in _ACTIVATIONS:
        raise ModelFileError(f"An lstm with the {role} {name!r} is not one that the Core ML executor knows.")
    return _ACTIVATIONS[name]


RECURRENT: dict[str, Operator] = {"lstm": _lstm}
