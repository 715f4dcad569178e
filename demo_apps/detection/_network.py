"""The detector's architecture, which is also a family of students, and how its raw answers become boxes."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_apps.detection._image import HEIGHT, WIDTH
from mobiledistill.quantize import KeepFloat

__all__ = ["CELLS", "STRIDES", "BoxDecoding", "CellDetector", "Detector", "cell_grid"]

STRIDES = (8, 16)
"""Pixels from one cell to the next, per level; 240 is no multiple of 32, and the largest box spans 11 cells of 16."""

CELLS = sum((HEIGHT // stride) * (WIDTH // stride) for stride in STRIDES)
"""Cells of all levels together; each answers with one box."""

_PRIOR_CELLS = 5.0
_PRIOR_SCORE = 0.02


class Detector(nn.Module):
    """An anchor-free detector of plain convolutions, ReLU, additions and one nearest upsampling.

    A residual trunk reads the image down to strides 8 and 16; a feature pyramid gives the fine level what the coarse
    one has seen; each level has a head for classes and one for boxes, of its own, so each has an integer grid of its
    own too.

    Args:
        classes: how many classes.
        width: channels at strides 2, 4, 8 and 16, in units of one, two, four and eight times this.
        blocks: residual blocks at strides 4, 8 and 16.
    """

    def __init__(self, classes: int, width: int = 16, blocks: tuple[int, int, int] = (1, 2, 3)) -> None:
        super().__init__()
        fine, coarse = 4 * width, 8 * width
        self.stem = _ConvNorm(3, width, stride=2)
        self.stride4 = _stage(width, 2 * width, blocks[0])
        self.stride8 = _stage(2 * width, fine, blocks[1])
        self.stride16 = _stage(fine, coarse, blocks[2])
        self.lateral = _ConvNorm(coarse, fine, kernel=1)
        self.fine = _ConvNorm(fine, fine)
        self.down = _ConvNorm(fine, fine, stride=2)
        self.coarse = _ConvNorm(fine, fine)
        self.heads = nn.ModuleList(_Heads(fine, classes) for _ in STRIDES)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images ``(n, 3, 240, 320)``, RGB in 0..1, to raw maps: scores and boxes at stride 8, then at stride 16.

        Scores are logits, one channel a class. Boxes are four numbers a cell; ``BoxDecoding`` says what they mean.
        """
        middle = self.stride8(self.stride4(self.stem(image).relu()))
        deep = self.lateral(self.stride16(middle)).relu()
        fine = self.fine(middle + functional.interpolate(deep, scale_factor=2.0, mode="nearest")).relu()
        coarse = self.coarse(deep + self.down(fine).relu()).relu()
        fine_scores, fine_boxes = self.heads[0](fine)
        scores, boxes = self.heads[1](coarse)
        return fine_scores, fine_boxes, scores, boxes


class BoxDecoding(KeepFloat):
    """From raw maps to all cells' boxes and scores; floats, since pixels need finer steps than 8 bits have.

    The four numbers ``(x, y, w, h)`` of a cell are its box's middle, in strides from the cell's own middle, and the
    logarithms of its width and height in units of five strides. So all four stay within about -2..2, and one
    integer step is an eighth of a pixel of the middle and 1.5 % of the size. Distances to the four sides would
    need twice the range.
    """

    centres: Tensor
    strides: Tensor

    def __init__(self) -> None:
        super().__init__()
        centres, strides = cell_grid()
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides.unsqueeze(-1), persistent=False)

    def forward(self, fine_scores: Tensor, fine_boxes: Tensor, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The four raw maps to ``boxes`` ``(n, cells, 4)`` in pixels and ``scores`` ``(n, cells, classes)``, logits."""
        raw = torch.cat([fine_boxes.flatten(2), boxes.flatten(2)], dim=2).transpose(1, 2)
        logits = torch.cat([fine_scores.flatten(2), scores.flatten(2)], dim=2).transpose(1, 2)
        middle = self.centres + raw[:, :, :2] * self.strides
        half = raw[:, :, 2:].exp() * (self.strides * (_PRIOR_CELLS / 2))
        return torch.cat([middle - half, middle + half], dim=2), logits


class CellDetector(nn.Module):
    """A detector with its box decoding: what is exported."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.decoding = BoxDecoding()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(n, 3, 240, 320)`` to boxes ``(n, cells, 4)`` and score logits ``(n, cells, classes)``."""
        fine_scores, fine_boxes, scores, boxes = self.detector(image)
        decoded: tuple[Tensor, Tensor] = self.decoding(fine_scores, fine_boxes, scores, boxes)
        return decoded


@cache
def cell_grid() -> tuple[Tensor, Tensor]:
    """The cells' middles ``(cells, 2)`` as x and y in pixels, and their strides ``(cells,)``, level by level."""
    centres, strides = [], []
    for stride in STRIDES:
        rows = (torch.arange(HEIGHT // stride) + 0.5) * stride
        columns = (torch.arange(WIDTH // stride) + 0.5) * stride
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append(torch.stack([x.flatten(), y.flatten()], dim=1))
        strides.append(torch.full((len(rows) * len(columns),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


class _ConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class _Down(nn.Module):
    """Halves the map."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.halve = _ConvNorm(inputs, outputs, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        halved: Tensor = self.halve(maps)
        return halved.relu()


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _ConvNorm(channels, channels)
        self.second = _ConvNorm(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.second(self.first(maps).relu()) + maps
        return added.relu()


class _Heads(nn.Module):
    """One level's heads."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.scores = _Head(channels, classes, first=math.log(_PRIOR_SCORE / (1 - _PRIOR_SCORE)))
        self.boxes = _Head(channels, 4, first=0.0)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores(maps), self.boxes(maps)


class _Head(nn.Module):
    """One 3 x 3 convolution, then one number a cell and class, or four a cell; ``first`` is the untrained answer."""

    def __init__(self, channels: int, outputs: int, first: float) -> None:
        super().__init__()
        self.features = _ConvNorm(channels, channels)
        self.answer = nn.Conv2d(channels, outputs, 1)
        nn.init.normal_(self.answer.weight, std=0.01)
        nn.init.constant_(self.answer.bias, first)  # type: ignore[arg-type]  # it was made with one

    def forward(self, maps: Tensor) -> Tensor:
        answer: Tensor = self.answer(self.features(maps).relu())
        return answer


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_Down(inputs, outputs), *(_Residual(outputs) for _ in range(blocks)))
