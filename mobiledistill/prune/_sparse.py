"""Unstructured pruning: single weights, or blocks of neighbours, become zeros while a network learns on.

The wish is data (``Sparsity``), ``sparsify`` puts masks on a copy's weights, the one training loop moves them, and
``without_masks`` leaves plain layers whose pruned weights are zeros. ``hold_zeros`` keeps those where they are through
any later training, quantized or not.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from converters import InputError
from mobiledistill._parametrized import make_plain
from mobiledistill.quantize._modules import QuantizedLayer
from mobiledistill.quantize._weights import CodedLayer, IntegerWeight, Weighted

__all__ = ["Sparsity", "follow", "hold_zeros", "is_masked", "layer_shares", "sparsify", "without_masks", "zero_shares"]

_LEAST_WEIGHTS = 256  # of a layer that is pruned without being named: smaller ones cost more than they save
_CHOICES = 100  # how often masks are chosen anew between begin and end
_SETTLED = _CHOICES + 1  # masks that are never chosen again


@dataclass(frozen=True)
class Sparsity:
    """How many weights become zeros, which, and when.

    You gain bytes of the download: ``pack`` codes a zero in a fraction of a bit, and networks lose little until nine
    weights of ten are gone. You gain nothing else by itself: a .tflite, .onnx or .mlpackage stores zeros as it stores
    any number, and is as large and as slow as before. Only XNNPACK's sparse kernels run faster, on 1 x 1 convolutions
    of 70 % zeros and more in files that say so, which our converters do not write; they like ``block=2`` or ``4``.
    Where speed or the file on the phone counts, cut channels instead.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> masked = sparsify(net, Sparsity({"0": 0.9}))  # now train it, with net as its teacher
        >>> {path: round(share, 3) for path, share in zero_shares(without_masks(masked)).items()}
        {'0': 0.9, '2': 0.0}

    Args:
        share: of zeros, 0 to 1, 1 excluded; by the layer's path, or one number for all layers together, which
            ``layer_shares`` parts.
        by: what a weight must have to stay. ``"magnitude"``: size. ``"movement"``: it has moved away from zero while
            it learned (Sanh, Wolf, Rush 2020), better where a pretrained network learns something new, and worse where
            few weights leave.
        block: output channels whose weights for one input go together; 1: each weight goes alone.
        begin: progress of the training, 0 to 1, at which the first weights leave.
        end: progress at which the last ones have left; what remains of the training repairs. In between the share
            rises as a cubic, fast at first (Zhu and Gupta 2017).
        regrow: pruned weights go on learning until ``end``, and come back where others turn out to be smaller (Guo,
            Yao, Chen 2016); it keeps far fewer weights at the same loss. Movement always lets them.

    Raises:
        InputError: an argument is out of range.
    """

    share: float | Mapping[str, float]
    by: Literal["magnitude", "movement"] = "magnitude"
    block: int = 1
    begin: float = 0.0
    end: float = 0.7
    regrow: bool = True

    def __post_init__(self) -> None:
        for path, share in (self.share if isinstance(self.share, Mapping) else {"share": self.share}).items():
            if not 0 <= share < 1:
                raise InputError(f"{path} must be a share of zeros in 0..1, 1 excluded, but got {share!r}.")
        if self.by not in ("magnitude", "movement"):
            raise InputError(f"by must be 'magnitude' or 'movement', but got {self.by!r}.")
        if type(self.block) is not int or self.block < 1:
            raise InputError(f"block must be a whole number of 1 or more, 4 is usual, but got {self.block!r}.")
        if not 0 <= self.begin < self.end <= 1:
            raise InputError(f"A Sparsity needs 0 <= begin < end <= 1, but got {self.begin!r} and {self.end!r}.")


def sparsify(module: nn.Module, sparsity: Sparsity) -> nn.Module:
    """A copy with masks on its weights, which the training loop moves as its training goes on.

    Train it as any module (``train_model``, or ``Lesson`` and ``fit``), then call ``without_masks``. Weights of
    convolutions, linear layers and embeddings are pruned, also where ``quantize.prepare`` made them integers; biases,
    norms and recurrent layers are not, nor is a weight that several layers share. Palettes come last: prune, then
    ``quantize.prepare`` with a ``Palette``, which keeps an entry for the zeros.

    Args:
        module: trained, or what ``quantize.prepare`` made of it; not touched.
        sparsity: how many zeros, by what and when.

    Raises:
        InputError: a path names no layer that can be pruned, or there is none.
    """
    copied = copy.deepcopy(module)
    sites = dict(_sites(copied))
    shares = sparsity.share
    if not isinstance(shares, Mapping):
        shares = layer_shares(copied, shares, block=sparsity.block)
    for path, share in shares.items():
        owner = _owner(copied, sites, path)
        mask = _Mask(_weight(owner), share, sparsity, _output_axis(owner))
        parametrize.register_parametrization(owner, "weight", mask)
    return copied


def layer_shares(module: nn.Module, share: float, *, block: int = 1) -> dict[str, float]:
    """Which share of zeros each layer gets where all together get ``share``, by the layer's path.

    Weights of all layers are ranked by their square over that of all in the layer that are no smaller (LAMP; Lee et al.
    2021): layers of few weights keep more. The answer may be edited, and is what ``Sparsity`` takes. Layers of less
    than 256 weights are left out.

    Args:
        module: trained.
        share: of zeros, 0 to 1, 1 excluded.
        block: as in ``Sparsity``.

    Raises:
        InputError: the share is out of range, or no layer can be pruned.
    """
    Sparsity(share, block=block)  # refuses what it would refuse
    owners = {path: owner for path, owner in _sites(module) if _weight(owner).numel() >= _LEAST_WEIGHTS}
    if not owners:
        raise InputError(
            f"{type(module).__name__} has no layer of {_LEAST_WEIGHTS} weights or more that can be pruned; give a"
            " Sparsity whose share names smaller ones."
        )
    scores = {path: _relative(_blocks(_weight(one).square(), block, _output_axis(one))) for path, one in owners.items()}
    weights = {path: _weight(one).numel() / len(scores[path]) for path, one in owners.items()}  # of a block
    ranked, order = torch.cat(list(scores.values())).sort()
    sizes = torch.cat([torch.full((len(scores[path]),), size) for path, size in weights.items()])[order]
    gone = int(torch.searchsorted(sizes.cumsum(0), share * float(sizes.sum())))
    threshold = ranked[min(gone, len(ranked) - 1)]
    return {path: min(float((one < threshold).double().mean()), 1 - 1 / len(one)) for path, one in scores.items()}


def hold_zeros(module: nn.Module) -> nn.Module:
    """A copy whose weights that are zero stay so, whatever it learns; ``quantize.freeze`` and ``without_masks`` end it.

    For students that were pruned and are to be trained on, most of all what ``quantize.prepare`` made of them. Palettes
    need no holding: they keep their zeros by themselves.

    Args:
        module: a pruned module, or what ``quantize.prepare`` made of one; not touched.

    Raises:
        InputError: a layer of ``WeightOnly(1)`` lost the zeros that it was given, since signs have none.
    """
    copied = copy.deepcopy(module)
    for path, owner in _sites(copied):
        weight = _weight(owner)
        if bool((weight == 0).any()):
            if _is_of_signs(owner):
                raise InputError(
                    f"{path} was pruned, but its weights are signs, which have no zero; take WeightOnly(2)."
                )
            parametrize.register_parametrization(owner, "weight", _Mask(weight, 0.0, None, 0))
    return copied


def without_masks(module: nn.Module) -> nn.Module:
    """A copy with plain layers, in which pruned weights are zeros: what is exported, and what ``prepare`` takes.

    A training that ended before the ``Sparsity`` did is made up for here: the full share of weights leaves.

    Args:
        module: what ``sparsify`` or ``hold_zeros`` returned, trained; not touched.
    """
    copied = copy.deepcopy(module)
    for mask, weight in _masks(copied):
        mask.settle(weight)
    make_plain(copied, lambda one: isinstance(one, _Mask))
    return copied


def zero_shares(module: nn.Module) -> dict[str, float]:
    """The share of zeros in each layer's weight, by the layer's path."""
    found = {}
    for path, part in module.named_modules():
        if isinstance(part, CodedLayer) or (isinstance(part, Weighted | QuantizedLayer) and hasattr(part, "weight")):
            with torch.no_grad():
                weight = part.quantized_weight() if isinstance(part, QuantizedLayer) else part.weight
                found[path] = float((weight == 0).double().mean())
    return found


def follow(module: nn.Module, progress: float) -> None:
    """Tells the masks of a module how much of its training is over, 0 to 1; the training loop does."""
    for mask, weight in _masks(module):
        mask.follow(weight, progress)


def is_masked(module: nn.Module) -> bool:
    """Whether anything within a module has a mask."""
    return any(_masks(module))


class _Mask(nn.Module):
    """Makes a weight of a weight: the same, with zeros.

    All that it does follows from its buffers, so that a checkpoint, and the digest of a training, hold the wish too.

    Args:
        weight: that it is for.
        share: of zeros, at the end.
        sparsity: when, by what; None: the zeros that are there, for good.
        axis: of the output channels.
    """

    kept: Tensor
    wish: Tensor
    choice: Tensor
    scores: nn.Parameter | None

    def __init__(self, weight: Tensor, share: float, sparsity: Sparsity | None, axis: int) -> None:
        super().__init__()
        by_movement = sparsity is not None and sparsity.by == "movement"
        wish = sparsity or Sparsity(0.0)
        self._axis = axis
        self.register_buffer("kept", weight != 0 if sparsity is None else torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("wish", torch.tensor([share, wish.begin, wish.end, wish.block, wish.regrow]).double())
        self.register_buffer("choice", torch.tensor(_SETTLED if sparsity is None else -1))
        self.scores = nn.Parameter(torch.zeros(weight.numel())) if by_movement else None  # flat: they do not decay

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with zeros; gradients reach what may come back."""
        masked = torch.where(self.kept, weight, 0.0)
        if not self.training or int(self.choice) >= _CHOICES:
            return masked
        if (
            self.scores is not None
        ):  # in value nothing: a score's gradient is that of the masked weight, times the weight
            return masked + (self.scores - self.scores.detach()).view_as(weight) * weight.detach()
        return weight + (masked - weight).detach() if bool(self.wish[4]) else masked

    def follow(self, weight: Tensor, progress: float) -> None:
        """Chooses anew what stays, a hundred times between begin and end."""
        begin, end = float(self.wish[1]), float(self.wish[2])
        choice = int(min(1.0, max(0.0, (progress - begin) / (end - begin))) * _CHOICES)
        if progress >= begin and choice > int(self.choice):
            self._choose(weight, choice)

    def settle(self, weight: Tensor) -> None:
        """Chooses for the last time, if that was not done."""
        if int(self.choice) < _CHOICES:
            self._choose(weight, _CHOICES)

    def _choose(self, weight: Tensor, choice: int) -> None:
        self.choice.fill_(choice)
        share = float(self.wish[0]) * (1 - (1 - choice / _CHOICES) ** 3)
        block = int(self.wish[3])
        scores = weight.abs() if self.scores is None else self.scores.detach().view_as(weight)
        ranked = _blocks(scores, block, self._axis)
        kept = torch.zeros_like(ranked, dtype=torch.bool)
        kept[ranked.topk(len(ranked) - round(share * len(ranked))).indices] = True
        moved = weight.movedim(self._axis, 0)
        rows = kept.view(-1, *moved.shape[1:]).repeat_interleave(block, 0)[: len(moved)]
        self.kept.copy_(rows.movedim(0, self._axis))


