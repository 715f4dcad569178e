"""Hidden units of recurrent layers, so that they leave as channels of other layers do.

Torch-Pruning follows a recurrent layer into the arithmetic of its gates, and its own cutting of LSTMs forgets half of
their weights. While the graph is read, a stand-in takes the layer's place: it couples what the layer couples, and
cutting it cuts the layer. Unit i leaves in all layers of a stack and in both directions at once, since torch gives
them one size; with it go all its gates, what it tells the others, and what the next layer reads of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

__all__ = ["RECURRENT", "Units", "matrices", "standing_in", "units_pruner"]

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)


class Units(nn.Module):
    """Stands for one layer and one direction of a recurrent module while the graph is read, and cuts it later.

    Args:
        layer: the recurrent module.
        suffix: of the names of its weights, such as ``_l0_reverse``; of cells empty.
    """

    layer: nn.Module

    def __init__(self, layer: nn.Module, suffix: str) -> None:
        super().__init__()
        self.__dict__["layer"] = layer  # beside, not inside
        self.suffix = suffix
        self.anchor = nn.Parameter(torch.zeros(()))  # what the graph hangs on where the input learns nothing

    @property
    def size(self) -> int:
        """How many units there are."""
        return self.tensor("weight_hh").shape[1]

    @property
    def reads(self) -> int:
        """How many inputs they read."""
        return self.tensor("weight_ih").shape[1]

    @property
    def is_first(self) -> bool:
        """Whether they read what the module is given."""
        return self.suffix in ("", "_l0", "_l0_reverse")

    def tensor(self, kind: str) -> Tensor:
        """One of the layer's weights."""
        return self.layer.get_parameter(kind + self.suffix)

    def rows(self, units: Sequence[int]) -> list[int]:
        """Where the gates of some units lie."""
        gates = self.tensor("weight_hh").shape[0] // self.size
        return [gate * self.size + unit for gate in range(gates) for unit in units]

    def kinds(self) -> list[str]:
        """The weights that have a row for each gate."""
        return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if getattr(self.layer, "bias", False) else [])]

    def keep(self, kind: str, axis: int, places: Sequence[int]) -> None:
        """Makes one of the layer's weights smaller."""
        old = self.tensor(kind)
        new = nn.Parameter(old.detach().index_select(axis, torch.tensor(places, device=old.device)))
        if "_flat_weights" in self.layer.__dict__:  # a list of its own: others may hold the old one
            self.layer.__dict__["_flat_weights"] = list(self.layer.__dict__["_flat_weights"])
        setattr(self.layer, kind + self.suffix, new)

    def forward(self, x: Tensor) -> Tensor:
        """Nothing, in the right shape and behind the input."""
        return _behind(x, self.anchor, (*x.shape[:-1], self.size))


def matrices(layer: nn.Module) -> dict[str, Tensor]:
    """The matrices of a recurrent layer by the names of its weights."""
    return {name: value for name, value in layer.named_parameters(recurse=False) if value.dim() == 2}


@contextmanager
def standing_in(module: nn.Module) -> Iterator[list[nn.Module]]:
    """While this lasts, stand-ins answer for the recurrent layers, which are given."""
    layers: list[nn.Module] = [
        part for part in module.modules() if isinstance(part, RECURRENT) and not getattr(part, "proj_size", 0)
    ]
    for layer in layers:
        units = [Units(layer, suffix) for suffix in _suffixes(layer)]
        layer.add_module("units", nn.ModuleList(units))
        layer.__dict__["forward"] = _stand_in(layer, units)
    try:
        yield layers
    finally:
        for layer in layers:
            del layer.__dict__["forward"], layer._modules["units"]


