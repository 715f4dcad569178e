"""Which cells must answer for which box, and what the detector's loss is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from demo_apps.detection._boxes import generalized_iou, pairwise_iou
from demo_apps.detection._network import cell_grid

__all__ = ["Assignment", "assign", "detection_loss", "holds_object"]

_CELLS_PER_BOX = 10
_SCORE_POWER, _OVERLAP_POWER = 0.5, 4.0
_LEAST_REACH = 0.75  # strides: a box smaller than a cell still has one
_EMPTY_WEIGHT = 0.75
_BOX_WEIGHT = 2.0


@dataclass(frozen=True)
class Assignment:
    """What the cells of a batch should answer.

    Attributes:
        scores: shape ``(n, cells, classes)``: the cell's share, at its class.
        shares: shape ``(n, cells)``, 0 to 1: how much the cell's box counts, 1 for the best cell of each true box.
        boxes: shape ``(n, cells, 4)``; of cells that answer for none it means nothing.
    """

    scores: Tensor
    shares: Tensor
    boxes: Tensor


@torch.no_grad()
def assign(boxes: Tensor, scores: Tensor, true_boxes: Tensor, true_labels: Tensor) -> Assignment:
    """Gives each true box the ten cells whose answers fit it best (task-aligned, Feng et al. 2021).

    How well a cell fits is ``probability ** 0.5 * IoU ** 4``; only cells whose middle lies in the box can. The best
    cell of a box should answer with 1, the others with less, in proportion. With the paper's answer, the IoU of the
    best cell, 205 partly labelled images taught less: AP50 0.883 on the validation, even to a larger net, for 0.893.

    Args:
        boxes: the detector's, ``(n, cells, 4)``.
        scores: the detector's logits, ``(n, cells, classes)``.
        true_boxes: ``(n, most, 4)``.
        true_labels: ``(n, most)``; -1 where an image has fewer boxes.
    """
    exists = true_labels >= 0
    labels = true_labels.clamp_min(0)
    overlap = pairwise_iou(true_boxes, boxes)
    probability = scores.sigmoid().transpose(1, 2).gather(1, labels.unsqueeze(-1).expand_as(overlap))
    possible = _reachable(true_boxes) & exists.unsqueeze(-1)
    fit = probability**_SCORE_POWER * (overlap + 1e-4) ** _OVERLAP_POWER * possible
    threshold = fit.topk(min(_CELLS_PER_BOX, fit.shape[-1]), dim=-1).values[..., -1:]
    chosen = possible & (fit >= threshold) & (fit > 0)
    fit = fit * chosen
    share = fit / fit.amax(-1, keepdim=True).clamp_min(1e-30)
    owner = (overlap * chosen).argmax(dim=1, keepdim=True)  # in several boxes: the one it overlaps most
    share = share.gather(1, owner).squeeze(1)
    cell_boxes = true_boxes.gather(1, owner.squeeze(1).unsqueeze(-1).expand(-1, -1, 4))
    cell_labels = labels.gather(1, owner.squeeze(1))
    cell_scores = torch.zeros_like(scores).scatter_(2, cell_labels.unsqueeze(-1), share.unsqueeze(-1))
    return Assignment(cell_scores, share, cell_boxes)


def detection_loss(boxes: Tensor, scores: Tensor, wanted: Assignment) -> Tensor:
    """Varifocal loss of all cells' scores plus twice the generalized IoU loss of the cells that own a box.

    Varifocal (Zhang et al. 2021): cross-entropy, weighted with the wanted score where there is one, and with the
    square of the answer where there is none, so that the many empty cells do not drown a rare class. Both losses are
    sums over cells divided by the sum of their weights.
    """
    cross = functional.binary_cross_entropy_with_logits(scores, wanted.scores, reduction="none")
    empty = _EMPTY_WEIGHT * scores.detach().sigmoid().square()
    classes = (cross * torch.where(wanted.scores > 0, wanted.scores, empty)).sum()
    owners = wanted.shares > 0
    misfit = (1 - generalized_iou(boxes[owners], wanted.boxes[owners])) * wanted.shares[owners]
    classes = classes / wanted.scores.sum().clamp_min(1.0)
    return classes + _BOX_WEIGHT * misfit.sum() / wanted.shares.sum().clamp_min(1.0)


def holds_object(true_boxes: Tensor, true_labels: Tensor) -> Tensor:
    """1 for the cells that may answer for some box, else 0: ``(n, cells)``; arguments as of ``assign``."""
    return (_reachable(true_boxes) & (true_labels >= 0).unsqueeze(-1)).any(1).float()


def _reachable(true_boxes: Tensor) -> Tensor:
    """Whether a cell's middle lies in a box, or close to the middle of a small one: ``(n, most, cells)``."""
    centres, strides = (value.to(true_boxes.device) for value in cell_grid())
    middle = (true_boxes[..., :2] + true_boxes[..., 2:]).unsqueeze(-2) / 2
    half = (true_boxes[..., 2:] - true_boxes[..., :2]).unsqueeze(-2) / 2
    reach = torch.maximum(half, strides.unsqueeze(-1) * _LEAST_REACH)
    return ((centres - middle).abs() < reach).all(-1)
