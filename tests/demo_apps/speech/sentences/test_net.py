"""The streaming network: chunks say what the whole says, and nothing waits longer than promised."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from demo_apps.speech.sentences import SentencesNet, sentences_net
from demo_apps.speech.sentences._net import DELAY_FRAMES, SUBSAMPLING, Lesson, lesson_signature, stream_signature

TOKENS, WIDTH = 7, 16
SIGNATURE = stream_signature(TOKENS, WIDTH, 64, 5.0)


@pytest.fixture(scope="module")
def net() -> SentencesNet:
    torch.manual_seed(0)
    net = sentences_net(TOKENS, WIDTH)
    Lesson(net)(torch.randn(4, 1, 64, 160))  # norms that have seen something
    return net.eval()


def silence(count: int) -> list[Tensor]:
    return [torch.zeros(count, *SIGNATURE.inputs[read].shape[1:]) for _, read in SIGNATURE.state]


def streamed(net: SentencesNet, features: Tensor, chunks: Sequence[int]) -> tuple[Tensor, ...]:
    caches: Sequence[Tensor] = silence(len(features))
    logits = []
    with torch.no_grad():
        for chunk in features.split(list(chunks), dim=3):
            answer, *caches = net(chunk, *caches)
            logits.append(answer)
    return torch.cat(logits, dim=1), *caches


def test_outputs_have_the_shapes_of_the_signature(net: SentencesNet) -> None:
    outputs = net(torch.zeros(1, 1, 64, 64), *silence(1))
    assert [tuple(output.shape) for output in outputs] == [output.shape for output in SIGNATURE.outputs.values()]
    assert len(SIGNATURE.inputs) == len(SIGNATURE.state) + 1


@pytest.mark.parametrize("chunks", [(64,) * 5, (8,) * 40, (8, 64, 248), (160, 160)])
def test_chunks_give_the_same_numbers_as_the_whole(net: SentencesNet, chunks: tuple[int, ...]) -> None:
    features = torch.randn(2, 1, 64, 320)
    for part, whole in zip(streamed(net, features, chunks), streamed(net, features, (320,)), strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


def test_a_lesson_hears_what_the_stream_hears(net: SentencesNet) -> None:
    features = torch.randn(2, 1, 64, 320)
    with torch.no_grad():
        logits, middle = Lesson(net, dropout=0.5)(features)
    torch.testing.assert_close(logits, streamed(net, features, (64,) * 5)[0], rtol=1e-4, atol=1e-5)
    assert float((middle - logits).abs().max()) > 1e-2
    shapes = [output.shape[1:] for output in lesson_signature(TOKENS, 320).outputs.values()]
    assert [logits.shape[1:], middle.shape[1:]] == shapes


def test_dropout_leaves_parts_out_while_training_and_nothing_else(net: SentencesNet) -> None:
    features = torch.randn(2, 1, 64, 320)
    learning = copy.deepcopy(net).train()
    with torch.no_grad():
        calm = [Lesson(learning)(features)[0] for _ in range(2)]
        wild = [Lesson(learning, dropout=0.5)(features)[0] for _ in range(2)]
    torch.testing.assert_close(*calm)
    skipped = learning.coarse[0](features[:, :, :1, :20].expand(-1, WIDTH, -1, -1), skipped=1.0)
    torch.testing.assert_close(skipped, features[:, :, :1, 6:18].expand(-1, WIDTH, -1, -1))  # the shortcut alone
    assert float((wild[0] - wild[1]).abs().max()) > 1e-2


def test_a_cache_forgotten_between_chunks_is_noticed(net: SentencesNet) -> None:
    features = torch.randn(1, 1, 64, 128)
    whole = streamed(net, features, (128,))[0]
    with torch.no_grad():
        forgotten = net(features[..., 64:], *silence(1))[0]
    assert float((forgotten - whole[:, 8:]).abs().max()) > 1e-3


def test_a_frame_is_heard_at_once_and_never_in_the_past(net: SentencesNet) -> None:
    features = torch.randn(1, 1, 64, 320)
    louder = features.clone()
    louder[..., 160] += 5
    change = (streamed(net, louder, (320,))[0] - streamed(net, features, (320,))[0]).abs().amax(dim=(0, 2))
    assert float(change[: 160 // SUBSAMPLING].max()) == 0
    assert float(change[160 // SUBSAMPLING :].max()) > 0
    assert float(change[(160 + DELAY_FRAMES) // SUBSAMPLING]) > 0  # where all blocks have it in their middle


def test_it_can_be_traced_and_exported(net: SentencesNet) -> None:
    inputs = (torch.randn(1, 1, 64, 64), *silence(1))
    traced, exported = torch.fx.symbolic_trace(net), torch.export.export(net, inputs).module()
    for one, other, third in zip(net(*inputs), traced(*inputs), exported(*inputs), strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, third)