def units_pruner() -> Any:
    """What Torch-Pruning cuts units with."""
    import torch_pruning as tp

    class Pruner(tp.BasePruningFunc):  # type: ignore[misc]  # untyped
        def prune_out_channels(self, layer: Units, idxs: Sequence[int]) -> Units:
            kept = _without(layer.size, idxs)
            rows = layer.rows(kept)
            layer.keep("weight_hh", 1, kept)
            for kind in layer.kinds():
                layer.keep(kind, 0, rows)
            layer.layer.__dict__["hidden_size"] = len(kept)
            return layer

        def prune_in_channels(self, layer: Units, idxs: Sequence[int]) -> Units:
            layer.keep("weight_ih", 1, _without(layer.reads, idxs))
            if layer.is_first:
                layer.layer.__dict__["input_size"] = layer.reads
            return layer

        def get_out_channels(self, layer: Units) -> int:
            return layer.size

        def get_in_channels(self, layer: Units) -> int:
            return layer.reads

    return Pruner()


class _Behind(torch.autograd.Function):
    """Zeros of some shape that the graph sees behind other tensors."""

    @staticmethod
    def forward(_: Any, first: Tensor, __: Tensor, shape: tuple[int, ...]) -> Tensor:
        return first.new_zeros(shape)


class _Beside(torch.autograd.Function):
    """The first tensor; the graph sees the others beside it, so that their channels leave with its own."""

    @staticmethod
    def forward(_: Any, first: Tensor, *__: Tensor) -> Tensor:
        return first.clone()


def _suffixes(layer: nn.Module) -> list[str]:
    if not isinstance(layer, nn.RNNBase):
        return [""]
    ways = ("", "_reverse") if layer.bidirectional else ("",)
    return [f"_l{number}{way}" for number in range(layer.num_layers) for way in ways]


def _stand_in(layer: nn.Module, units: list[Units]) -> Callable[..., Any]:
    if not isinstance(layer, nn.RNNBase):
        return _cell_stand_in(layer, units[0])
    ways = 2 if layer.bidirectional else 1

    def answer(
        x: Tensor | PackedSequence, state: Any = None, hx: Any = None
    ) -> tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, Tensor]]:
        data = x.data if isinstance(x, PackedSequence) else x
        answers: list[Tensor] = []
        reads = data
        for number in range(layer.num_layers):
            both = [one(reads) for one in units[number * ways : (number + 1) * ways]]
            answers += both
            reads = torch.cat(both, -1) if ways == 2 else both[0]
        together = _together(answers[-1], *answers[:-1], *_tensors(state if hx is None else hx))
        out = torch.cat([together * 1, together * 1], -1) if ways == 2 else together * 1
        samples = () if data.dim() == 2 and data is x else (_samples(layer, x),)
        end = _behind(together, together, (len(units), *samples, units[0].size))
        ends = (end, end * 1) if isinstance(layer, nn.LSTM) else end
        if isinstance(x, PackedSequence):
            return PackedSequence(out, x.batch_sizes, x.sorted_indices, x.unsorted_indices), ends
        return out, ends

    return answer


def _cell_stand_in(layer: nn.Module, units: Units) -> Callable[..., Any]:
    def answer(x: Tensor, state: Any = None, hx: Any = None) -> Tensor | tuple[Tensor, Tensor]:
        together = _together(units(x), *_tensors(state if hx is None else hx))
        return (together * 1, together * 1) if isinstance(layer, nn.LSTMCell) else together * 1

    return answer


def _behind(first: Tensor, second: Tensor, shape: tuple[int, ...]) -> Tensor:
    return cast(Tensor, _Behind.apply(first, second, shape))  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _together(first: Tensor, *others: Tensor) -> Tensor:
    return cast(Tensor, _Beside.apply(first, *others))  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _tensors(state: Any) -> tuple[Tensor, ...]:
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)


def _samples(layer: nn.RNNBase, x: Tensor | PackedSequence) -> int:
    return int(x.batch_sizes[0]) if isinstance(x, PackedSequence) else x.shape[0 if layer.batch_first else 1]


def _without(count: int, gone: Sequence[int]) -> list[int]:
    leaves = set(gone)
    return [place for place in range(count) if place not in leaves]
