"""Recurrent layers taken apart answer what the whole layers answer."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from mobiledistill.quantize._recurrent import take_apart


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: object) -> object:
        return self.layer(*inputs)


def _apart(layer: nn.Module) -> nn.Module:
    held = take_apart(Holder(layer))
    assert not any(isinstance(part, nn.RNNBase | nn.RNNCellBase) for part in held.modules())
    return held


def _flat(answer: object) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else [value for part in answer for value in _flat(part)]  # type: ignore[attr-defined]  # else a tuple


@pytest.mark.parametrize(
    ("kind", "layers", "both_ways", "batch_first", "bias"),
    list(itertools.product((nn.LSTM, nn.GRU), (1, 2), (False, True), (False, True), (True, False))),
)
@torch.no_grad()
def test_layers_answer_the_same(
    kind: type[nn.LSTM] | type[nn.GRU], layers: int, both_ways: bool, batch_first: bool, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = kind(5, 7, layers, bidirectional=both_ways, batch_first=batch_first, bias=bias).eval()
    x = torch.randn((2, 6, 5) if batch_first else (6, 2, 5))
    apart = _apart(layer)
    for given, answered in zip(_flat(layer(x)), _flat(apart(x)), strict=True):
        torch.testing.assert_close(answered, given)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@torch.no_grad()
def test_layers_start_from_the_state_they_are_given(kind: type[nn.LSTM] | type[nn.GRU]) -> None:
    torch.manual_seed(1)
    layer = kind(5, 7, 2, bidirectional=True).eval()
    x, state = torch.randn(6, 3, 5), torch.randn(4, 3, 7)
    given = (state, 0.5 * state) if kind is nn.LSTM else state
    for expected, answered in zip(_flat(layer(x, given)), _flat(_apart(layer)(x, given)), strict=True):
        torch.testing.assert_close(answered, expected)


@torch.no_grad()
def test_a_sequence_without_a_batch_is_read_as_before() -> None:
    layer = nn.GRU(5, 7, bidirectional=True).eval()
    x, state = torch.randn(6, 5), torch.randn(2, 7)
    for expected, answered in zip(_flat(layer(x, state)), _flat(_apart(layer)(x, state)), strict=True):
        torch.testing.assert_close(answered, expected)


@torch.no_grad()
def test_cells_answer_the_same() -> None:
    x, hidden, memory = torch.randn(3, 5), torch.randn(3, 7), torch.randn(3, 7)
    long, gated = nn.LSTMCell(5, 7).eval(), nn.GRUCell(5, 7).eval()
    for state in ((), ((hidden, memory),)):
        for expected, answered in zip(_flat(long(x, *state)), _flat(_apart(long)(x, *state)), strict=True):
            torch.testing.assert_close(answered, expected)
    for last in ((), (hidden,)):
        torch.testing.assert_close(_apart(gated)(x, *last), gated(x, *last))


def test_a_projected_lstm_stays_whole() -> None:
    held = take_apart(Holder(nn.LSTM(5, 7, proj_size=3)))
    assert isinstance(held.layer, nn.LSTM)
