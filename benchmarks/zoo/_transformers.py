"""Transformers: models of ``transformers`` from their own configurations, scaled down, and a few written here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo._network import Network, Outputs, spectrograms

__all__ = ["TRANSFORMERS"]

_VOCABULARY = 512


def _of_library(
    model: str, config: str, inputs: tuple[str, ...], outputs: tuple[str, ...], **settings: Any
) -> Callable[[], nn.Module]:
    """How to build a model of ``transformers`` by the names of its classes."""

    def build() -> nn.Module:
        import transformers

        made = getattr(transformers, model)(getattr(transformers, config)(**settings))
        return Outputs(made, inputs, outputs)

    return build


def _tokens(name: str = "input_ids", length: int = 24) -> Callable[[torch.Generator], dict[str, Tensor]]:
    return lambda generator: {name: torch.randint(5, _VOCABULARY, (1, length), generator=generator)}


_TEXT = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "num_labels": 6,
}

bert = _of_library("BertForSequenceClassification", "BertConfig", ("input_ids",), ("logits",), **_TEXT)
albert = _of_library(
    "AlbertForSequenceClassification", "AlbertConfig", ("input_ids",), ("logits",), **_TEXT, embedding_size=32
)
squeezebert = _of_library(
    "SqueezeBertForSequenceClassification", "SqueezeBertConfig", ("input_ids",), ("logits",),
    **_TEXT, embedding_size=64,
)  # fmt: skip
distilbert = _of_library(
    "DistilBertForSequenceClassification", "DistilBertConfig", ("input_ids",), ("logits",),
    vocab_size=_VOCABULARY, dim=64, n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=64, num_labels=6,
)  # fmt: skip
mobilebert = _of_library(
    "MobileBertForSequenceClassification", "MobileBertConfig", ("input_ids",), ("logits",),
    vocab_size=_VOCABULARY, hidden_size=64, embedding_size=32, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=64, intra_bottleneck_size=32, num_feedforward_networks=2, max_position_embeddings=64,
    num_labels=6,
)  # fmt: skip
electra = _of_library(
    "ElectraForTokenClassification", "ElectraConfig", ("input_ids",), ("logits",), **_TEXT, embedding_size=32
)


class _Encoder(nn.Module):
    """The encoder of an encoder-decoder model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model

    def forward(self, values: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(values, return_dict=True)["last_hidden_state"]
        return hidden


def t5_encoder() -> nn.Module:
    """Relative positions, RMS norm."""
    from transformers import T5Config, T5EncoderModel

    settings = T5Config(vocab_size=_VOCABULARY, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    return _Encoder(T5EncoderModel(settings))


def marian_encoder() -> nn.Module:
    """Sinusoidal positions, norms behind the layers, swish."""
    from transformers import MarianConfig, MarianMTModel

    settings = MarianConfig(
        vocab_size=_VOCABULARY, d_model=64, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    return _Encoder(MarianMTModel(settings).get_encoder())


def whisper_encoder() -> nn.Module:
    """Two convolutions in one dimension, then layers with norms in front."""
    return _Encoder(_whisper().get_encoder())


def _whisper() -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    settings = WhisperConfig(
        vocab_size=_VOCABULARY, num_mel_bins=40, d_model=64, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128,
        max_source_positions=32, max_target_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperForConditionalGeneration(settings)


class WhisperDecoderStep(nn.Module):
    """Whisper's decoder for one more token, its own keys and values carried by the caller.

    Args:
        model: a ``WhisperForConditionalGeneration``.
        length: tokens that the cache holds.
    """

    def __init__(self, model: Any, length: int) -> None:
        super().__init__()
        self.decoder = model.model.decoder
        self.project = model.proj_out
        self.heads = model.config.decoder_attention_heads
        self.register_buffer("places", torch.arange(length))

    def forward(
        self, token: Tensor, place: Tensor, encoded: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, ...]:
        here = (self.places == place[:, None])[:, :, None]
        seen = (self.places <= place[:, None])[:, None, None]
        hidden = self.decoder.embed_tokens(token) + self.decoder.embed_positions.weight[place][:, None]
        new_keys, new_values = [], []
        for number, layer in enumerate(self.decoder.layers):
            attention = layer.self_attn
            read = layer.self_attn_layer_norm(hidden)
            known = torch.where(here, attention.k_proj(read), keys[:, number])
            told = torch.where(here, attention.v_proj(read), values[:, number])
            hidden = hidden + attention.out_proj(self._attend(attention.q_proj(read), known, told, seen))
            new_keys.append(known)
            new_values.append(told)
            cross = layer.encoder_attn
            read = layer.encoder_attn_layer_norm(hidden)
            answer = self._attend(cross.q_proj(read), cross.k_proj(encoded), cross.v_proj(encoded), None)
            hidden = hidden + cross.out_proj(answer)
            hidden = hidden + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(hidden))))
        logits = self.project(self.decoder.layer_norm(hidden))
        return logits[:, 0], torch.stack(new_keys, 1), torch.stack(new_values, 1)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
        query, keys, values = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (query, keys, values))
        return F.scaled_dot_product_attention(query, keys, values, seen).transpose(1, 2).flatten(2)


