"""A tiny pre-norm encoder-decoder Transformer: encode, one step with a key-value cache, whole targets for training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY, WIDTH, HEADS, LAYERS, LONGEST = 90, 32, 2, 2, 10
Pair = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention whose projections are layers and whose core is float."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def project(self, x: Tensor) -> Pair:
        return self.split(self.key(x)), self.split(self.value(x))

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], HEADS, -1).transpose(1, 2)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        scores = self.split(self.query(x)) @ key.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5
        shares = scores.masked_fill(~allowed, -1e4).softmax(-1)
        return self.out((shares @ value).transpose(1, 2).reshape(x.shape[0], x.shape[1], WIDTH))


class FeedForward(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))


class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention, self.feed_forward = nn.LayerNorm(WIDTH), Attention(), FeedForward()

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, *self.attention.project(y), allowed)
        return x + self.feed_forward(x)


class DecoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.cross_norm, self.cross_attention = nn.LayerNorm(WIDTH), Attention()
        self.feed_forward = FeedForward()

    def forward(self, x: Tensor, own: Pair, allowed: Tensor, memory: Pair, readable: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x), *own, allowed)
        x = x + self.cross_attention(self.cross_norm(x), *memory, readable)
        return x + self.feed_forward(x)


class Transformer(nn.Module):
    """Its parts as methods; ``Encode``, ``Step`` and ``Whole`` are its signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        self.encoder = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))
        self.encoder_norm = nn.LayerNorm(WIDTH)
        self.decoder = nn.ModuleList(DecoderLayer() for _ in range(LAYERS))
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.register_buffer("order", torch.arange(LONGEST))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        readable = (source != 0)[:, None, None, :]
        x = self.tokens(source) + self.places(self.order[: source.shape[1]])
        for layer in self.encoder:
            x = layer(x, readable)
        return self.encoder_norm(x), readable

    def memories(self, memory: Tensor) -> list[Pair]:
        return [layer.cross_attention.project(memory) for layer in self.decoder]


class Encode(nn.Module):
    """``source (n, s)`` to keys and values of every layer's cross-attention, each ``(n, heads, s, width / heads)``."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        memory, _ = self.model.encode(source)
        return tuple(part for pair in self.model.memories(memory) for part in pair)


class Step(nn.Module):
    """One token: ``token (n, 1)``, ``position (1,)``, the source, the memory, and a cache that ``where`` fills."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        token: Tensor,
        position: Tensor,
        source: Tensor,
        memory_key_0: Tensor,
        memory_value_0: Tensor,
        memory_key_1: Tensor,
        memory_value_1: Tensor,
        key_0: Tensor,
        value_0: Tensor,
        key_1: Tensor,
        value_1: Tensor,
    ) -> tuple[Tensor, ...]:
        model = self.model
        readable = (source != 0)[:, None, None, :]
        here = (model.order == position)[None, None, :, None]
        allowed = (model.order <= position)[None, None, None, :]
        x = model.tokens(token) + model.places(position)
        memories = ((memory_key_0, memory_value_0), (memory_key_1, memory_value_1))
        caches: list[Tensor] = []
        for layer, memory, old in zip(model.decoder, memories, ((key_0, value_0), (key_1, value_1)), strict=True):
            new = layer.attention.project(layer.norm(x))
            own = (torch.where(here, new[0], old[0]), torch.where(here, new[1], old[1]))
            x = layer(x, own, allowed, memory, readable)
            caches += own
        return (model.head(model.decoder_norm(x))[:, 0], *caches)


class Whole(nn.Module):
    """``source (n, s)`` and ``target (n, t)`` to logits ``(n, t, vocabulary)``; nothing exports it."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        model = self.model
        memory, readable = model.encode(source)
        order = model.order[: target.shape[1]]
        allowed = (order[None, :] <= order[:, None])[None, None]
        x = model.tokens(target) + model.places(order)
        for layer, pair in zip(model.decoder, model.memories(memory), strict=True):
            own = layer.attention.project(layer.norm(x))
            x = layer(x, own, allowed, pair, readable)
        return model.head(model.decoder_norm(x))


MEMORY = tuple(f"memory_{kind}_{layer}" for layer in range(LAYERS) for kind in ("key", "value"))
CACHE = tuple(f"{kind}_{layer}" for layer in range(LAYERS) for kind in ("key", "value"))


def trained(steps: int = 60) -> Transformer:
    """A model that has learned something: to repeat its source, shifted by one token."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Transformer()
        whole = Whole(model)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            source, target = sentences(32)
            loss = F.cross_entropy(whole(source, target).transpose(1, 2), (target + 1) % VOCABULARY)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model.eval()


def sentences(count: int, length: int = 8) -> tuple[Tensor, Tensor]:
    """Sources with padding (0) at their ends, and targets."""
    source = torch.randint(1, VOCABULARY, (count, length))
    source[: count // 2, -2:] = 0
    return source, torch.randint(1, VOCABULARY, (count, length))
