"""A small language model: trained, distilled, compressed to 8-bit files, and scored through each of them.

A decoder-only Transformer learns which piece of a word comes next in everyday German sentences. The file has one
signature, ``step``, as chat models have: the last token and a cache of keys and values in, the next token's logits and
the new cache out. Perplexity, the score, is measured through that step, in the module and in every file.

    python examples/language_model.py --quick
    python examples/language_model.py --workdir runs/language-model --size 700kB
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import mobiledistill as md
from demo_apps.translation import (
    BEGIN,
    END,
    PAD,
    Embed,
    FeedForward,
    SelfAttention,
    Vocabulary,
    earlier,
    earlier_of,
    load_pairs,
    padded,
    places_of,
    split_pairs,
)

LONGEST = 40
"""Tokens of a text, its beginning included."""

HEADS, HEAD_SIZE = 4, 32  # the same in every model, so that the shape of the cache does not depend on it
LAYERS = 2
CACHES = tuple(f"{part}_{layer}" for layer in range(LAYERS) for part in ("keys", "values"))

_TOKENS_IN_A_BATCH = 1200
_SCORED = {"validation": 200, "test": 500}
_CALIBRATION_TEXTS = 128
_RESAMPLES = 1000


class LanguageModel(nn.Module):
    """A decoder-only Transformer with norms before its layers.

    Args:
        tokens: how many the vocabulary has.
        width: channels between layers.
    """

    places: Tensor
    visible_earlier: Tensor

    def __init__(self, tokens: int, width: int = 192) -> None:
        super().__init__()
        self.embed = Embed(tokens, width, LONGEST)
        self.layers = nn.ModuleList(Layer(width) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, tokens)
        self.register_buffer("places", torch.arange(LONGEST)[None], persistent=False)
        self.register_buffer("visible_earlier", earlier(LONGEST), persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        """Logits of what follows each token of a text, ``(n, places)`` to ``(n, places, tokens)``."""
        channels = self.embed(text, places_of(text, self.places))
        before = earlier_of(text, self.visible_earlier)
        for layer in self.layers:
            channels = layer(channels, before)
        logits: Tensor = self.logits(self.norm(channels))
        return logits

    def step(self, token: Tensor, position: Tensor, caches: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Logits of what follows one token ``(n, 1)``, and the new caches."""
        place = self.embed(token, position)
        new: list[Tensor] = []
        for number, layer in enumerate(cast(Iterable[Layer], self.layers)):
            keys, values = caches[2 * number : 2 * number + 2]
            place, keys, values = layer.step(place, keys, values, self.places, position)
            new += [keys, values]
        return (self.logits(self.norm(place).flatten(0, 1)), *new)


class Layer(nn.Module):
    """Attention over what was written, then feed-forward, each normed before and added after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = SelfAttention(width, HEADS * HEAD_SIZE, HEAD_SIZE)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, 4 * width)

    def forward(self, channels: Tensor, before: Tensor) -> Tensor:
        """All places at once."""
        channels = channels + self.attention.whole(self.norm_attention(channels), before)
        added: Tensor = channels + self.feed_forward(self.norm_feed_forward(channels))
        return added

    def step(
        self, place: Tensor, keys: Tensor, values: Tensor, places: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One place, and the new cache."""
        mixed, keys, values = self.attention.step(self.norm_attention(place), keys, values, places, position)
        place = place + mixed
        return place + self.feed_forward(self.norm_feed_forward(place)), keys, values


class _Step(nn.Module):
    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, token: Tensor, position: Tensor, keys_0: Tensor, values_0: Tensor, keys_1: Tensor, values_1: Tensor
    ) -> tuple[Tensor, ...]:
        return self.model.step(token, position, (keys_0, values_0, keys_1, values_1))


