"""Recurrent networks: step by step through a sequence, with the gates of LSTM and GRU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo._network import Network, spectrograms

__all__ = ["RECURRENT"]


class Recurrent(nn.Module):
    """One recurrent layer and a classifier on its last answer, or on its mean where it reads both ways."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], layers: int = 1, both_ways: bool = False) -> None:
        super().__init__()
        self.layer = kind(40, 32, layers, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(64 if both_ways else 32, 12)
        self.both_ways = both_ways

    def forward(self, features: Tensor) -> Tensor:
        answers, _ = self.layer(features)
        return self.head(answers.mean(dim=1) if self.both_ways else answers[:, -1])


class VoiceActivity(nn.Module):
    """Convolutions, then an LSTM cell whose state the app carries from chunk to chunk (Silero style)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv1d(40, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 32, 3, stride=2, padding=1), nn.ReLU()
        )
        self.cell = nn.LSTMCell(32, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, features: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        frame = self.convs(features).mean(dim=2)
        hidden, memory = self.cell(frame, (hidden, memory))
        return self.head(F.relu(hidden)).sigmoid(), hidden, memory


class CRNN(nn.Module):
    """Reads text lines: convolutions, then a GRU both ways, one answer per column (Shi et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d((4, 2))),
        )
        self.layer = nn.GRU(32 * 4, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 28)

    def forward(self, image: Tensor) -> Tensor:
        columns = self.convs(image).flatten(1, 2).transpose(1, 2)
        return self.head(self.layer(columns)[0])


_sequences = spectrograms(24, 40)
_chunks = spectrograms(40, 8)
_lines = spectrograms(1, 32, 64)


def _voice(generator: torch.Generator) -> dict[str, Tensor]:
    state = {name: 0.5 * torch.randn(1, 32, generator=generator) for name in ("hidden", "memory")}
    return {"features": _chunks(generator), **state}


RECURRENT = (
    Network("lstm", lambda: Recurrent(nn.LSTM), lambda g: {"features": _sequences(g)}, small=True),
    Network("gru", lambda: Recurrent(nn.GRU), lambda g: {"features": _sequences(g)}, small=True),
    Network("lstm-two-layers", lambda: Recurrent(nn.LSTM, 2), lambda g: {"features": _sequences(g)}, small=True),
    Network("lstm-both-ways", lambda: Recurrent(nn.LSTM, 1, True), lambda g: {"features": _sequences(g)}),
    Network("gru-both-ways", lambda: Recurrent(nn.GRU, 1, True), lambda g: {"features": _sequences(g)}),
    Network("voice-activity", VoiceActivity, _voice, ("speech", "next_hidden", "next_memory"), small=True),
    Network("crnn", CRNN, lambda g: {"image": _lines(g)}),
)
