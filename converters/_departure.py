"""Where a file that departs from its module begins to: value by value, the module's beside the file's.

Files carry no module names, lay values out otherwise, and compute in one operator what a module spells in three. So a
value of the module is looked for among all that the file computes, whatever the order of its axes. One without a
counterpart, such as a convolution before its fused activation, counts as right where what is made of it is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from converters._computed import ComputedValue
from converters._convert import computed_values
from converters._names import layer_name, path_of
from converters._noise import sqnr_db
from converters._program import Program, export_program

__all__ = ["first_departure"]

_NOTHING_ALIKE_DB = 3.0
"""Below this, two values have no more to do with each other than one before and one behind an activation."""

_ALIKE_DB = 10.0
"""From this on, a value of the file that no other of the module's is closer to counts as the damaged counterpart."""

_REPAIRED_DB = 10.0
"""Where all that is made of a value errs a tenth as much, its error was none: clipped before a pooling, say."""

_QUANTILES = 512
_LEAST_LOSS_DB = 1.0

Arrays = Mapping[str, NDArray[np.generic]]
_Ends = Mapping[str, tuple[fx.Node, float]]
"""By the name of an output: what the module returns there, and how close the file's answer is."""


def first_departure(path: Path, program: Program, samples: Sequence[Arrays], due_db: float) -> str | None:
    """The first layer that loses what the file departs by, as its path in the module and its operator.

    ::

        image -> stem 94 dB -> first 21 dB -> second 19 dB -> logits 17 dB         "first (conv2d)"
        tokens -> norm 88 dB -> softmax 12 dB -> ...                               "softmax behind 'norm'"

    It runs the module and the file once for each sample and keeps all that they compute, so it is for the time after
    parity has failed.

    Args:
        path: the file.
        program: the module's signature.
        samples: inputs by name, each of batch 1.
        due_db: how close values come in a file without faults.

    Returns:
        None where the values cannot tell: no single layer loses anything.
    """
    exported = export_program(program)
    graph = exported.module(check_guards=False)
    recorded = _record(graph, samples)
    found = _Found(list(computed_values(path, samples, program.name)))
    own = {node: found.closest(values) for node, values in recorded.items()}
    returned = zip(program.outputs, _returned(graph.graph), strict=True)
    ends = {name: (node, found.named_db(name, recorded[node])) for name, node in returned if node in recorded}
    return _first_loss(graph.graph, _kept_db(graph.graph, own, ends), set(recorded), ends, due_db)


def _first_loss(
    graph: fx.Graph, kept: Mapping[fx.Node, float], floats: set[fx.Node], ends: _Ends, due_db: float
) -> str | None:
    """Goes through the graph for the first node that loses at least half as many dB as the one that loses most."""
    losses: list[tuple[float, fx.Node | str]] = []
    read: dict[fx.Node, float] = {}
    for node in graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            read[node] = due_db
            continue
        sources = [read[source] for source in node.all_input_nodes if source in read]
        if not sources:  # what never changes
            continue
        before = min(sources)
        if node not in floats:  # integers and truths: what reads them tells
            read[node] = before
            continue
        read[node] = min(due_db, kept[node])
        losses.append((before - read[node], node))
    losses += [(read[node] - min(due_db, db), f"output {name!r}") for name, (node, db) in ends.items() if node in read]
    most = max((loss for loss, _ in losses), default=0.0)
    if most < _LEAST_LOSS_DB:
        return None
    first = next(layer for loss, layer in losses if loss >= most / 2)
    return first if isinstance(first, str) else layer_name(first, _constant_path)


def _kept_db(graph: fx.Graph, own: Mapping[fx.Node, _Closest], ends: _Ends) -> dict[fx.Node, float]:
    """How right each value is: as its counterpart in the file or, without one, as the best of what is made of it."""
    nearest: dict[int, float] = {}
    for closest in own.values():
        nearest[closest.place] = max(closest.db, nearest.get(closest.place, 0.0))
    kept: dict[fx.Node, float] = {}
    for node in reversed(graph.nodes):
        if node.op == "output":
            continue
        closest = own.get(node, _Closest(_NOTHING_ALIKE_DB, -1))
        made = [kept[user] for user in node.users if user in kept]
        made += [db for end, db in ends.values() if end is node]
        if closest.db < max(_ALIKE_DB, nearest.get(closest.place, 0.0) - _LEAST_LOSS_DB):
            kept[node] = max([closest.db, *made])
        else:
            repaired = min(made, default=0.0)
            kept[node] = repaired if repaired >= closest.db + _REPAIRED_DB else closest.db
    return kept