def whisper_decoder_step() -> nn.Module:
    """One token more, with a cache."""
    return WhisperDecoderStep(_whisper(), 16)


def _decoder_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    cache = {name: torch.randn(1, 2, 16, 64, generator=generator) for name in ("keys", "values")}
    return {
        "token": torch.randint(5, _VOCABULARY, (1, 1), generator=generator),
        "place": torch.randint(2, 15, (1,), generator=generator),
        "encoded": torch.randn(1, 32, 64, generator=generator),
        **cache,
    }


class DecoderOnlyStep(nn.Module):
    """One more token of a small language model in Llama's style: RMS norm, rotary positions, gated linear units."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2, length: int = 32) -> None:
        super().__init__()
        self.heads, self.layers_count = heads, layers
        self.table = nn.Embedding(_VOCABULARY, width)
        names = ("query", "key", "value", "out", "gate", "up", "down")
        sizes = ((width, width),) * 4 + ((width, 2 * width),) * 2 + ((2 * width, width),)
        self.layers = nn.ModuleList(
            [
                nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in zip(names, sizes, strict=True)})
                for _ in range(layers)
            ]
        )
        self.norms = nn.ModuleList([nn.RMSNorm(width) for _ in range(2 * layers + 1)])
        self.head = nn.Linear(width, _VOCABULARY, bias=False)
        angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width // heads, 2) / (width // heads))
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())
        self.register_buffer("places", torch.arange(length))

    def forward(self, token: Tensor, place: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.table(token)
        here = (self.places == place[:, None])[:, :, None]
        unseen = torch.where(self.places > place[:, None], -1e4, 0.0)[:, None, None]
        all_keys, all_values = [], []
        for number, layer in enumerate(self.layers):
            read = self.norms[2 * number](x)
            key = torch.where(here, self._turned(layer["key"](read), place), keys[:, number])
            value = torch.where(here, layer["value"](read), values[:, number])
            all_keys.append(key)
            all_values.append(value)
            query = self._turned(layer["query"](read), place)
            q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
            weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + unseen).softmax(dim=-1)
            x = x + layer["out"]((weights @ v).transpose(1, 2).flatten(2))
            read = self.norms[2 * number + 1](x)
            x = x + layer["down"](F.silu(layer["gate"](read)) * layer["up"](read))
        return self.head(self.norms[-1](x))[:, 0], torch.stack(all_keys, 1), torch.stack(all_values, 1)

    def _turned(self, x: Tensor, place: Tensor) -> Tensor:
        x = x.unflatten(2, (self.heads, -1))
        cosine, sine = self.cosine[place][:, None, None], self.sine[place][:, None, None]
        even, odd = x.chunk(2, dim=-1)
        return torch.cat([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(2)


def _step_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "token": torch.randint(5, _VOCABULARY, (1, 1), generator=generator),
        "place": torch.randint(2, 31, (1,), generator=generator),
        **{name: torch.randn(1, 2, 32, 64, generator=generator) for name in ("keys", "values")},
    }


class KeywordTransformer(nn.Module):
    """Frames of a spectrogram as tokens, a class token, norms behind the layers (Berg et al. 2021)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.project = nn.Linear(40, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.5 * torch.randn(1, 50, width))
        layer = nn.TransformerEncoderLayer(width, 3, 4 * width, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 12)

    def forward(self, features: Tensor) -> Tensor:
        x = self.project(features)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.layers(x)[:, 0])


_IMAGE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}

