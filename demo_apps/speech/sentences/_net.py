"""The network: convolutions that read a stream in chunks, and say the same as if they had read it whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_apps.speech.sentences._features import MELS
from mobiledistill import Head, Output, Signature, TensorSpec

__all__ = [
    "DELAY_FRAMES",
    "SUBSAMPLING",
    "WIDTH",
    "Lesson",
    "SentencesNet",
    "lesson_signature",
    "sentences_net",
    "stream_signature",
]

SUBSAMPLING = 8
"""Feature frames to one frame of logits."""

WIDTH = 224
"""Channels between the blocks of the teacher, and of its caches."""

_STEM = 32
# Blocks on frames of 40 ms, then of 80 ms: how many, the frames each sees, and how many of these come later than the
# frame it writes. A block answers that much later.
_FINE, _FINE_KERNEL, _FINE_AHEAD = 2, 11, 3
_COARSE, _COARSE_KERNEL, _COARSE_AHEAD = 5, 9, 2
_MIDDLE = 3  # coarse blocks before the head that only lessons ask

DELAY_FRAMES = 4 * _FINE * _FINE_AHEAD + 8 * _COARSE * _COARSE_AHEAD
"""How many feature frames later the answer to a frame is complete: 1.04 s."""


def sentences_net(tokens: int, width: int = WIDTH, inner: int | None = None) -> SentencesNet:
    """A sentences network of any width.

    Args:
        tokens: size of the vocabulary.
        width: channels between blocks, and of the caches.
        inner: channels inside a block; None: twice the width.
    """
    return SentencesNet(tokens, width, inner or 2 * width)


class SentencesNet(nn.Module):
    """A streaming CTC network of convolutions, batch norms, ReLU and additions: all of it exact in 8-bit integers.

    Each layer that looks along time joins what it kept of the past (its cache) with the new frames, convolves without
    padding and keeps the newest frames for the next call. Looking ahead is waiting: a block answers a few frames late,
    so its shortcut is late by as much, and the whole network by 1.04 s. Chunks of any length, multiples of 8, give the
    same numbers as the whole utterance at once; training uses the latter (:class:`Lesson`).

    Args:
        tokens: size of the vocabulary.
        width: channels between blocks.
        inner: channels inside a block.
    """

    def __init__(self, tokens: int, width: int, inner: int) -> None:
        super().__init__()
        self.first = _ConvNorm(1, _STEM, (3, 3), stride=2, padding=(1, 0))
        self.second = _ConvNorm(_STEM, _STEM, (3, 3), stride=2, padding=(1, 0))
        self.collapse = _ConvNorm(_STEM, width, (MELS // 4, 1))
        self.fine = nn.ModuleList(_Block(width, inner, _FINE_KERNEL, _FINE_AHEAD) for _ in range(_FINE))
        self.halve = _ConvNorm(width, width, (1, 2), stride=(1, 2))
        self.coarse = nn.ModuleList(_Block(width, inner, _COARSE_KERNEL, _COARSE_AHEAD) for _ in range(_COARSE))
        self.middle = nn.Conv2d(width, tokens, 1)
        self.head = nn.Conv2d(width, tokens, 1)

    def forward(
        self,
        features: Tensor,
        past_features: Tensor,
        past_maps: Tensor,
        past_1: Tensor,
        past_2: Tensor,
        past_3: Tensor,
        past_4: Tensor,
        past_5: Tensor,
        past_6: Tensor,
        past_7: Tensor,
    ) -> tuple[Tensor, ...]:
        """A chunk of features ``(n, 1, 64, 8 * t)`` to logits ``(n, t, tokens)`` and all caches, renewed."""
        joined = torch.cat([past_features, features], dim=3)
        new = [joined[..., -1:]]
        maps = self.first(joined).relu()
        joined = torch.cat([past_maps, maps], dim=3)
        new.append(joined[..., -1:])
        maps = self.collapse(self.second(joined).relu()).relu()
        for block, past in zip(self.fine, (past_1, past_2), strict=True):
            joined = torch.cat([past, maps], dim=3)
            new.append(joined[..., 1 - _FINE_KERNEL :])
            maps = block(joined)
        maps = self.halve(maps)
        for block, past in zip(self.coarse, (past_3, past_4, past_5, past_6, past_7), strict=True):
            joined = torch.cat([past, maps], dim=3)
            new.append(joined[..., 1 - _COARSE_KERNEL :])
            maps = block(joined)
        return (_logits(self.head, maps), *new)

    def lesson(self, features: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        """Whole utterances ``(n, 1, 64, 8 * t)`` to the logits of the end and of the middle; see :class:`Lesson`."""
        maps = self.first(functional.pad(features, (1, 0))).relu()
        maps = self.collapse(self.second(functional.pad(maps, (1, 0))).relu()).relu()
        left_out = [2 * dropout * (place + 1) / (_FINE + _COARSE) for place in range(_FINE + _COARSE)]
        for block, skipped in zip(self.fine, left_out[:_FINE], strict=True):
            maps = block(functional.pad(maps, (_FINE_KERNEL - 1, 0)), dropout, skipped)
        maps = middle = self.halve(maps)
        for place, (block, skipped) in enumerate(zip(self.coarse, left_out[_FINE:], strict=True), start=1):
            maps = block(functional.pad(maps, (_COARSE_KERNEL - 1, 0)), dropout, skipped)
            middle = maps if place == _MIDDLE else middle
        return _logits(self.head, maps), _logits(self.middle, middle)


class Lesson(nn.Module):
    """The network as it is trained: whole utterances after silence, and a second answer from the middle.

    That the middle must answer too (intermediate CTC, Lee and Watanabe 2021) teaches the lower blocks more than what
    reaches them from the end; no file holds that head.

    Args:
        net: what learns.
        dropout: share of the inner channels that are left out while it trains, and up to twice that share of whole
            blocks, more of the later ones (Huang et al. 2016).
    """

    def __init__(self, net: SentencesNet, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = net
        self.dropout = dropout

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, 1, 64, 8 * t)`` to two times logits ``(n, t, tokens)``: the answer, and the middle's."""
        return self.net.lesson(features, self.dropout)


