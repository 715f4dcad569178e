"""What Transformers are made of: attention over a whole text or over a cache, feed-forward layers, embeddings.

The translator and the language model of ``examples`` share them. Nothing asks how many heads there are: heads that are
cut out of the four projections of an attention, in blocks of ``head_size`` channels, leave a smaller one that works.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn

from mobiledistill.quantize import KeepFloat

__all__ = ["Attention", "Embed", "FeedForward", "SelfAttention", "earlier", "earlier_of", "places_of"]

_BLOCKED = -1e4  # far below any score, and still a number in float16


def earlier(length: int) -> Tensor:
    """What each place of a text may read while it is written, itself and those before: ``(1, length, length)``."""
    return torch.ones(1, length, length, dtype=torch.bool).tril()


@fx.wrap  # how long a text is, is not known while a model is traced
def places_of(tokens: Tensor, places: Tensor) -> Tensor:
    """The first of the ``places (1, longest)``, as many as the ``tokens (n, places)`` take."""
    return places[:, : tokens.shape[1]]


@fx.wrap
def earlier_of(tokens: Tensor, visible: Tensor) -> Tensor:
    """The first rows and columns of what :func:`earlier` made, as many as the ``tokens (n, places)`` take."""
    return visible[:, : tokens.shape[1], : tokens.shape[1]]


class Attend(KeepFloat):
    """Scaled dot-product attention in heads (Vaswani et al. 2017); it has no weights and stays float.

    Args:
        head_size: channels of a head; however many heads come, all are used.
    """

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.head_size = head_size

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        """Mixes values, all ``(n, places, channels)``; ``visible`` broadcasts to ``(n, queries, keys)``."""
        scores = self._heads(queries) @ self._heads(keys).transpose(-2, -1) / math.sqrt(self.head_size)
        # Added, not filled in: XNNPACK has no SELECT_V2, and going to and fro between it and others takes time.
        blocked = (1 - visible[:, None].to(scores.dtype)) * _BLOCKED
        return ((scores + blocked).softmax(-1) @ self._heads(values)).transpose(1, 2).flatten(2)

    def _heads(self, channels: Tensor) -> Tensor:
        places = channels.shape[1]
        return channels.reshape(channels.shape[0], places, -1, self.head_size).transpose(1, 2)


class AttendWithCache(KeepFloat):
    """Attention of one new place: writes its key and value into the caches and reads them up to it."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.attend = Attend(head_size)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, places: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The first three have one place, the caches as many as ``places``; ``position`` is ``(n, 1)``."""
        # Not torch.where: LiteRT's converter would put the whole cache on the new key's grid.
        here = (places == position)[:, :, None].to(key.dtype)
        keys = keys * (1 - here) + key * here
        values = values * (1 - here) + value * here
        return self.attend(query, keys, values, (places <= position)[:, None]), keys, values


class Attention(nn.Module):
    """Attention over another text.

    Args:
        width: channels of what asks.
        inner: channels of all heads together.
        head_size: channels of a head; must divide ``inner``.
    """

    def __init__(self, width: int, inner: int, head_size: int) -> None:
        super().__init__()
        self.query = _linear(width, inner)
        self.key = _linear(width, inner)
        self.value = _linear(width, inner)
        self.out = _linear(inner, width)
        self.attend = Attend(head_size)

    def keys_and_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """What can be attended to, once for all who ask: two times ``(n, places, inner)``."""
        return self.key(text), self.value(text)

    def forward(self, asking: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        """``(n, queries, width)`` to the same."""
        mixed: Tensor = self.out(self.attend(self.query(asking), keys, values, visible))
        return mixed


class SelfAttention(Attention):
    """Attention over the text itself: all of it at once, or place by place with a cache."""

    def __init__(self, width: int, inner: int, head_size: int) -> None:
        super().__init__(width, inner, head_size)
        self.attend_with_cache = AttendWithCache(head_size)

    def whole(self, text: Tensor, visible: Tensor) -> Tensor:
        """Every place of a text reads those that are visible to it."""
        mixed: Tensor = self(text, *self.keys_and_values(text), visible)
        return mixed

    def step(
        self, place: Tensor, keys: Tensor, values: Tensor, places: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next place ``(n, 1, width)`` reads itself and those before; returns it and the new caches."""
        key, value = self.keys_and_values(place)
        mixed, keys, values = self.attend_with_cache(self.query(place), key, value, keys, values, places, position)
        return self.out(mixed), keys, values


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, for each place on its own."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.widen = _linear(width, hidden)
        self.narrow = _linear(hidden, width)

    def forward(self, text: Tensor) -> Tensor:
        """``(n, places, width)`` to the same."""
        narrowed: Tensor = self.narrow(self.widen(text).relu())
        return narrowed


class Embed(nn.Module):
    """Tokens and where they stand, as channels of mean 0 and deviation 1.

    Args:
        tokens: how many there are.
        width: channels.
        longest: places of a text.
    """

    def __init__(self, tokens: int, width: int, longest: int) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, width)
        self.position = nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.token.weight, std=width**-0.5)
        with torch.no_grad():
            self.position.weight.copy_(_waves(longest, width) * width**-0.5)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """``(n, places)`` of token numbers, and positions that broadcast to them, to ``(n, places, width)``."""
        embedded: Tensor = self.norm(self.token(tokens) + self.position(positions))
        return embedded


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _waves(places: int, width: int) -> Tensor:
    """Sine and cosine waves of falling frequency (Vaswani et al. 2017), for any width."""
    channel = torch.arange(width)
    rate = 10_000.0 ** (-(channel - channel % 2) / width)
    angle = torch.arange(places)[:, None] * rate
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())
