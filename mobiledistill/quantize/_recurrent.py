"""Recurrent layers as the linear layers of their gates, so that their weights can lie on grids."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["take_apart"]


def take_apart(module: nn.Module) -> nn.Module:
    """Puts the same arithmetic, spelled out, in the places of LSTM and GRU layers and cells (in place)."""
    for name, part in list(module.named_children()):
        match part:
            case nn.LSTM() | nn.GRU() if part.proj_size == 0:
                setattr(module, name, _Layers(part))
            case nn.LSTMCell():
                setattr(module, name, _LSTMCell(part, ""))
            case nn.GRUCell():
                setattr(module, name, _GRUCell(part, ""))
            case _:
                take_apart(part)
    return module


class _LSTMCell(nn.Module):
    """All four gates at once; both biases are one, and the first step reads no zeros."""

    def __init__(self, weights: nn.Module, suffix: str) -> None:
        super().__init__()
        from_hidden, hidden_bias = _gates(weights, "hh", suffix)
        from_input, input_bias = _gates(weights, "ih", suffix)
        self.from_input, self.from_hidden = _linear(from_input, input_bias + hidden_bias), _linear(from_hidden)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        gates = self.from_input(x) if state is None else self.from_input(x) + self.from_hidden(state[0])
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        memory = enter.sigmoid() * candidate.tanh()
        if state is not None:
            memory = forget.sigmoid() * state[1] + memory
        return leave.sigmoid() * memory.tanh(), memory


class _GRUCell(nn.Module):
    """All three gates at once; of the hidden side's bias only the candidate's part stands apart, behind its gate."""

    candidate_bias: Tensor

    def __init__(self, weights: nn.Module, suffix: str) -> None:
        super().__init__()
        from_hidden, hidden_bias = _gates(weights, "hh", suffix)
        from_input, input_bias = _gates(weights, "ih", suffix)
        size = from_hidden.shape[1]
        merged = torch.cat([hidden_bias[: 2 * size], torch.zeros(size)])
        self.from_input, self.from_hidden = _linear(from_input, input_bias + merged), _linear(from_hidden)
        self.register_buffer("candidate_bias", hidden_bias[2 * size :].clone())

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        reset, update, candidate = self.from_input(x).chunk(3, dim=1)
        if hidden is None:
            candidate = (candidate + reset.sigmoid() * self.candidate_bias).tanh()
            return cast(Tensor, candidate - update.sigmoid() * candidate)
        told = self.from_hidden(hidden).chunk(3, dim=1)
        reset, update = (reset + told[0]).sigmoid(), (update + told[1]).sigmoid()
        candidate = (candidate + reset * (told[2] + self.candidate_bias)).tanh()
        return cast(Tensor, candidate + update * (hidden - candidate))


class _Layers(nn.Module):
    """A whole LSTM or GRU: layers over each other, both ways where it was so."""

    def __init__(self, layer: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.batch_first, self.ways = layer.batch_first, 2 if layer.bidirectional else 1
        kind = _LSTMCell if isinstance(layer, nn.LSTM) else _GRUCell
        suffixes = [f"_l{number}{way}" for number in range(layer.num_layers) for way in ("", "_reverse")[: self.ways]]
        self.cells = nn.ModuleList([kind(layer, suffix) for suffix in suffixes])

    def forward(
        self, x: Tensor, state: Tensor | tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        batched = x.dim() == 3
        if not batched:
            x = x.unsqueeze(0 if self.batch_first else 1)
        if not self.batch_first:
            x = x.transpose(0, 1)
        last: list[tuple[Tensor, ...]] = []
        for first in range(0, len(self.cells), self.ways):
            answers = []
            for way in range(self.ways):
                number = first + way
                answer, end = self._through(self.cells[number], x, _of_cell(state, number, batched), backwards=way == 1)
                answers.append(answer)
                last.append(end)
            x = torch.cat(answers, dim=2) if self.ways == 2 else answers[0]
        if not self.batch_first:
            x = x.transpose(0, 1)
        ends = [torch.stack(parts) for parts in zip(*last, strict=True)]
        if not batched:
            x, ends = x.squeeze(0 if self.batch_first else 1), [end.squeeze(1) for end in ends]
        return x, (ends[0], ends[1]) if len(ends) == 2 else ends[0]

    def _through(
        self, cell: nn.Module, x: Tensor, state: tuple[Tensor, ...] | None, backwards: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        answers = []
        steps = range(x.shape[1])
        for step in reversed(steps) if backwards else steps:
            if isinstance(cell, _LSTMCell):
                state = cell(x[:, step], state)
            else:
                state = (cell(x[:, step], None if state is None else state[0]),)
            answers.append(cast("tuple[Tensor, ...]", state)[0])
        if backwards:
            answers.reverse()
        return torch.stack(answers, dim=1), cast("tuple[Tensor, ...]", state)


def _of_cell(state: Tensor | tuple[Tensor, Tensor] | None, number: int, batched: bool) -> tuple[Tensor, ...] | None:
    if state is None:
        return None
    parts = state if isinstance(state, tuple) else (state,)
    return tuple(part[number] if batched else part[number].unsqueeze(0) for part in parts)


def _gates(weights: nn.Module, kind: str, suffix: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of all gates, as torch stacks them; zeros where there is no bias."""
    weight = cast(Tensor, getattr(weights, f"weight_{kind}{suffix}")).detach()
    bias = cast("Tensor | None", getattr(weights, f"bias_{kind}{suffix}", None))
    return weight, torch.zeros(len(weight)) if bias is None else bias.detach()


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight.clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear
