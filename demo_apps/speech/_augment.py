"""Training clips made different in every epoch, on whole batches of log-mel maps, in a few milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from demo_apps.speech._features import FRAMES, MELS

__all__ = ["Augmentation"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training clip may be changed; everything is drawn evenly between its limits.

    ``throat`` stands for other voices, ``colour`` and ``noise`` for other microphones and rooms. A stretched frequency
    axis is cheap and does much of what another throat length does. Twice the defaults cost a network of a few
    thousand parameters several points.

    Attributes:
        shift: of the word in time, as a share of half the clip.
        tempo: share by which the word is stretched or squeezed in time.
        throat: share by which its frequencies are stretched or squeezed.
        colour: how far bands are raised or lowered, in natural-log units of power, as a smooth curve.
        noise: the loudest room noise, in natural-log units of power above the floor of a clip.
        masked_bands: the widest block of bands that is blanked.
        masked_frames: the widest block of frames that is blanked.
    """

    shift: float = 0.2
    tempo: float = 0.1
    throat: float = 0.06
    colour: float = 0.5
    noise: float = 1.25
    masked_bands: int = 4
    masked_frames: int = 7

    def __call__(self, maps: Tensor, floor: float, blank: float, random: torch.Generator) -> Tensor:
        """Returns changed copies.

        Args:
            maps: log-mel maps, shape ``(n, 1, 40, 101)``.
            floor: the value of silence in them.
            blank: what a mask leaves behind, normally their mean.
            random: where chance comes from; the same state gives the same copies.
        """
        maps = self._moved(maps - floor, random) + floor
        maps = torch.where(maps > floor + 0.2, maps + self._colours(len(maps), random), maps)
        maps = torch.logaddexp(maps, self._room(maps, floor, random))
        bands = _blocks(len(maps), MELS, self.masked_bands, random)[:, None, :, None]
        frames = _blocks(len(maps), FRAMES, self.masked_frames, random)[:, None, None, :]
        return torch.where(bands | frames, blank, maps)

    def _moved(self, maps: Tensor, random: torch.Generator) -> Tensor:
        """Shift, tempo and throat in one resampling; what comes in from outside is 0."""
        count = len(maps)
        affine = torch.zeros(count, 2, 3)
        affine[:, 0, 0] = _between(count, 1 - self.tempo, 1 + self.tempo, random)
        affine[:, 0, 2] = _between(count, -self.shift, self.shift, random)
        stretch = _between(count, 1 - self.throat, 1 + self.throat, random)
        affine[:, 1, 1] = stretch
        affine[:, 1, 2] = stretch - 1  # the lowest band stays where it is
        grid = functional.affine_grid(affine, list(maps.shape), align_corners=False)
        return functional.grid_sample(maps, grid, align_corners=False)

    def _colours(self, count: int, random: torch.Generator) -> Tensor:
        """A slope and a wave over the bands, shape ``(count, 1, 40, 1)``."""
        bands = torch.linspace(-1, 1, MELS)
        slope = _between(count, -self.colour, self.colour, random)[:, None] * bands
        height = _between(count, -self.colour, self.colour, random)[:, None]
        waves = _between(count, 0.3, 1.5, random)[:, None]
        phase = _between(count, 0, 2 * torch.pi, random)[:, None]
        return (slope + height * torch.cos(torch.pi * waves * bands + phase))[:, None, :, None]

    def _room(self, maps: Tensor, floor: float, random: torch.Generator) -> Tensor:
        """Steady noise with a slope over the bands, some of it below the floor and so not heard."""
        count = len(maps)
        level = floor + _between(count, -2, self.noise, random)[:, None]
        slope = _between(count, -1, 1, random)[:, None] * torch.linspace(-1, 1, MELS)
        return (level + slope)[:, None, :, None] + 0.5 * torch.randn(maps.shape, generator=random)


def _between(count: int, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random)


def _blocks(count: int, length: int, widest: int, random: torch.Generator) -> Tensor:
    """One block of positions per row, partly outside at times, shape ``(count, length)``, boolean."""
    width = _between(count, 0, widest, random)[:, None]
    start = _between(count, -widest / 2, length - widest / 2, random)[:, None]
    position = torch.arange(length)
    return (position >= start) & (position < start + width)