def _constant_path(node: fx.Node) -> str | None:
    return path_of(str(node.target)) if node.op == "get_attr" else None


def _returned(graph: fx.Graph) -> list[fx.Node]:
    (output,) = graph.find_nodes(op="output")
    return list(_flat(output.args[0]))


def _flat(returned: Any) -> Iterator[fx.Node]:
    if isinstance(returned, fx.Node):
        yield returned
    elif isinstance(returned, Mapping):
        for value in returned.values():
            yield from _flat(value)
    elif isinstance(returned, list | tuple):
        for value in returned:
            yield from _flat(value)


def _record(module: fx.GraphModule, samples: Sequence[Arrays]) -> dict[fx.Node, NDArray[np.float32]]:
    """What every node computes in floats, samples stacked in front."""
    recorders = [_Recorder(module) for _ in samples]
    for recorder, sample in zip(recorders, samples, strict=True):
        with torch.no_grad():
            recorder.run(*(torch.from_numpy(np.ascontiguousarray(value)) for value in sample.values()))
    return {node: np.stack([one.values[node] for one in recorders]) for node in recorders[0].values}


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[fx.Node, NDArray[np.float32]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, Tensor) and value.is_floating_point():
            self.values[n] = value.float().numpy()
        return value


@dataclass(frozen=True)
class _Closest:
    """How close the file comes to a value, and which of its values does."""

    db: float
    place: int


@dataclass(frozen=True, eq=False)
class _Candidate:
    place: int
    values: NDArray[np.float32]
    quantiles: NDArray[np.float32]


class _Found:
    """All that a file computes, to be looked through."""

    def __init__(self, computed: Sequence[list[ComputedValue]]) -> None:
        self._outputs: dict[str, NDArray[np.float32]] = {}
        self._by_size: dict[int, list[_Candidate]] = {}
        for place, parts in enumerate(zip(*computed, strict=True)):
            values = np.stack([part.values.astype(np.float32) for part in parts])
            if parts[0].output:
                self._outputs[parts[0].output] = values
            if np.isfinite(values).all():
                self._by_size.setdefault(values[0].size, []).append(_Candidate(place, values, _quantiles(values)))

    def named_db(self, output: str, values: NDArray[np.float32]) -> float:
        """How close the file's answer of that name comes."""
        return max(_NOTHING_ALIKE_DB, sqnr_db(values, self._outputs[output])) if output in self._outputs else 0.0

    def closest(self, values: NDArray[np.float32]) -> _Closest:
        """Which value of the file comes closest, over all orders of axes."""
        quantiles = _quantiles(values)
        best = _Closest(_NOTHING_ALIKE_DB, -1)
        for candidate in self._by_size.get(values[0].size, []):
            # No order of values is closer to others than the sorted ones to the sorted ones.
            if sqnr_db(quantiles, candidate.quantiles) < best.db - 1:
                continue
            for turned in _layouts(candidate.values, values.shape):
                db = sqnr_db(values, turned)
                best = _Closest(db, candidate.place) if db > best.db else best
        return best


def _quantiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    ordered = np.sort(values, axis=None)
    return ordered[np.linspace(0, ordered.size - 1, min(_QUANTILES, ordered.size)).astype(np.intp)]


def _layouts(values: NDArray[np.float32], shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """The values in a shape: as they lie, and in every other order of axes; the leading one are the samples."""
    yield values.reshape(shape)
    wanted = [length for length in shape[1:] if length > 1]
    dense = values.reshape(len(values), *(length for length in values.shape[1:] if length > 1))
    if sorted(wanted) != sorted(dense.shape[1:]):
        return
    for order in itertools.permutations(range(1, dense.ndim)):
        if list(order) != sorted(order) and [dense.shape[axis] for axis in order] == wanted:
            yield dense.transpose(0, *order).reshape(shape)