class NextPieces:
    """Which piece of a word comes next in German sentences: what ``mobiledistill.Task`` asks for.

    Args:
        data: a folder with the Tatoeba pairs; None: where the translation demo finds them.
        most: sentences to learn from, at most.
        vocabulary_size: pieces of words, at most.
    """

    name = "next-pieces"
    metric = md.Metric("perplexity", "", higher_is_better=False)

    def __init__(self, data: Path | None = None, *, most: int | None = None, vocabulary_size: int = 2000) -> None:
        corpus = load_pairs(data)
        splits = split_pairs(corpus.pairs)
        held_out = {
            "validation": [sentence.references[0] for sentence in splits.validation],
            "test": [sentence.references[0] for sentence in splits.test],
        }
        seen = {text for sentence in (*splits.validation, *splits.test) for text in sentence.references}
        train = sorted({pair.target for pair in splits.train} - seen)
        train = [train[index] for index in np.random.default_rng(0).permutation(len(train))[:most]]
        self.source = corpus.source
        self.vocabulary = Vocabulary.learn(train, vocabulary_size)
        self._train = self._tokens_of(train)
        self._held_out = {
            split: self._tokens_of(list(dict.fromkeys(texts)))[: _SCORED[split]] for split, texts in held_out.items()
        }
        cache = (LONGEST, HEADS * HEAD_SIZE)
        one = md.TensorSpec((1, 1), "int32")
        tokens = len(self.vocabulary)
        self.signatures: Mapping[str, md.Signature] = {
            "step": md.Signature(
                {"token": one, "position": one, **{name: md.TensorSpec((1, *cache)) for name in CACHES}},
                {
                    "logits": md.Output((1, tokens), md.Head.SEQUENCE),
                    **{f"next_{name}": md.Output((1, *cache), md.Head.STATE) for name in CACHES},
                },
                state=tuple((f"next_{name}", name) for name in CACHES),
            ),
            "whole": md.Signature(
                {"text": md.TensorSpec((1, LONGEST), "int32")},
                {"logits": md.Output((1, LONGEST, tokens), md.Head.SEQUENCE, mask="written")},
                exported=False,
            ),
        }

    def train_batches(self, epoch: int) -> Iterator[md.Batch]:
        """Every sentence once, those of like length together, in an order that the epoch's number fixes."""
        random = np.random.default_rng(epoch)
        order = sorted(random.permutation(len(self._train)), key=lambda index: len(self._train[index]))
        starts = [0]
        for end in range(1, len(order)):
            if (end + 1 - starts[-1]) * (len(self._train[order[end]]) + 1) > _TOKENS_IN_A_BATCH:
                starts.append(end)
        batches = [order[start:end] for start, end in zip(starts, [*starts[1:], len(order)], strict=True)]
        for number in random.permutation(len(batches)):
            yield _batch([self._train[index] for index in batches[number]])

    def loss(self, outputs: Mapping[str, Tensor], batch: md.Batch) -> Tensor:
        """Cross-entropy with the next pieces."""
        logits = outputs["logits"].flatten(0, 1)
        return functional.cross_entropy(logits, batch.targets["next"].flatten(), ignore_index=PAD)

    def evaluate(self, predict: md.Predict, split: md.Split) -> md.Score:
        """Perplexity of a piece, the end of the text included, token by token through ``step``."""
        texts = sorted(self._held_out[split], key=len)
        surprise = np.concatenate([_surprise(predict, texts[i : i + 100]) for i in range(0, len(texts), 100)])
        count = np.array([len(text) + 1 for text in texts])
        often = np.random.default_rng(0).multinomial(len(texts), np.full(len(texts), 1 / len(texts)), _RESAMPLES)
        low, high = np.quantile(np.exp((often @ surprise) / (often @ count)), [0.025, 0.975])
        return md.Score(float(np.exp(surprise.sum() / count.sum())), len(texts), (float(low), float(high)))

    def calibration_inputs(self, signature: str = "whole") -> dict[str, NDArray[np.generic]]:
        """Training sentences; for ``step`` a place in each, with noise for what was read before it."""
        texts = padded([[BEGIN, *text] for text in self._train[:_CALIBRATION_TEXTS]], LONGEST)
        if signature == "whole":
            return {"text": texts}
        random = np.random.default_rng(0)
        position = random.integers(0, (texts != PAD).sum(1))[:, None].astype(np.int32)
        read = (np.arange(LONGEST) < position)[:, :, None]
        noise = random.standard_normal((len(CACHES), len(texts), LONGEST, HEADS * HEAD_SIZE)).astype(np.float32) * read
        token = np.take_along_axis(texts, position.astype(np.int64), 1)
        return {"token": token, "position": position, **dict(zip(CACHES, noise, strict=True))}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The model itself reads whole texts; a part of it steps."""
        if not isinstance(model, LanguageModel):
            raise md.InputError(f"The model is a {type(model).__name__}, but this task needs a LanguageModel.")
        return _Step(model) if signature == "step" else model

    def assets(self) -> Mapping[str, bytes]:
        """The vocabulary."""
        return {"text.model": self.vocabulary.model}

    def _tokens_of(self, texts: Sequence[str]) -> list[list[int]]:
        return [tokens for tokens in self.vocabulary.encode_all(texts) if len(tokens) < LONGEST]


def _batch(texts: Sequence[list[int]]) -> md.Batch:
    longest = max(map(len, texts)) + 1
    following = torch.from_numpy(padded([[*text, END] for text in texts], longest)).long()
    return md.Batch(
        inputs={"text": torch.from_numpy(padded([[BEGIN, *text] for text in texts], longest))},
        targets={"next": following, "written": (following != PAD).float()},
        signature="whole",
    )


def _surprise(predict: md.Predict, texts: Sequence[list[int]]) -> NDArray[np.float64]:
    """Each text's negative log-probability; the texts are sorted by length, so the shorter ones drop out in front."""
    read = padded([[BEGIN, *text] for text in texts], LONGEST)
    following = padded([[*text, END] for text in texts], LONGEST)
    caches: dict[str, NDArray[Any]] = dict.fromkeys(
        CACHES, np.zeros((len(texts), LONGEST, HEADS * HEAD_SIZE), np.float32)
    )
    total = np.zeros(len(texts))
    gone = 0
    for position in range(len(texts[-1]) + 1):
        ended = int((following[gone:, position] == PAD).sum())
        gone += ended
        inputs = {
            "token": read[gone:, position, None],
            "position": np.full((len(texts) - gone, 1), position, np.int32),
            **{name: value[ended:] for name, value in caches.items()},
        }
        outputs = predict(inputs, "step")
        caches = {name: outputs[f"next_{name}"] for name in CACHES}
        logits = outputs["logits"].astype(np.float64)
        chosen = np.take_along_axis(logits, following[gone:, position, None].astype(np.int64), 1)[:, 0]
        highest = logits.max(1)
        total[gone:] += highest + np.log(np.exp(logits - highest[:, None]).sum(1)) - chosen
    return total


