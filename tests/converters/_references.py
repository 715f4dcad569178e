"""Three kinds of network that must reach every format in integers: a stream, a feature pyramid, a Transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobiledistill.quantize import KeepFloat


class StreamBlock(nn.Module):
    """A depthwise-separable layer along time, causal, whose residual is delayed by what the kernel looks ahead."""

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.depthwise = nn.Conv2d(channels, channels, (1, 2 * reach + 1), groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache, x], dim=3)
        y = torch.relu(self.norm(self.depthwise(joined)))
        y = self.pointwise_norm(self.pointwise(y))
        delayed = joined[..., self.reach : -self.reach]
        return torch.relu(y + delayed), joined[..., -2 * self.reach :]


class Stream(nn.Module):
    """Reads ``(n, 1, bands, time)`` and answers ``(n, classes, 1, time)``, any number of steps at a time."""

    def __init__(self, channels: int = 48, bands: int = 16, classes: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=(2, 1), padding=(1, 0), bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(8 * bands // 2, channels, 1)
        self.blocks = nn.ModuleList(StreamBlock(channels, reach) for reach in (2, 4))
        self.head = nn.Conv2d(channels, classes, 1)
        self.caches = [(1, 1, bands, 2), (1, channels, 1, 4), (1, channels, 1, 8)]

    def forward(self, features: Tensor, cache_0: Tensor, cache_1: Tensor, cache_2: Tensor) -> tuple[Tensor, ...]:
        joined = torch.cat([cache_0, features], dim=3)
        x = torch.relu(self.stem_norm(self.stem(joined)))
        x = torch.relu(self.mix(x.reshape(x.shape[0], -1, 1, x.shape[3])))
        new_caches = [joined[..., -2:]]
        for block, cache in zip(self.blocks, (cache_1, cache_2), strict=True):
            x, new_cache = block(x, cache)
            new_caches.append(new_cache)
        return (self.head(x), *new_caches)


def empty_caches(stream: Stream, batch: int = 1) -> list[Tensor]:
    """The state before the first value."""
    return [torch.zeros(batch, *shape[1:]) for shape in stream.caches]


def settle_norms(network: nn.Module, *inputs: Tensor) -> None:
    """Lets batch norms see data, so that folding them changes something."""
    network.train()
    with torch.no_grad():
        for _ in range(10):
            network(*inputs)
    network.eval()


class ConvNorm(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )


class DecodeBoxes(KeepFloat):
    """Raw answers of all levels to boxes ``(n, anchors, 4)`` and scores ``(n, anchors, classes)``."""

    def __init__(self, strides: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.strides, self.classes = strides, classes

    def forward(self, *levels: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for stride, offsets, logits in zip(self.strides, levels[::2], levels[1::2], strict=True):
            height, width = logits.shape[2:]
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            centres = (torch.stack([x, y], -1).reshape(1, -1, 2) + 0.5) * stride
            flat = offsets.flatten(2).transpose(1, 2)
            centre, half = centres + flat[..., :2] * stride, flat[..., 2:].exp() * stride / 2
            boxes.append(torch.cat([centre - half, centre + half], -1))
            scores.append(logits.flatten(2).transpose(1, 2).sigmoid())
        return torch.cat(boxes, 1), torch.cat(scores, 1)


class Pyramid(nn.Module):
    """Three scales joined from the top down, by concatenation and by addition, with heads that the scales share."""

    def __init__(self, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, width, 2), ConvNorm(width, width, 2))
        self.downs = nn.ModuleList(ConvNorm(width, width, 2) for _ in range(3))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.merge = ConvNorm(2 * width, width)
        self.lateral = nn.Conv2d(width, width, 1)
        self.smooth = ConvNorm(width, width)
        self.tower = ConvNorm(width, width)
        self.boxes = nn.Conv2d(width, 4, 1)
        self.scores = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in range(3))
        self.decode = DecodeBoxes((8, 16, 32), classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.downs[0](self.stem(image))
        middle = self.downs[1](fine)
        coarse = self.downs[2](middle)
        middle = self.merge(torch.cat([self.upsample(coarse), middle], 1))
        fine = self.smooth(self.lateral(fine) + F.interpolate(middle, scale_factor=2.0, mode="nearest"))
        raw = []
        for level, scores in zip((fine, middle, coarse), self.scores, strict=True):
            y = self.tower(level)
            raw += [self.boxes(y), scores(y)]
        return self.decode(*raw)
