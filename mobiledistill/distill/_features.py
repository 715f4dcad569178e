"""Features: what the teacher sees on the way to its answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters import InputError
from mobiledistill.distill._base import Bound, Loss, OutputLoss, Pair, Step
from mobiledistill.distill._matching import LayerPair, matched_attention, matched_layers

__all__ = ["AttentionMaps", "AttentionTransfer", "Hints"]

_TINY = 1e-6


@dataclass(frozen=True)
class Hints(Loss):
    """``|adaptor(student) - teacher|^2 / |teacher|^2`` of each pair of layers (FitNets, Romero et al. 2015).

    The adaptor, a 1x1 convolution or a linear layer of each place, is learned with the student and thrown away: widths
    may differ. Divided by the teacher's own size the loss is a share, 1 for a student that says nothing, so one
    weight suits every network. You gain most where the student is deep and thin, or data are few; a student of few
    channels may spend them on imitating what it cannot use, and a rounded student goes on without. With sequences
    ``(batch, positions, width)`` it is the hidden-state loss of TinyBERT (Jiao et al. 2020), the embeddings included.

    With a ``mask`` only the places count where something is to be seen: for detection, the foreground (Wang et al.
    2019).

    Example:
        >>> loss = SoftTargets() + 0.5 * Hints()
        >>> loss = SoftTargets() + 0.5 * Hints({"body.3": "stages.2"})

    Args:
        layers: paths in the student to paths in the teacher, as ``named_modules`` tells them; None: found by size and
            depth, even where student and teacher differ in both.
        mask: the entry of ``Batch.targets`` that says which places count, ``(batch, height, width)`` or ``(batch,
            positions)``, of any size; None: all alike.

    Raises:
        InputError: when bound, where a layer does not exist, or the teacher is a file and has none.
    """

    layers: Mapping[str, str] | None = None
    mask: str | None = None

    def bind(self, pair: Pair) -> Bound:
        return _BoundHints(matched_layers(pair, self.layers), pair, self.mask)

    def of_outputs(self) -> OutputLoss | None:
        return None


@dataclass(frozen=True)
class AttentionTransfer(Loss):
    """``|Q(student) - Q(teacher)|^2``, ``Q`` the energy of a map over its places, brought to length 1.

    Where a convolutional teacher looks (Zagoruyko and Komodakis 2017), summed over channels, so widths may differ and
    nothing is learned beside the student. Cheaper and weaker than ``Hints``; it helps where objects are small in their
    picture and little where they fill it. Maps of different size meet at the smaller one's.

    Example:
        >>> loss = SoftTargets() + 100 * AttentionTransfer()

    Args:
        layers: as in ``Hints``; outputs must be ``(batch, channels, height, width)``.

    Raises:
        InputError: when bound, where a layer does not exist or is no map.
    """

    layers: Mapping[str, str] | None = None

    def bind(self, pair: Pair) -> Bound:
        return _BoundAttention(matched_layers(pair, self.layers, (4,)))

    def of_outputs(self) -> OutputLoss | None:
        return None


@dataclass(frozen=True)
class AttentionMaps(Loss):
    """``divergence(teacher's attention, student's)`` of every attention layer, as in TinyBERT and MiniLM.

    Which position looks at which (Jiao et al. 2020; Wang et al. 2020, who compare softened maps as here). Each layer
    of the student follows the one at the same share of the teacher's depth; where the numbers of heads differ, their
    means are compared. You gain the grammar of the teacher in the first epochs; it needs student and teacher to read
    the same positions. It sees what goes through ``scaled_dot_product_attention``, ``nn.MultiheadAttention`` included.

    Example:
        >>> loss = SoftTargets() + Hints() + AttentionMaps()  # TinyBERT's four parts

    Raises:
        InputError: when bound, where one of the two has no attention.
    """

    def bind(self, pair: Pair) -> Bound:
        return _BoundMaps(matched_attention(pair))

    def of_outputs(self) -> OutputLoss | None:
        return None


class _BoundPairs(Bound):
    def __init__(self, pairs: list[LayerPair]) -> None:
        super().__init__(*(tuple(dict.fromkeys(paths)) for paths in zip(*pairs, strict=True)))
        self.pairs = pairs

    def forward(self, step: Step) -> Tensor:
        losses = [
            self.compare(place, step.student_layers[one], step.teacher_layers[other], step)
            for place, (one, other) in enumerate(self.pairs)
        ]
        return torch.stack(losses).mean()

    @abstractmethod
    def compare(self, place: int, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        """The loss of one pair, by its number."""


class _BoundHints(_BoundPairs):
    def __init__(self, pairs: list[LayerPair], pair: Pair, mask: str | None) -> None:
        super().__init__(pairs)
        self.adaptors = nn.ModuleList(
            _adaptor(pair.student_layers[one], pair.teacher_layers[other]) for one, other in pairs
        )
        self._mask = mask

    def compare(self, place: int, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        student, teacher = _of_one_size(student, teacher)
        apart = (self.adaptors[place](student) - teacher).square()
        size = teacher.square()
        if self._mask is not None:
            counts = _resized(step.targets[self._mask], teacher)
            apart, size = apart * counts, size * counts
        share: Tensor = apart.sum() / size.sum().clamp_min(_TINY)
        return share


class _BoundAttention(_BoundPairs):
    def compare(self, place: int, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        student, teacher = _of_one_size(student, teacher)
        energies = [functional.normalize(maps.square().mean(1).flatten(1), dim=1) for maps in (student, teacher)]
        return (energies[0] - energies[1]).square().mean()


class _BoundMaps(_BoundPairs):
    def compare(self, place: int, student: Tensor, teacher: Tensor, step: Step) -> Tensor:
        if student.dim() == 4 and student.shape[1] != teacher.shape[1]:
            student, teacher = student.mean(1), teacher.mean(1)
        apart = functional.kl_div(student.clamp_min(_TINY).log(), teacher, reduction="none").sum(-1)
        return apart.mean()


def _adaptor(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
    if len(student) == 4:
        return nn.Conv2d(student[1], teacher[1], 1)
    return nn.Linear(student[-1], teacher[-1])


def _of_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Maps pooled to the smaller height and width of the two; sequences must agree already."""
    if student.dim() == 4 and student.shape[2:] != teacher.shape[2:]:
        size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
        return functional.adaptive_avg_pool2d(student, size), functional.adaptive_avg_pool2d(teacher, size)
    if student.dim() == 3 and student.shape[1] != teacher.shape[1]:
        raise InputError(
            f"Hints need student and teacher to read the same positions, but the layers give {student.shape[1]} and"
            f" {teacher.shape[1]}: name layers that fit."
        )
    return student, teacher


def _resized(mask: Tensor, like: Tensor) -> Tensor:
    """A mask at the size of a map or a sequence, with room for its channels."""
    mask = mask.to(like.dtype)
    if like.dim() == 4:
        return functional.adaptive_max_pool2d(mask.unsqueeze(1), like.shape[2:])
    if like.dim() == 3:
        return functional.adaptive_max_pool1d(mask.unsqueeze(1), like.shape[1]).squeeze(1).unsqueeze(-1)
    return mask.reshape(-1, 1)
