"""The task: which words are spoken, read from a stream of 16 kHz speech."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_apps.speech.sentences._augment import Augmentation
from demo_apps.speech.sentences._data import load_corpus
from demo_apps.speech.sentences._decode import DictionaryBeam, greedy
from demo_apps.speech.sentences._features import MELS, Floats, log_mel
from demo_apps.speech.sentences._language import Bigram
from demo_apps.speech.sentences._listen import CHUNK_FRAMES, Arrays, Listener, answer_frames, chunked
from demo_apps.speech.sentences._net import (
    DELAY_FRAMES,
    SUBSAMPLING,
    WIDTH,
    Lesson,
    SentencesNet,
    lesson_signature,
    stream_signature,
)
from demo_apps.speech.sentences._score import word_error_rate
from demo_apps.speech.sentences._tokens import BLANK, Tokens
from demo_apps.speech.sentences._utterance import Corpus
from mobiledistill import Batch, InputError, Metric, Predict, Score, Signature, Split

__all__ = ["SentencesTask", "sentences"]

Decode = Callable[[Floats], list[str]]
"""Logits of one utterance, ``(frames, tokens)``, to words."""

_CALIBRATION_UTTERANCES = 256
_ROW_FRAMES = 640  # a little more than the longest utterance of AN4
_TYPICAL_FRAMES = 270  # the mean of AN4
_MIDDLE_SHARE = 0.3  # of the loss


def sentences(data: Path | None = None, seed: int = 0) -> SentencesTask:
    """The spoken sentences task on the best data that can be found.

    Args:
        data: a folder that holds ``an4``, or is it; None: ``MOBILEDISTILL_DATA``, the user's cache, the network, and
            where none of them has any, synthetic speech. ``task.source`` says which it was.
        seed: of the order of the batches and of what is done to the utterances.

    Example:
        >>> task = sentences()  # doctest: +SKIP
        >>> batch = next(task.train_batches(epoch=0))  # doctest: +SKIP
        >>> batch.inputs["features"].shape  # 8 rows of whole utterances  # doctest: +SKIP
        torch.Size([8, 1, 64, 840])

    Raises:
        InputError: the data folder does not exist or holds no recordings, or a recording is damaged.
    """
    return SentencesTask(load_corpus(data), seed=seed, augmentation=Augmentation())


class SentencesTask:
    """Which words are spoken: what ``mobiledistill.Task`` asks for.

    Files hold one signature, ``main``: a chunk of ``features`` (1, 1, 64, 64), log-mel frames made mean 0 and deviation
    1 in each band, and what each layer keeps of the past, to ``logits`` (1, 8, tokens) and what each layer keeps for
    the next chunk. Training uses another, ``lesson``: whole utterances to the logits of the end and of the middle.

    Args:
        corpus: the recordings.
        width: of the network between its blocks, and so of its caches.
        seed: of the order of the batches and of what is done to the utterances.
        batch_size: rows of a training batch, each of about six seconds of speech.
        augmentation: what is done to training utterances; None: nothing.
        dropout: see :class:`Lesson`; helps a network that is large for its data.

    Attributes:
        source: where the recordings come from, for people.
        tokens: the vocabulary, of the training transcripts.
        listener: how recordings become features and a stream goes through the network.
        bigram: which word follows which, in the training transcripts.
    """

    name = "sentences"
    metric = Metric("WER", "%", higher_is_better=False)

    def __init__(
        self,
        corpus: Corpus,
        *,
        width: int = WIDTH,
        seed: int = 0,
        batch_size: int = 8,
        augmentation: Augmentation | None = None,
        dropout: float = 0.0,
    ) -> None:
        self.source = corpus.source
        self.synthetic = corpus.synthetic
        self.seed = seed
        self.batch_size = batch_size
        self.width = width
        self.dropout = dropout
        self._augmentation = augmentation
        parts = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
        self._words = {name: [utterance.words for utterance in part] for name, part in parts.items()}
        self._seconds = {name: sum(utterance.seconds for utterance in part) for name, part in parts.items()}
        self.tokens = Tokens.of(self._words["train"])
        self.dictionary = corpus.dictionary
        self.bigram = Bigram.of(self._words["train"], corpus.dictionary)
        calls = (_TYPICAL_FRAMES + DELAY_FRAMES) / CHUNK_FRAMES
        self.signatures: Mapping[str, Signature] = {
            "main": stream_signature(len(self.tokens), width, CHUNK_FRAMES, calls),
            "lesson": lesson_signature(len(self.tokens), CHUNK_FRAMES),
        }
        maps = {name: [log_mel(utterance.samples) for utterance in part] for name, part in parts.items()}
        self.listener = Listener.of(maps["train"], self.signatures["main"])
        self._train_maps = [torch.from_numpy(part) for part in maps["train"]]
        self._silence = min(float(part.min()) for part in maps["train"])
        self._features = {name: [self.listener.normal(map) for map in part] for name, part in maps.items()}
        self._calibration = self._first_chunks()

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch: every training utterance once, whole, several of them one after another in each row.

        Rows are about equally long, so a batch holds as much silence as another: with short utterances side by side
        batch norm would see mostly silence, and single words would then be missed in use. ``seed`` and ``epoch`` fix
        the order of the utterances and what is done to them.
        """
        random = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]))
        rows = self._rows(torch.randperm(len(self._train_maps), generator=random).tolist())
        rows.sort(key=lambda row: sum(self._train_maps[place].shape[1] for place in row))
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        for place in torch.randperm(len(batches), generator=random).tolist():
            yield self._batch(batches[place], random)

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Connectionist temporal classification (Graves et al. 2006) of both answers, a token's share of it."""

        def classified(logits: Tensor) -> Tensor:
            return functional.ctc_loss(
                logits.log_softmax(2).transpose(0, 1),
                batch.targets["tokens"],
                batch.targets["frames"].sum(1).long(),
                batch.targets["lengths"],
                blank=BLANK,
                zero_infinity=True,
            )

        middle = classified(outputs["middle_logits"])
        return (1 - _MIDDLE_SHARE) * classified(outputs["logits"]) + _MIDDLE_SHARE * middle

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """The word error rate of the likeliest token in each frame, with a bootstrap interval over utterances."""
        return word_error_rate(self.words(split), self.transcripts(predict, split))

    def transcripts(self, predict: Predict, split: Split, decode: Decode | None = None) -> list[list[str]]:
        """What is understood of each utterance, read in chunks as a stream.

        Args:
            predict: the module or file that listens.
            split: the utterances.
            decode: such as :meth:`dictionary_beam`; None: greedy.
        """
        decode = decode or self.greedy
        return [decode(logits) for logits in self.listener.logits(predict, self._features[split])]

    def words(self, split: Split) -> list[tuple[str, ...]]:
        """What is said in each utterance of a split."""
        return self._words[split]

    def seconds(self, split: Split) -> float:
        """How long the utterances of a split last together."""
        return self._seconds[split]

    def greedy(self, logits: Floats) -> list[str]:
        """The words of the likeliest token in each frame."""
        return self.tokens.decode(greedy(logits))

    def dictionary_beam(self, *, language: bool = False) -> DictionaryBeam:
        """A search for the likeliest sentence of the dictionary's words, with the bigram or (better here) without."""
        return DictionaryBeam(self.tokens, self.dictionary, self.bigram if language else None)

    def calibration_inputs(self, signature: str = "main") -> Arrays:
        """256 chunks of training utterances: the first of each, unless a model has listened to more.

        See :meth:`heard_by`. A ``lesson`` reads the features alone.
        """
        wanted = self.signatures[signature].inputs
        return {name: value for name, value in self._calibration.items() if name in wanted}

    def heard_by(self, model: nn.Module) -> SentencesTask:
        """The same task for students of ``model``: no dropout, and calibration inputs that know its caches.

        They come from everywhere in the utterances, caches filled by ``model``: only so do they show what values the
        caches and the deeper layers really hold.
        """
        task = copy.copy(self)
        task.dropout = 0.0
        chosen = self._spread()
        chunks = chunked([self._features["train"][place] for place in chosen])
        lengths = np.array([ceil(self._features["train"][place].shape[1] / CHUNK_FRAMES) + 1 for place in chosen])
        wanted = np.arange(len(chosen)) % np.minimum(lengths, len(chunks))
        caches = self.listener.silence(len(chosen))
        stacked = {name: value.copy() for name, value in self._calibration.items()}
        for number, chunk in enumerate(chunks):
            for name, value in {"features": chunk, **caches}.items():
                stacked[name][wanted == number] = value[wanted == number]
            with torch.no_grad():
                inputs = [torch.from_numpy(value) for value in (chunk, *caches.values())]
                outputs = self.exported(model.eval(), "main")(*inputs)
            written = dict(zip(self.signatures["main"].outputs, outputs, strict=True))
            caches = {read: written[name].numpy() for name, read in self.signatures["main"].state}
        task._calibration = stacked
        return task

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The model itself reads a stream."""
        if signature == "main":
            return model
        if not isinstance(model, SentencesNet):
            raise InputError(f"Lessons are for a SentencesNet, but got {type(model).__name__}.")
        return Lesson(model, self.dropout)

    def assets(self) -> Mapping[str, bytes]:
        """What an app needs beside a file: tokens, front end and stream, dictionary, word pairs."""
        return {
            "tokens.json": json.dumps(self.tokens.names, indent=1).encode(),
            "listener.json": self.listener.to_json().encode(),
            "dictionary.txt": "".join(f"{word}\n" for word in self.dictionary).encode(),
            "bigram.json": json.dumps(self.bigram.pairs, indent=1).encode(),
        }

    def _spread(self) -> list[int]:
        """Places of training utterances, evenly over the speakers."""
        count = min(_CALIBRATION_UTTERANCES, len(self._train_maps))
        return [int(place) for place in np.linspace(0, len(self._train_maps) - 1, count).round()]

    def _first_chunks(self) -> Arrays:
        chosen = self._spread()
        first = chunked([self._features["train"][place][:, :CHUNK_FRAMES] for place in chosen])[0]
        return {"features": first, **self.listener.silence(len(chosen))}

    def _rows(self, order: list[int]) -> list[list[int]]:
        """Utterances one after another until a row is full."""
        rows: list[list[int]] = [[]]
        length = 0
        for place in order:
            frames = self._train_maps[place].shape[1]
            if rows[-1] and length + frames > _ROW_FRAMES:
                rows.append([])
                length = 0
            rows[-1].append(place)
            length += frames
        return rows

    def _batch(self, rows: list[list[int]], random: torch.Generator) -> Batch:
        maps = [self._row(row, random) for row in rows]
        frames = max(answer_frames(part.shape[1]) for part in maps)
        features = torch.zeros(len(maps), 1, MELS, frames * SUBSAMPLING)
        mask = torch.zeros(len(maps), frames)
        for number, part in enumerate(maps):
            features[number, 0, :, : part.shape[1]] = part
            mask[number, : answer_frames(part.shape[1])] = 1
        spoken = [
            torch.tensor([token for place in row for token in self.tokens.encode(self._words["train"][place])])
            for row in rows
        ]
        targets = {
            "tokens": nn.utils.rnn.pad_sequence(spoken, batch_first=True),
            "lengths": torch.tensor([len(part) for part in spoken]),
            "frames": mask,
        }
        return Batch({"features": features}, targets, signature="lesson")

    def _row(self, places: list[int], random: torch.Generator) -> Tensor:
        """Utterances with silence between them, shape ``(64, frames)``."""
        parts: list[Tensor] = []
        for place in places:
            pause = int(torch.randint(0, DELAY_FRAMES + 1, (1,), generator=random)) if parts else 0
            parts += [torch.zeros(MELS, pause), self._changed(self._train_maps[place], random)]
        return torch.cat(parts, dim=1)

    def _changed(self, maps: Tensor, random: torch.Generator) -> Tensor:
        mean, deviation = (torch.tensor(part)[:, None] for part in (self.listener.mean, self.listener.deviation))
        if self._augmentation is not None:
            maps = self._augmentation(maps, self._silence, mean, random)
        return (maps - mean) / deviation