def main(arguments: Sequence[str] | None = None) -> md.CompressionResult:
    """Trains the teacher, compresses it, prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the Tatoeba pairs")
    parser.add_argument("--workdir", type=Path, default=Path("runs/language-model"))
    parser.add_argument("--size", default="700kB", help="of each file")
    parser.add_argument("--formats", default="tflite,coreml,onnx")
    parser.add_argument("--quick", action="store_true", help="a slice of the data, to see that everything runs")
    given = parser.parse_args(arguments)

    most, pieces = (3000, 500) if given.quick else (60_000, 2000)
    task = NextPieces(given.data, most=most, vocabulary_size=pieces)
    torch.manual_seed(0)
    model = LanguageModel(len(task.vocabulary), 64) if given.quick else LanguageModel(len(task.vocabulary))
    recipe = md.Recipe(epochs=2 if given.quick else 6, learning_rate=2e-3, average=0.99)
    short = md.Recipe(epochs=1, learning_rate=1e-3, warmup_epochs=0.2)
    schedule = md.Schedule(
        cut_steps=1 if given.quick else 2,
        cut=short,
        distill=short if given.quick else md.Recipe(epochs=4, learning_rate=1e-3, warmup_epochs=0.2),
        quantize=md.Recipe(epochs=1, learning_rate=2e-4, weight_decay=0.0, warmup_epochs=0.2),
        rounds=2 if given.quick else 4,
    )
    teacher = md.train_model(model, task, recipe, workdir=given.workdir / "teacher", progress=_print)
    result = md.compress(
        teacher,
        task,
        md.Budget.parse(given.size),
        formats=tuple(given.formats.split(",")),
        distill=md.distill.SoftTargets(temperature=1.0, hard=0.3, soft=0.7),
        schedule=schedule,
        workdir=given.workdir / "student",
        progress=_print,
    )
    print(f"German sentences: {task.source}.")
    print(result.summary())
    print(f"Trivial guess: perplexity {len(task.vocabulary)}; teacher and files, bits per piece:", end=" ")
    scores = [result.teacher.score.value, *(artifact.score.value for artifact in result.artifacts.values())]
    print(", ".join(f"{math.log2(value):.3f}" for value in scores))
    return result


def _print(event: md.Event) -> None:
    print(f"{event.phase} {event.done}/{event.total} {event.note}", flush=True)


if __name__ == "__main__":
    main()
