"""Training utterances made different in every epoch: other voices, tempos, rooms and gaps, on log-mel frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Augmentation"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training utterance may be changed; everything is drawn evenly between its limits.

    ``tempo`` and ``throat`` together are what speed perturbation does to a waveform, drawn apart; masks are those of
    SpecAugment (Park et al. 2019).

    Attributes:
        tempo: share by which an utterance is stretched or squeezed in time.
        throat: share by which its frequencies are stretched or squeezed.
        level: how far it is made louder or softer, in natural-log units of power.
        colour: how far bands are raised or lowered, likewise, as a smooth curve.
        noise: the loudest room noise, likewise above the floor.
        band_masks: blocks of bands that are blanked.
        masked_bands: the widest of them.
        frame_masks: blocks of frames that are blanked, for each second.
        masked_frames: the widest of them.
    """

    tempo: float = 0.15
    throat: float = 0.15
    level: float = 1.5
    colour: float = 0.8
    noise: float = 2.5
    band_masks: int = 2
    masked_bands: int = 16
    frame_masks: float = 1.2
    masked_frames: int = 20

    def __call__(self, maps: Tensor, floor: float, blank: Tensor, random: torch.Generator) -> Tensor:
        """Returns a changed copy.

        Args:
            maps: log-mel frames of one utterance, shape ``(bands, frames)``.
            floor: the value of silence in them.
            blank: what a mask leaves behind, normally the mean of each band, shape ``(bands, 1)``.
            random: where chance comes from; the same state gives the same copy.
        """
        maps = self._warped(maps, random)
        bands = torch.linspace(-1, 1, len(maps))[:, None]
        change = _between(self.level, random) + _between(self.colour, random) * bands
        change = change + _between(self.colour, random) * torch.cos(
            torch.pi * (1 + _between(0.7, random)) * bands + _between(torch.pi, random)
        )
        # Silence stays silence: what is near the floor moves less.
        maps = maps + change * torch.clamp((maps - floor) / 2, 0, 1)
        room = floor + (self.noise + 1) * float(torch.rand(1, generator=random)) - 1 + _between(1.0, random) * bands
        maps = torch.logaddexp(maps, room + 0.5 * torch.randn(maps.shape, generator=random))
        return self._masked(maps, blank, random)

    def _warped(self, maps: Tensor, random: torch.Generator) -> Tensor:
        """Both axes resampled linearly."""
        frames = max(1, round(maps.shape[1] * (1 + _between(self.tempo, random))))
        maps = _resampled(maps, torch.linspace(0, maps.shape[1] - 1, frames))
        stretch = 1 + _between(self.throat, random)
        return _resampled(maps.T, torch.arange(len(maps)) * stretch).T

    def _masked(self, maps: Tensor, blank: Tensor, random: torch.Generator) -> Tensor:
        hidden = torch.zeros(maps.shape, dtype=torch.bool)
        for _ in range(self.band_masks):
            start, width = _block(len(maps), self.masked_bands, random)
            hidden[start : start + width] = True
        for _ in range(round(self.frame_masks * maps.shape[1] / 100)):
            start, width = _block(maps.shape[1], self.masked_frames, random)
            hidden[:, start : start + width] = True
        return torch.where(hidden, blank, maps)


def _resampled(maps: Tensor, places: Tensor) -> Tensor:
    """Columns at places between columns; beyond the last one it stays as it is."""
    places = places.clamp(0, maps.shape[1] - 1)
    left = places.long().clamp(max=max(0, maps.shape[1] - 2))
    right = (left + 1).clamp(max=maps.shape[1] - 1)
    return torch.lerp(maps[:, left], maps[:, right], (places - left)[None])


def _between(reach: float, random: torch.Generator) -> float:
    return reach * (2 * float(torch.rand(1, generator=random)) - 1)


def _block(length: int, widest: int, random: torch.Generator) -> tuple[int, int]:
    width = int(torch.randint(0, widest + 1, (1,), generator=random))
    return int(torch.randint(0, max(1, length - width + 1), (1,), generator=random)), width