def _blocks(scores: Tensor, block: int, axis: int) -> Tensor:
    """The mean score of each block of output channels, one row of blocks behind the other; the last may be smaller."""
    rows = scores.movedim(axis, 0).flatten(1)
    if block == 1:
        return rows.flatten()
    return torch.stack([part.mean(0) for part in torch.split(rows, block)]).flatten()


def _relative(squares: Tensor) -> Tensor:
    """Each square over the sum of all that are no smaller."""
    ascending, order = squares.double().sort()
    behind = ascending.flip(0).cumsum(0).flip(0)
    return torch.empty_like(ascending).scatter_(0, order, ascending / behind.clamp_min(1e-300))


def _sites(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path of each layer that can be pruned, and the part that owns its weight."""
    found: list[tuple[str, nn.Module]] = []
    for path, part in module.named_modules():
        owner = part.code if isinstance(part, CodedLayer) else part
        if owner is not part and not isinstance(owner, IntegerWeight):
            continue  # a palette
        if isinstance(part, Weighted | QuantizedLayer | CodedLayer) and "weight" in owner._parameters:
            found.append((path, owner))
    owners = Counter(id(owner._parameters["weight"]) for _, owner in found)
    yield from ((path, owner) for path, owner in found if owners[id(owner._parameters["weight"])] == 1)


def _owner(module: nn.Module, sites: Mapping[str, nn.Module], path: str) -> nn.Module:
    """The part at a path that owns the weight to be pruned."""
    parts = dict(module.named_modules())
    owner = sites.get(path)
    if owner is not None and not _is_of_signs(owner):
        return owner
    if owner is not None:
        why = "whose weights are signs, which have no zero; take WeightOnly(2)"
    elif path not in parts:
        why = f"which is not there; there are {', '.join(sites) or 'none'}"
    elif is_masked(parts[path]):
        why = "which has a mask already; call without_masks first"
    elif isinstance(parts[path], CodedLayer):
        why = "which is a palette; prune before quantize.prepare"
    else:
        why = "which has no weight of its own: convolutions, linear layers and embeddings have, unless they share it"
    raise InputError(f"The sparsity names {path!r}, {why}.")


def _is_of_signs(owner: nn.Module) -> bool:
    return isinstance(owner, IntegerWeight) and not owner.has_zero


def _weight(owner: nn.Module) -> Tensor:
    return cast(Tensor, owner._parameters["weight"]).detach()


def _output_axis(owner: nn.Module) -> int:
    if isinstance(owner, IntegerWeight):
        return owner.axis
    return 1 if isinstance(owner, nn.ConvTranspose1d | nn.ConvTranspose2d) and owner.groups == 1 else 0


def _masks(module: nn.Module) -> Iterator[tuple[_Mask, Tensor]]:
    """Each mask within a module, and the weight that it is on as it was before."""
    for part in module.modules():
        if parametrize.is_parametrized(part, "weight"):
            steps = cast(nn.ModuleDict, part.parametrizations)["weight"]
            for mask in cast(parametrize.ParametrizationList, steps):
                if isinstance(mask, _Mask):
                    yield mask, cast(Tensor, steps.original).detach()