def stream_signature(tokens: int, width: int, chunk_frames: int, calls_per_use: float) -> Signature:
    """How a network is called: a chunk of features and the caches in, logits and the new caches out."""
    pasts = [_FINE_KERNEL - 1] * _FINE + [_COARSE_KERNEL - 1] * _COARSE
    caches: Mapping[str, tuple[int, ...]] = {
        "features": (1, 1, MELS, 1),
        "maps": (1, _STEM, MELS // 2, 1),
        **{str(number): (1, width, 1, past) for number, past in enumerate(pasts, start=1)},
    }
    return Signature(
        inputs={
            "features": TensorSpec((1, 1, MELS, chunk_frames)),
            **{f"past_{name}": TensorSpec(shape) for name, shape in caches.items()},
        },
        outputs={
            "logits": Output((1, chunk_frames // SUBSAMPLING, tokens), Head.CTC, mask="frames"),
            **{f"new_{name}": Output(shape, Head.STATE) for name, shape in caches.items()},
        },
        calls_per_use=calls_per_use,
        state=tuple((f"new_{name}", f"past_{name}") for name in caches),
    )


def lesson_signature(tokens: int, frames: int) -> Signature:
    """How a network is trained: features in, the logits of its end and of its middle out; no file holds it."""
    logits = Output((1, frames // SUBSAMPLING, tokens), Head.CTC, mask="frames")
    return Signature(
        inputs={"features": TensorSpec((1, 1, MELS, frames))},
        outputs={"logits": logits, "middle_logits": logits},
        exported=False,
    )


def _logits(head: nn.Module, maps: Tensor) -> Tensor:
    logits: Tensor = head(maps.relu()).squeeze(2).transpose(1, 2)
    return logits


class _ConvNorm(nn.Sequential):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    """Mixes along time in each channel, then across channels, beside a shortcut that waits for it."""

    def __init__(self, width: int, inner: int, kernel: int, ahead: int) -> None:
        super().__init__()
        self.past, self.ahead = kernel - 1, ahead
        self.along_time = _ConvNorm(width, width, (1, kernel), groups=width)
        self.widen = _ConvNorm(width, inner, (1, 1))
        self.narrow = _ConvNorm(inner, width, (1, 1))

    def forward(self, joined: Tensor, dropout: float = 0.0, skipped: float = 0.0) -> Tensor:
        """Frames with their past ``(n, width, 1, past + t)`` to ``(n, width, 1, t)``.

        Args:
            joined: the frames.
            dropout: share of the inner channels that training leaves out.
            skipped: share of the rows for which training leaves the whole block out.
        """
        inner = self.widen(self.along_time(joined)).relu()
        if dropout and self.training:
            inner = functional.dropout(inner, dropout)
        heard = self.narrow(inner)
        if skipped and self.training:
            heard = heard * functional.dropout(torch.ones(len(heard), 1, 1, 1, device=heard.device), skipped)
        added: Tensor = heard + joined[..., self.past - self.ahead : -self.ahead]
        return added
