"""Networks made to be timed: operators by shapes, drawn so that all sizes phones run come up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters import Program

__all__ = ["network"]

T = TypeVar("T")

_MOST_MACS = 16_000_000  # of one layer: larger ones tell nothing that two of these do not
_MOST_VALUES = 410_000  # of one map: 112 x 112 in 32 channels is what cameras' networks begin with
_LARGE = 80  # places of a side from which on maps are halved soon
_LAYERS = 10


def network(number: int, seed: int = 0) -> Program:
    """Draws a network: every fourth has attention, the others convolutions; each with random weights.

    Args:
        number: which one.
        seed: of everything random; the same seed draws the same networks.
    """
    draw = _Draw(1000 * seed + number)
    with torch.random.fork_rng():
        torch.manual_seed(1000 * seed + number)
        return _attention(draw) if number % 4 == 3 else _convolutions(draw)


class _Draw:
    """Random numbers as shapes need them."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def below(self, most: int) -> int:
        return int(torch.randint(most, (1,), generator=self._generator))

    def chance(self, share: float) -> bool:
        return float(torch.rand(1, generator=self._generator)) < share

    def between(self, low: float, high: float) -> int:
        """Every octave as often as every other one."""
        place = float(torch.rand(1, generator=self._generator))
        return round(math.exp(math.log(low) + place * math.log(high / low)))

    def channels(self, low: int, high: int) -> int:
        """Half of them in eights, as networks are designed; the others as cuts leave them."""
        found = self.between(low, high)
        return found if self.chance(0.5) or found < 8 else round(found / 8) * 8

    def of(self, shares: list[tuple[float, T]]) -> T:
        place = float(torch.rand(1, generator=self._generator)) * sum(share for share, _ in shares)
        for share, item in shares:
            place -= share
            if place < 0:
                return item
        return shares[-1][1]


_Shape = tuple[int, int, int]
_Layer = tuple[nn.Module, _Shape]


def _convolutions(draw: _Draw) -> Program:
    low, high = draw.of([(4.0, (12, _LARGE)), (1.0, (_LARGE, 320))])
    shape = start = (
        draw.of([(3.0, 3), (3.0, 1), (2.0, draw.channels(2, 32) if high == _LARGE else 3)]),
        draw.between(low, high),
        draw.between(low, high),
    )
    layers: list[nn.Module] = []
    while len(layers) < _LAYERS:
        layer = draw.of(_CONVOLUTIONS)(draw, shape)
        if layer is None:
            continue
        layers.append(layer[0])
        shape = layer[1]
    last = shape[0]
    width = draw.channels(8, 256)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, width), nn.ReLU(), nn.Linear(width, 10)]
    module = nn.Sequential(*layers, *head).eval()
    return Program(module, {"x": torch.randn(1, *start)}, ("y",))


def _convolution(kernel: int, deep: bool = False) -> Callable[[_Draw, _Shape], _Layer | None]:
    def make(draw: _Draw, shape: _Shape) -> _Layer | None:
        channels, height, width = shape
        if deep and channels < 4:
            return None
        out = channels if deep else draw.channels(4, 256)
        stride = 2 if min(height, width) > 6 and draw.chance(0.15 if min(height, width) < _LARGE else 0.7) else 1
        padding = kernel // 2
        after = (out, -(-height // stride), -(-width // stride))
        taps = kernel * kernel * (1 if deep else channels)
        if math.prod(after) * taps > _MOST_MACS or math.prod(after) > _MOST_VALUES:
            return None
        layer = nn.Conv2d(channels, out, kernel, stride, padding, groups=channels if deep else 1)
        activation = draw.of([(6.0, nn.ReLU()), (2.0, nn.ReLU6()), (2.0, nn.Identity()), (0.5, nn.Hardswish())])
        return nn.Sequential(layer, activation), after

    return make


def _pooling(draw: _Draw, shape: _Shape) -> _Layer | None:
    channels, height, width = shape
    if min(height, width) < 6:
        return None
    layer: nn.Module = nn.MaxPool2d(2) if draw.chance(0.6) else nn.AvgPool2d(2)
    return layer, (channels, height // 2, width // 2)


def _normalization(draw: _Draw, shape: _Shape) -> _Layer | None:
    """Behind an activation, where no convolution takes it in."""
    layer = nn.BatchNorm2d(shape[0])
    for value in layer.state_dict().values():
        if value.is_floating_point():  # ones and zeros would be left out of the files
            nn.init.uniform_(value, 0.5, 2.0)
    return layer, shape


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module, rectified: bool) -> None:
        super().__init__()
        self.inner = inner
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.inner(x)
        return functional.relu(y) if self.rectified else y


def _residual(draw: _Draw, shape: _Shape) -> _Layer | None:
    channels, height, width = shape
    kernel = 1 if draw.chance(0.4) else 3
    if height * width * channels * channels * kernel * kernel > _MOST_MACS:
        return None
    return _Residual(nn.Conv2d(channels, channels, kernel, padding=kernel // 2), draw.chance(0.5)), shape


class _Excitation(nn.Module):
    """Channels weighed by what all places say together."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = x * self.weigh(x)
        return weighed


def _excitation(draw: _Draw, shape: _Shape) -> _Layer | None:
    return (_Excitation(shape[0], max(4, shape[0] // 4)), shape) if shape[0] >= 8 else None


class _Pyramid(nn.Module):
    """A coarser map, laid over the one it came from by its nearest values; or both side by side."""

    def __init__(self, channels: int, stacked: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels, 3, 2, 1)
        self.stacked = stacked

    def forward(self, x: Tensor) -> Tensor:
        coarse = functional.interpolate(functional.relu(self.down(x)), scale_factor=2.0, mode="nearest")
        return torch.cat([x, coarse], 1) if self.stacked else x + coarse


def _pyramid(draw: _Draw, shape: _Shape) -> _Layer | None:
    channels, height, width = shape
    if height % 2 or width % 2 or min(height, width) < 6 or channels * channels * height * width * 3 > _MOST_MACS:
        return None
    stacked = channels <= 64 and draw.chance(0.5)
    return _Pyramid(channels, stacked), (channels * (1 + stacked), height, width)


_CONVOLUTIONS: list[tuple[float, Callable[[_Draw, _Shape], _Layer | None]]] = [
    (5.0, _convolution(3)),
    (5.0, _convolution(1)),
    (4.0, _convolution(3, deep=True)),
    (0.7, _convolution(5, deep=True)),
    (0.7, _convolution(5)),
    (0.9, _pooling),
    (0.7, _normalization),
    (1.5, _residual),
    (0.7, _excitation),
    (1.0, _pyramid),
]


class _Encoder(nn.Module):
    """Tokens, a layer of attention, and a mean over all of them."""

    def __init__(self, draw: _Draw, read: int, width: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(read, width)
        self.layer = nn.TransformerEncoderLayer(
            width,
            heads,
            draw.channels(width, 4 * width),
            batch_first=True,
            activation="gelu" if draw.chance(0.6) else "relu",
            norm_first=draw.chance(0.4),
        )
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.project(tokens)
        tokens = self.layer(tokens)
        answer: Tensor = self.head(tokens.mean(1))
        return answer


def _attention(draw: _Draw) -> Program:
    heads = 1 + draw.below(6)
    width = heads * draw.between(6, 40)
    module = _Encoder(draw, read := draw.channels(8, 128), width, heads).eval()
    return Program(module, {"x": torch.randn(1, draw.between(6, 128), read)}, ("y",))
