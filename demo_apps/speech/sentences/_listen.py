"""Listening: a stream of features through a network in chunks, its caches passed on; what an app does as well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from demo_apps.speech.sentences._features import FRAME_SECONDS, MELS, SAMPLE_RATE, Floats, log_mel
from demo_apps.speech.sentences._net import DELAY_FRAMES, SUBSAMPLING
from mobiledistill import Predict, Signature

__all__ = ["CHUNK_FRAMES", "Listener", "answer_frames"]

Arrays = dict[str, NDArray[np.generic]]

CHUNK_FRAMES = 64
"""Feature frames that an exported file reads at once: 0.64 s."""

_BATCH = 64


@dataclass(frozen=True)
class Listener:
    """What stands around the network: the numbers that features are made with, and how the stream goes round.

    Attributes:
        mean: of each log-mel band in training.
        deviation: likewise the standard deviation; features are ``(log_mel - mean) / deviation``.
        caches: shape of each cache at batch 1, by the name of the input; all start as zeros.
        state: pairs of output and input: what a call writes and the next one reads.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    caches: Mapping[str, tuple[int, ...]]
    state: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, train_maps: Sequence[Floats], signature: Signature) -> Listener:
        """For a network of this signature and the log-mel frames that it learns from."""
        heard = np.concatenate(train_maps, axis=1)
        caches = {read: signature.inputs[read].shape for _, read in signature.state}
        mean, deviation = heard.mean(axis=1).tolist(), heard.std(axis=1).tolist()
        return cls(tuple(mean), tuple(deviation), caches, signature.state)

    def to_json(self) -> str:
        """All that an app needs to know, the front end's rates included."""
        facts = {
            "sample_rate": SAMPLE_RATE,
            "frame_seconds": FRAME_SECONDS,
            "chunk_frames": CHUNK_FRAMES,
            "delay_frames": DELAY_FRAMES,
            "subsampling": SUBSAMPLING,
        }
        return json.dumps({**facts, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Listener:
        """What ``to_json`` wrote."""
        facts = json.loads(text)
        return cls(
            tuple(facts["mean"]),
            tuple(facts["deviation"]),
            {name: tuple(shape) for name, shape in facts["caches"].items()},
            tuple((written, read) for written, read in facts["state"]),
        )

    def features(self, samples: Floats) -> Floats:
        """A waveform as the network reads it, shape ``(64, frames)``."""
        return self.normal(log_mel(samples))

    def normal(self, maps: Floats) -> Floats:
        """Log-mel frames with mean 0 and deviation 1 in each band."""
        mean, deviation = (np.array(part, np.float32)[:, None] for part in (self.mean, self.deviation))
        return ((maps - mean) / deviation).astype(np.float32)

    def logits(self, predict: Predict, features: Sequence[Floats]) -> list[Floats]:
        """The logits of utterances, each ``(frames, tokens)``, those of similar length side by side."""
        answers: list[Floats] = [np.empty(0, np.float32)] * len(features)
        order = sorted(range(len(features)), key=lambda place: features[place].shape[1])
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            chunks = chunked([features[place] for place in places])
            caches = self.silence(len(places))
            heard = []
            for chunk in chunks:
                outputs = predict({"features": chunk, **caches}, "main")
                caches = {read: outputs[written] for written, read in self.state}
                heard.append(outputs["logits"].astype(np.float32))
            joined = np.concatenate(heard, axis=1)
            for row, place in enumerate(places):
                answers[place] = joined[row, : answer_frames(features[place].shape[1])]
        return answers

    def silence(self, count: int) -> Arrays:
        """The caches of streams that have heard nothing."""
        return {name: np.zeros((count, *shape[1:]), np.float32) for name, shape in self.caches.items()}


def chunked(features: Sequence[Floats]) -> list[Floats]:
    """Utterances side by side as chunks ``(n, 1, 64, 64)``, silence after each until all are answered."""
    chunks = ceil((max(part.shape[1] for part in features) + DELAY_FRAMES) / CHUNK_FRAMES)
    padded = np.zeros((len(features), 1, MELS, chunks * CHUNK_FRAMES), np.float32)
    for row, part in enumerate(features):
        padded[row, 0, :, : part.shape[1]] = part
    return np.split(padded, chunks, axis=3)


def answer_frames(frames: int) -> int:
    """Frames of logits that answer an utterance, the wait at its end included."""
    return ceil((frames + DELAY_FRAMES) / SUBSAMPLING)
