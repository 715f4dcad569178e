"""The network: its three ways of being asked agree, and what can be cut out of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from demo_apps.translation._layers import SelfAttention, earlier
from demo_apps.translation._translator import HEAD_SIZE, LONGEST_TARGET, Translator, translator
from mobiledistill.prune import channel_groups, cut

SOURCE = torch.tensor([[5, 9, 7, 0, 0], [8, 6, 4, 11, 12]], dtype=torch.int32)
TARGET = torch.tensor([[2, 14, 5, 9], [2, 7, 8, 4]], dtype=torch.int32)


@pytest.fixture(scope="module")
def net() -> Translator:
    torch.manual_seed(1)
    return translator(48, 2, source_tokens=20, target_tokens=17).eval()


def stepped(net: Translator, source: Tensor, target: Tensor) -> Tensor:
    memory = net.encode(source)
    caches = tuple(torch.zeros(len(source), LONGEST_TARGET, memory[0].shape[-1]) for _ in memory)
    logits = []
    for position in range(target.shape[1]):
        at = torch.full((len(source), 1), position, dtype=torch.int32)
        answer, *caches_now = net.step(target[:, position, None], at, source, memory, caches)
        logits.append(answer)
        caches = tuple(caches_now)
    return torch.stack(logits, 1)


def test_step_by_step_gives_what_the_whole_gives(net: Translator) -> None:
    torch.testing.assert_close(stepped(net, SOURCE, TARGET), net(SOURCE, TARGET), atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing(net: Translator) -> None:
    alone = net(SOURCE[:1, :3], TARGET[:1])
    torch.testing.assert_close(net(SOURCE, TARGET)[:1], alone, atol=1e-5, rtol=1e-4)


def test_no_place_sees_what_comes_later(net: Translator) -> None:
    changed = TARGET.clone()
    changed[:, 3] = 15
    before, after = net(SOURCE, TARGET), net(SOURCE, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_what_lies_behind_the_position_in_a_cache_is_not_read(net: Translator) -> None:
    memory = net.encode(SOURCE)
    clean = tuple(torch.zeros(2, LONGEST_TARGET, memory[0].shape[-1]) for _ in memory)
    dirty = tuple(torch.full_like(cache, 7.0) for cache in clean)
    at = torch.zeros(2, 1, dtype=torch.int32)
    torch.testing.assert_close(
        net.step(TARGET[:, :1], at, SOURCE, memory, clean)[0], net.step(TARGET[:, :1], at, SOURCE, memory, dirty)[0]
    )


def test_an_attention_without_its_second_head_is_the_first_head_alone() -> None:
    attention = SelfAttention(24, 2 * HEAD_SIZE, HEAD_SIZE)
    text = torch.randn(1, 3, 24)
    silent, cut = copy.deepcopy(attention), copy.deepcopy(attention)
    with torch.no_grad():
        silent.out.weight[:, HEAD_SIZE:] = 0
        cut.out.weight = torch.nn.Parameter(cut.out.weight[:, :HEAD_SIZE].clone())
        for layer in (cut.query, cut.key, cut.value):
            layer.weight = torch.nn.Parameter(layer.weight[:HEAD_SIZE].clone())
            layer.bias = torch.nn.Parameter(layer.bias[:HEAD_SIZE].clone())
    torch.testing.assert_close(cut.whole(text, earlier(3)), silent.whole(text, earlier(3)))


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (20, 3), (64, 2)])
def test_every_member_of_the_family_has_the_same_caches(width: int, depth: int) -> None:
    net = translator(width, depth, source_tokens=20, target_tokens=17).eval()
    assert [tuple(part.shape) for part in net.encode(SOURCE)] == [(2, 5, 128)] * 4
    assert net(SOURCE, TARGET).shape == (2, 4, 17)


def test_heads_units_and_channels_can_be_cut(net: Translator) -> None:
    def run(model: nn.Module) -> tuple[Tensor, ...]:
        assert isinstance(model, Translator)
        memory = model.encode(SOURCE)
        caches = tuple(torch.zeros(2, LONGEST_TARGET, part.shape[-1]) for part in memory)
        at = torch.zeros(2, 1, dtype=torch.int32)
        return (*memory, *model.step(TARGET[:, :1], at, SOURCE, memory, caches), model(SOURCE, TARGET))

    torch.manual_seed(0)
    wide = translator(2 * HEAD_SIZE, 1, source_tokens=20, target_tokens=17).eval()
    groups = {group.name: group for group in channel_groups(wide, run)}
    assert groups["encoder.0.attention.query"].block == HEAD_SIZE
    assert {"encoder.0.feed_forward.widen", "decoder.1.feed_forward.widen"} <= groups.keys()
    assert {"source.token", "target.token"} <= groups.keys()

    kept = {name: group.whole_blocks(group.channels / 2) for name, group in groups.items()}
    scores = {name: torch.ones(group.channels) / group.channels for name, group in groups.items()}
    smaller = cut(wide, run, kept, scores)
    assert isinstance(smaller, Translator)
    assert smaller.source.token.weight.shape == (20, HEAD_SIZE)
    assert [part.shape for part in run(smaller)] == [part.shape for part in run(wide)]
    torch.testing.assert_close(stepped(smaller, SOURCE, TARGET), smaller(SOURCE, TARGET), atol=1e-5, rtol=1e-4)
