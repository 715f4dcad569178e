"""The translator: an encoder that reads a text at once, a decoder that writes another token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from demo_apps.translation._layers import Attention, Embed, FeedForward, SelfAttention, earlier, earlier_of, places_of
from demo_apps.translation._vocabulary import PAD

__all__ = [
    "DECODER_LAYERS",
    "HEADS",
    "HEAD_SIZE",
    "LONGEST_SOURCE",
    "LONGEST_TARGET",
    "Translator",
    "translator",
]

LONGEST_SOURCE = 32
"""Tokens of a text to be translated."""

LONGEST_TARGET = 40
"""Tokens of a translation, its beginning or its end included; no fewer than of a text."""

DECODER_LAYERS = 2
"""The same in every translator, as are the heads below: caches then have one shape, whoever fills them."""

HEADS = 4
HEAD_SIZE = 32


def translator(width: int = 192, depth: int = 3, *, source_tokens: int = 2000, target_tokens: int = 2000) -> Translator:
    """A translator of any size: the family from which ``compress(..., student=...)`` may choose.

    The encoder is the deep part, since it runs once a text; the decoder runs once a token and has two layers.

    Args:
        width: channels between layers.
        depth: layers of the encoder.
        source_tokens: of the vocabulary that is read.
        target_tokens: of the vocabulary that is written.
    """
    return Translator(width, depth, source_tokens, target_tokens)


class Translator(nn.Module):
    """An encoder-decoder Transformer with norms before the layers (Xiong et al. 2020).

    It can be asked in three ways: :meth:`encode` and :meth:`step` translate, :meth:`forward` reads texts with their
    whole translations at once, for training.
    """

    places: Tensor
    visible_earlier: Tensor

    def __init__(self, width: int, depth: int, source_tokens: int, target_tokens: int) -> None:
        super().__init__()
        hidden = 3 * width
        self.source = Embed(source_tokens, width, LONGEST_SOURCE)
        self.encoder = nn.ModuleList(EncoderLayer(width, hidden) for _ in range(depth))
        self.encoded = nn.LayerNorm(width)
        self.target = Embed(target_tokens, width, LONGEST_TARGET)
        self.decoder = nn.ModuleList(DecoderLayer(width, hidden) for _ in range(DECODER_LAYERS))
        self.decoded = nn.LayerNorm(width)
        self.logits = nn.Linear(width, target_tokens)
        nn.init.normal_(self.logits.weight, std=width**-0.5)
        self.register_buffer("places", torch.arange(LONGEST_TARGET)[None], persistent=False)
        self.register_buffer("visible_earlier", earlier(LONGEST_TARGET), persistent=False)

    def encode(self, source: Tensor) -> tuple[Tensor, ...]:
        """Token numbers ``(n, places)``, 0 where a text has ended, to keys and values of each decoder layer."""
        text = self.source(source, places_of(source, self.places))
        visible = (source != PAD)[:, None]
        for layer in self.encoder:
            text = layer(text, visible)
        text = self.encoded(text)
        return tuple(part for layer in self._decoder_layers() for part in layer.read.keys_and_values(text))

    def step(
        self, token: Tensor, position: Tensor, source: Tensor, memory: tuple[Tensor, ...], caches: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """The next token's logits ``(n, tokens)`` and the new caches.

        Args:
            token: the last token, ``(n, 1)``.
            position: where it stands, from 0, ``(n, 1)``.
            source: as ``encode`` got it.
            memory: what ``encode`` returned.
            caches: keys and values of each layer, as the last step returned them; zeros at first.
        """
        visible = (source != PAD)[:, None]
        place = self.target(token, position)
        new: list[Tensor] = []
        for number, layer in enumerate(self._decoder_layers()):
            pair = slice(2 * number, 2 * number + 2)
            place, *written = layer.step(place, memory[pair], visible, caches[pair], self.places, position)
            new.extend(written)
        return (self.logits(self.decoded(place).flatten(0, 1)), *new)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits of what follows each token of ``target``, ``(n, places, tokens)``."""
        memory = self.encode(source)
        visible = (source != PAD)[:, None]
        text = self.target(target, places_of(target, self.places))
        before = earlier_of(target, self.visible_earlier)
        for number, layer in enumerate(self._decoder_layers()):
            text = layer(text, before, memory[2 * number : 2 * number + 2], visible)
        logits: Tensor = self.logits(self.decoded(text))
        return logits

    def _decoder_layers(self) -> Iterator[DecoderLayer]:
        return iter(cast(Iterable[DecoderLayer], self.decoder))


class EncoderLayer(nn.Module):
    """Attention, then feed-forward, each normed before and added after."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        heads = max(1, width // HEAD_SIZE)
        self.norm_attention = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads * HEAD_SIZE, HEAD_SIZE)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden)

    def forward(self, text: Tensor, visible: Tensor) -> Tensor:
        """``(n, places, width)`` to the same."""
        text = text + self.attention.whole(self.norm_attention(text), visible)
        added: Tensor = text + self.feed_forward(self.norm_feed_forward(text))
        return added


class DecoderLayer(nn.Module):
    """Attention over what was written, then over what is read, then feed-forward."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm_written = nn.LayerNorm(width)
        self.written = SelfAttention(width, HEADS * HEAD_SIZE, HEAD_SIZE)
        self.norm_read = nn.LayerNorm(width)
        self.read = Attention(width, HEADS * HEAD_SIZE, HEAD_SIZE)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden)

    def forward(self, text: Tensor, before: Tensor, memory: tuple[Tensor, ...], visible: Tensor) -> Tensor:
        """A whole text, each place of which reads itself and those before."""
        text = text + self.written.whole(self.norm_written(text), before)
        return self._read(text, memory, visible)

    def step(
        self,
        place: Tensor,
        memory: tuple[Tensor, ...],
        visible: Tensor,
        caches: tuple[Tensor, ...],
        places: Tensor,
        position: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next place ``(n, 1, width)``; returns it and the new caches."""
        keys, values = caches
        mixed, keys, values = self.written.step(self.norm_written(place), keys, values, places, position)
        return self._read(place + mixed, memory, visible), keys, values

    def _read(self, text: Tensor, memory: tuple[Tensor, ...], visible: Tensor) -> Tensor:
        keys, values = memory
        text = text + self.read(self.norm_read(text), keys, values, visible)
        added: Tensor = text + self.feed_forward(self.norm_feed_forward(text))
        return added