vit = _of_library(
    "ViTForImageClassification", "ViTConfig", ("pixel_values",), ("logits",),
    **_IMAGE, image_size=64, patch_size=16, num_labels=10,
)  # fmt: skip
yolos = _of_library(
    "YolosForObjectDetection", "YolosConfig", ("pixel_values",), ("logits", "pred_boxes"),
    **_IMAGE, image_size=[64, 96], patch_size=16, num_detection_tokens=10, num_labels=4,
    use_mid_position_embeddings=False,
)  # fmt: skip
mobilevit = _of_library(
    "MobileViTForImageClassification", "MobileViTConfig", ("pixel_values",), ("logits",),
    image_size=64, hidden_sizes=[32, 40, 48], neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 96], num_labels=10,
    num_attention_heads=4, mlp_ratio=2.0,
)  # fmt: skip
mobilevit_v2 = _of_library(
    "MobileViTV2ForImageClassification", "MobileViTV2Config", ("pixel_values",), ("logits",),
    image_size=64, width_multiplier=0.25, num_labels=10, n_attn_blocks=[1, 1, 1],
    base_attn_unit_dims=[64, 96, 128],
)  # fmt: skip
segformer = _of_library(
    "SegformerForSemanticSegmentation", "SegformerConfig", ("pixel_values",), ("logits",),
    num_encoder_blocks=3, depths=[1, 1, 1], sr_ratios=[4, 2, 1], hidden_sizes=[16, 32, 48],
    patch_sizes=[7, 3, 3], strides=[4, 2, 2], num_attention_heads=[1, 2, 3], mlp_ratios=[2, 2, 2],
    decoder_hidden_size=32, num_labels=5,
)  # fmt: skip
poolformer = _of_library(
    "PoolFormerForImageClassification", "PoolFormerConfig", ("pixel_values",), ("logits",),
    depths=[1, 1, 1, 1], hidden_sizes=[16, 24, 32, 48], num_labels=10, layer_scale_init_value=0.5,
)  # fmt: skip

_SPEECH = {
    "vocab_size": 32, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96,
    "conv_dim": (32, 32, 32), "conv_stride": (5, 4, 4), "conv_kernel": (10, 5, 4), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "apply_spec_augment": False,
}  # fmt: skip

wav2vec2 = _of_library(
    "Wav2Vec2ForCTC", "Wav2Vec2Config", ("input_values",), ("logits",),
    **_SPEECH, feat_extract_norm="layer", do_stable_layer_norm=True,
)  # fmt: skip
conformer = _of_library(
    "Wav2Vec2ConformerForCTC", "Wav2Vec2ConformerConfig", ("input_values",), ("logits",),
    **_SPEECH, position_embeddings_type="relative", conv_depthwise_kernel_size=7,
)  # fmt: skip


def _pixels(height: int, width: int) -> Callable[[torch.Generator], dict[str, Tensor]]:
    draw = spectrograms(3, height, width)
    return lambda generator: {"pixel_values": draw(generator)}


def _wave(generator: torch.Generator) -> dict[str, Tensor]:
    return {"input_values": spectrograms(1, 4000)(generator).reshape(1, 4000)}


def _mel(generator: torch.Generator) -> dict[str, Tensor]:
    return {"input_features": spectrograms(40, 64)(generator)}


_frames = spectrograms(49, 40)
_HIDDEN = ("hidden",)
_STEP = ("logits", "next_keys", "next_values")

TRANSFORMERS = (
    Network("keyword-transformer", KeywordTransformer, lambda g: {"features": _frames(g)}, small=True),
    Network("bert", bert, _tokens()),
    Network("distilbert", distilbert, _tokens()),
    Network("mobilebert", mobilebert, _tokens()),
    Network("albert", albert, _tokens()),
    Network("electra", electra, _tokens()),
    Network("squeezebert", squeezebert, _tokens()),
    Network("t5-encoder", t5_encoder, _tokens(), _HIDDEN),
    Network("marian-encoder", marian_encoder, _tokens(), _HIDDEN),
    Network("whisper-encoder", whisper_encoder, _mel, _HIDDEN),
    Network("whisper-decoder-step", whisper_decoder_step, _decoder_inputs, _STEP),
    Network("decoder-only-step", DecoderOnlyStep, _step_inputs, _STEP),
    Network("wav2vec2", wav2vec2, _wave),
    Network("conformer", conformer, _wave),
    Network("vit", vit, _pixels(64, 64)),
    Network("yolos", yolos, _pixels(64, 96), ("logits", "boxes")),
    Network("mobilevit", mobilevit, _pixels(64, 64)),
    Network("mobilevit-v2", mobilevit_v2, _pixels(64, 64)),
    Network("segformer", segformer, _pixels(64, 64)),
    Network("poolformer", poolformer, _pixels(64, 64)),
)
