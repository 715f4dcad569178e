"""The task: everyday English sentences into German."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from demo_apps.translation._bleu import Counts, bleu, bleu_counts, bleu_interval
from demo_apps.translation._decode import CACHE_SHAPE, CACHES, MEMORY, MEMORY_SHAPE, Decoder, greedy, padded
from demo_apps.translation._pairs import HELD_OUT, Corpus, Pair, Sentence, load_pairs, split_pairs
from demo_apps.translation._translator import LONGEST_SOURCE, LONGEST_TARGET, Translator
from demo_apps.translation._vocabulary import BEGIN, END, PAD, Vocabulary
from mobiledistill import Batch, Head, InputError, Metric, Output, Predict, Score, Signature, Split, TensorSpec

__all__ = ["VOCABULARY_SIZE", "TranslationTask", "english_german"]

VOCABULARY_SIZE = 2000
"""Pieces of words in each language."""

_LABEL_SMOOTHING = 0.1
_EPOCHS_IN_A_PASS = 4  # a pass over all pairs takes minutes, and people want to see progress
_CALIBRATION_TEXTS = 128
_VALIDATION_TEXTS = 300
_STEPS_PER_TEXT = 12.0
_QUICK_WORDS = 3


def english_german(data: Path | None = None, *, seed: int = 0, quick: bool = False) -> TranslationTask:
    """Everyday sentences from English to German, on the best data that can be found.

    Args:
        data: a folder with the Tatoeba pairs; None: ``MOBILEDISTILL_DATA``, the user's cache, the network, and where
            none of them has any, made-up sentences. ``task.source`` says which it was.
        seed: of the order of the batches.
        quick: the shortest sentences only, and a small vocabulary: to see that everything runs.

    Raises:
        InputError: the data folder does not exist or holds no pairs, or a file is damaged.
    """
    corpus = load_pairs(data)
    if not quick:
        return TranslationTask(corpus, seed=seed)
    if not corpus.synthetic:
        pairs = tuple(pair for pair in corpus.pairs if len(pair.source.split()) <= _QUICK_WORDS)
        corpus = Corpus(pairs, f"{corpus.source}, {len(pairs):,} short ones", synthetic=False)
    return TranslationTask(corpus, seed=seed, vocabulary_size=500, held_out=150, batch_tokens=300)


class TranslationTask:
    """English sentences into German: what ``mobiledistill.Task`` asks for.

    Three signatures. ``encode`` reads a text; ``step`` writes one token, with the keys and values of what it has
    written so far as a cache; ``whole`` reads texts with their translations and only serves training.

    Args:
        corpus: sentence pairs.
        seed: of the order of the batches.
        vocabulary_size: pieces of words in each language, at most.
        held_out: English sentences of ``validation`` and of ``test``, at most.
        batch_tokens: German tokens of a training batch, at most.

    Attributes:
        source: where the pairs come from, for people.
        source_vocabulary: of English.
        target_vocabulary: of German.
        train: the pairs that are learned from.
        held_out: the sentences of ``validation`` and ``test``.
    """

    name = "en-de"
    metric = Metric("BLEU", "")

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: int = 0,
        vocabulary_size: int = VOCABULARY_SIZE,
        held_out: int = HELD_OUT,
        batch_tokens: int = 900,
    ) -> None:
        splits = split_pairs(corpus.pairs, held_out=held_out)
        self.source = corpus.source
        self.synthetic = corpus.synthetic
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.held_out: Mapping[str, tuple[Sentence, ...]] = {"validation": splits.validation, "test": splits.test}
        self.source_vocabulary = Vocabulary.learn((pair.source for pair in splits.train), vocabulary_size)
        self.target_vocabulary = Vocabulary.learn((pair.target for pair in splits.train), vocabulary_size)
        self.signatures: Mapping[str, Signature] = _signatures(len(self.target_vocabulary))
        self.train = splits.train
        self._tokens = self._tokens_of(splits.train)
        self._states: dict[str, NDArray[np.float32]] | None = None

    def with_pairs(self, pairs: Sequence[Pair]) -> TranslationTask:
        """The same task, learned from other pairs: a teacher's translations, say."""
        task = copy.copy(self)
        task.train = tuple(pairs)
        task._tokens = self._tokens_of(pairs)
        return task

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """A quarter of the training pairs, the next quarter in the next epoch, in an order that the seed fixes.

        Pairs of like length share a batch, so little of it is padding; a batch has about as many tokens as any other.
        """
        number, part = divmod(epoch, _EPOCHS_IN_A_PASS)
        order = np.random.default_rng((self.seed, number)).permutation(len(self._tokens))
        chosen = np.array_split(order, _EPOCHS_IN_A_PASS)[part].tolist()
        chosen.sort(key=lambda index: (len(self._tokens[index][1]), len(self._tokens[index][0])))
        groups = list(_groups(chosen, [len(self._tokens[index][1]) + 1 for index in chosen], self.batch_tokens))
        for group in np.random.default_rng((self.seed, epoch, 1)).permutation(len(groups)):
            yield _batch([self._tokens[index] for index in groups[group]])

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Cross-entropy with the next tokens, a tenth of it with any token (label smoothing, Szegedy et al. 2016)."""
        return functional.cross_entropy(
            outputs["logits"].flatten(0, 1),
            batch.targets["next"].flatten(),
            ignore_index=PAD,
            label_smoothing=_LABEL_SMOOTHING,
        )

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """BLEU of greedy translations against all references; of the validation, 300 fixed sentences are enough."""
        counts = self.counts(predict, split)
        return Score(bleu(counts), len(counts), bleu_interval(counts))

    def counts(self, predict: Predict, split: Split) -> Counts:
        """What BLEU needs of each sentence of ``validation`` or ``test``: for paired comparisons."""
        chosen = self.sentences_of(split)
        answers = self.translate(predict, [sentence.source for sentence in chosen])
        return bleu_counts(answers, [sentence.references for sentence in chosen])

    def sentences_of(self, split: Split) -> tuple[Sentence, ...]:
        """The sentences that ``evaluate`` scores."""
        if split not in self.held_out:
            raise InputError(f"split is {split!r}, but translations are scored on 'validation' or 'test' only.")
        return self.held_out[split][: _VALIDATION_TEXTS if split == "validation" else None]

    def translate(self, predict: Predict, texts: Sequence[str]) -> list[str]:
        """Greedy translations of texts."""
        answers = greedy(predict, self.source_vocabulary.encode_all(texts))
        return [self.target_vocabulary.decode(tokens) for tokens in answers]

    def with_states(self, predict: Predict) -> TranslationTask:
        """The same task, whose calibration inputs of ``step`` hold what a model read and wrote, in place of noise."""
        decoder = Decoder(predict, self.calibration_inputs("encode")["source"].astype(np.int32))
        target = self.calibration_inputs("whole")["target"]
        position = self.calibration_inputs("step")["position"][:, 0]
        states = {name: value.copy() for name, value in (decoder.memory | decoder.caches).items()}
        for now in range(int(position.max()) + 1):
            for name in CACHES:
                states[name][position == now] = decoder.caches[name][position == now]
            decoder.step(target[:, now].astype(np.int64))
        task = copy.copy(self)
        task._states = states
        return task

    def calibration_inputs(self, signature: str = "whole") -> dict[str, NDArray[np.generic]]:
        """128 training pairs; for ``step`` a place in each and noise for what was read and written before it.

        Noise, unless :meth:`with_states` asked a model.
        """
        pairs = [self._tokens[i] for i in np.linspace(0, len(self._tokens) - 1, _CALIBRATION_TEXTS).astype(int)]
        source = padded([source for source, _ in pairs], LONGEST_SOURCE)
        target = padded([[BEGIN, *target] for _, target in pairs], LONGEST_TARGET)
        if signature == "encode":
            return {"source": source}
        if signature == "whole":
            return {"source": source, "target": target}
        random = np.random.default_rng(0)
        position = np.array([random.integers(0, len(tokens) + 1) for _, tokens in pairs], np.int32)[:, None]
        token = np.take_along_axis(target, position, 1)
        states = self._states or _noise(position, random)
        return {"token": token, "position": position, "source": source, **states}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The part of a translator that answers a signature."""
        if not isinstance(model, Translator):
            raise InputError(f"The model is a {type(model).__name__}, but this task needs a Translator.")
        return {"encode": _Encode, "step": _Step, "whole": _Whole}[signature](model)

    def assets(self) -> Mapping[str, bytes]:
        """The vocabularies, how long texts may be, and the shapes of what goes from call to call."""
        limits: dict[str, object] = {
            "longest_source": LONGEST_SOURCE,
            "longest_target": LONGEST_TARGET,
            "begin": BEGIN,
            "end": END,
            "memory": {name: (1, *MEMORY_SHAPE) for name in MEMORY},
            "caches": {name: (1, *CACHE_SHAPE) for name in CACHES},
        }
        return {
            "source.model": self.source_vocabulary.model,
            "target.model": self.target_vocabulary.model,
            "limits.json": json.dumps(limits).encode(),
        }

    def _tokens_of(self, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
        sources = self.source_vocabulary.encode_all([pair.source for pair in pairs])
        targets = self.target_vocabulary.encode_all([pair.target for pair in pairs])
        return [
            (source, target)
            for source, target in zip(sources, targets, strict=True)
            if len(source) <= LONGEST_SOURCE and len(target) < LONGEST_TARGET
        ]


class _Encode(nn.Module):
    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        return self.translator.encode(source)


class _Step(nn.Module):
    """Names every state, since a graph of the module can be traced only where their number is known."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(
        self,
        token: Tensor,
        position: Tensor,
        source: Tensor,
        memory_keys_0: Tensor,
        memory_values_0: Tensor,
        memory_keys_1: Tensor,
        memory_values_1: Tensor,
        keys_0: Tensor,
        values_0: Tensor,
        keys_1: Tensor,
        values_1: Tensor,
    ) -> tuple[Tensor, ...]:
        memory = (memory_keys_0, memory_values_0, memory_keys_1, memory_values_1)
        return self.translator.step(token, position, source, memory, (keys_0, values_0, keys_1, values_1))


class _Whole(nn.Module):
    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        logits: Tensor = self.translator(source, target)
        return logits


def _signatures(tokens: int) -> dict[str, Signature]:
    source = {"source": TensorSpec((1, LONGEST_SOURCE), "int32")}
    memory = {name: TensorSpec((1, *MEMORY_SHAPE)) for name in MEMORY}
    caches = {name: TensorSpec((1, *CACHE_SHAPE)) for name in CACHES}
    one = TensorSpec((1, 1), "int32")
    return {
        "encode": Signature(source, {name: Output((1, *MEMORY_SHAPE), Head.STATE) for name in MEMORY}),
        "step": Signature(
            {"token": one, "position": one, **source, **memory, **caches},
            {
                "logits": Output((1, tokens), Head.SEQUENCE),
                **{f"next_{name}": Output((1, *CACHE_SHAPE), Head.STATE) for name in CACHES},
            },
            calls_per_use=_STEPS_PER_TEXT,
            state=tuple((f"next_{name}", name) for name in CACHES),
        ),
        "whole": Signature(
            {**source, "target": TensorSpec((1, LONGEST_TARGET), "int32")},
            {"logits": Output((1, LONGEST_TARGET, tokens), Head.SEQUENCE, mask="written")},
            exported=False,
        ),
    }


def _noise(position: NDArray[np.int32], random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    written = (np.arange(LONGEST_TARGET) < position)[:, :, None].astype(np.float32)
    shapes = {**dict.fromkeys(MEMORY, MEMORY_SHAPE), **dict.fromkeys(CACHES, CACHE_SHAPE)}
    noise = {name: random.standard_normal((len(position), *shape)).astype(np.float32) for name, shape in shapes.items()}
    return {name: value * written if name in CACHES else value for name, value in noise.items()}


def _groups(indices: Sequence[int], lengths: Sequence[int], most: int) -> Iterable[list[int]]:
    """Consecutive indices, as many at a time as fit into ``most`` tokens."""
    group: list[int] = []
    longest = 0
    for index, length in zip(indices, lengths, strict=True):
        longest = max(longest, length)
        if group and (len(group) + 1) * longest > most:
            yield group
            group, longest = [], length
        group.append(index)
    if group:
        yield group


def _batch(pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
    source = padded([source for source, _ in pairs], max(len(source) for source, _ in pairs))
    longest = max(len(target) for _, target in pairs) + 1
    target = torch.from_numpy(padded([[BEGIN, *target] for _, target in pairs], longest))
    following = torch.from_numpy(padded([[*target, END] for _, target in pairs], longest)).long()
    return Batch(
        inputs={"source": torch.from_numpy(source), "target": target},
        targets={"next": following, "written": (following != PAD).float()},
        signature="whole",
    )
