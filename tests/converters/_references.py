"""Three kinds of network that must reach every format in integers: a stream, a feature pyramid, a Transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
