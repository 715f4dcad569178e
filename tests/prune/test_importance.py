"""The criteria of importance: the suite that they all pass, and what each of them ranks by."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_pruning._helpers import GroupItem

import mobiledistill as md
from mobiledistill import InputError
from mobiledistill.prune import (
    Activation,
    BatchNormScale,
    Fisher,
    Importance,
    Magnitude,
    Taylor,
    channel_groups,
    cut,
    importance,
)
from mobiledistill.prune._graph import scorable
from tests.contract.importances import ImportanceContract
from tests.networks import Residual, settled

IMAGES = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(1))


class TestTaylor(ImportanceContract):
    criterion = Taylor()
    sees = frozenset({"unread", "silent", "blank"})
    feels_scale = False


class TestFisher(ImportanceContract):
    criterion = Fisher()
    sees = frozenset({"unread", "silent", "blank"})
    feels_scale = False


class TestMagnitude(ImportanceContract):
    criterion = Magnitude()
    sees = frozenset({"blank"})
    feels_scale = True


class TestBatchNormScale(ImportanceContract):
    criterion = BatchNormScale()
    sees = frozenset({"blank"})  # this network has no batch norm; see below for one that has
    feels_scale = True


class TestActivation(ImportanceContract):
    criterion = Activation()
    sees = frozenset({"silent", "blank"})
    feels_scale = True


class Chain(nn.Module):
    """Two layers of four channels, whose importances can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.write, self.norm, self.read = nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.read(self.norm(self.write(image)).relu())
        return maps.mean((2, 3))


def _run(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(IMAGES[:1]),)


@pytest.fixture
def chain() -> Chain:
    torch.manual_seed(0)
    module = Chain()
    module.norm.weight.data = torch.tensor([0.5, -2.0, 1.0, 0.25])
    return module.eval()


def _gradients(module: Chain, loss: Tensor) -> tuple[Tensor, Tensor]:
    writes, reads = torch.autograd.grad(loss, [module.write.weight, module.read.weight])
    return writes.flatten(1), reads.flatten(1).T


def test_taylor_is_weight_times_gradient(chain: Chain) -> None:
    # Torch-Pruning leaves the norm's scale out; it lies behind the writer and would count the same channel again.
    weights = chain.write.weight.flatten(1), chain.read.weight.flatten(1).T
    gradients = _gradients(chain, chain(IMAGES[:8]).square().mean() + chain(IMAGES[8:]).square().mean())
    expected = sum((w * g).abs().sum(1) for w, g in zip(weights, gradients, strict=True))

    found = _scores(chain, Taylor())

    torch.testing.assert_close(found, _share(expected), rtol=1e-4, atol=1e-6)


def test_fisher_sees_every_batch(chain: Chain) -> None:
    weights = chain.write.weight.flatten(1), chain.read.weight.flatten(1).T
    parts = [_gradients(chain, chain(part).square().mean()) for part in IMAGES.split(8)]
    expected = sum(
        (w.square() * sum(part[end].square() for part in parts)).sum(1) for end, w in enumerate(weights)
    ) + chain.norm.weight.square() * sum(
        torch.autograd.grad(chain(part).square().mean(), chain.norm.weight)[0].square() for part in IMAGES.split(8)
    )

    torch.testing.assert_close(_scores(chain, Fisher()), _share(expected), rtol=1e-4, atol=1e-6)


def test_magnitude_is_the_sum_of_squares(chain: Chain) -> None:
    expected = chain.write.weight.square().flatten(1).sum(1) + chain.read.weight.square().sum((0, 2, 3))

    found = _scores(chain, Magnitude())

    torch.testing.assert_close(found, _share(expected + chain.norm.weight.square()), rtol=1e-4, atol=1e-6)


def test_scales_of_norms_are_what_they_are(chain: Chain) -> None:
    torch.testing.assert_close(_scores(chain, BatchNormScale()), torch.tensor([0.5, 2.0, 1.0, 0.25]) / 3.75)


def test_groups_without_a_norm_go_by_magnitude() -> None:
    module = settled(Residual(8), IMAGES)
    module.late_norm = nn.Identity()
    scales, sizes = _scores(module, BatchNormScale(), "first"), _scores(module, Magnitude(), "first")
    assert torch.equal(scales, sizes)
    assert not torch.equal(_scores(module, BatchNormScale(), "stem.0"), _scores(module, Magnitude(), "stem.0"))


def test_activation_is_the_root_mean_square_where_it_is_read(chain: Chain) -> None:
    with torch.no_grad():
        read = chain.norm(chain.write(IMAGES)).relu()
    torch.testing.assert_close(
        _scores(chain, Activation()), _share(read.square().mean((0, 2, 3)).sqrt()), rtol=1e-4, atol=1e-6
    )


def test_a_map_that_is_flattened_counts_every_place_of_it() -> None:
    class Flat(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.classify = nn.Linear(4 * 16 * 16, 3)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.classify(self.norm(self.write(image)).relu().flatten(1))
            return logits

    module = Flat().eval()
    with torch.no_grad():
        module.write.weight[2] = 0
        module.norm.bias[2] = 0
    assert int(_scores(module, Activation()).argmin()) == 2


def test_places_are_put_in_order_with_their_channels() -> None:
    item = GroupItem(SimpleNamespace(target=SimpleNamespace(module=nn.Linear(3, 3))), [2, 0, 1])
    item.root_idxs = [5, 3, 4]
    (found,) = scorable([item])
    assert (found.idxs, found.root_idxs) == ([0, 1, 2], [3, 4, 5])


def test_a_teacher_may_be_frozen() -> None:
    module = settled(Residual(8), IMAGES)
    free = _scores(copy.deepcopy(module), Taylor(), "first")
    module.requires_grad_(False)
    assert torch.equal(_scores(module, Taylor(), "first"), free)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    smaller = cut(module, _run, {"first": 5}, {"first": torch.arange(8.0)})
    assert not any(parameter.requires_grad for parameter in smaller.parameters())


def test_schedules_refuse_what_is_no_criterion() -> None:
    with pytest.raises(md.InputError, match=r"importance must be a criterion, such as Taylor\(\), but got 'taylor'"):
        md.Schedule(importance="taylor")  # type: ignore[arg-type]


def _scores(module: nn.Module, criterion: md.prune.Importance, name: str = "write") -> Tensor:
    groups = channel_groups(module, _run)
    losses = (module(part).square().mean() for part in IMAGES.split(8))
    return importance(module, _run, groups, losses, criterion)[name]


def _share(raw: Tensor) -> Tensor:
    return (raw / raw.sum()).detach()


def test_batch_norms_without_scales_are_passed_over() -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 1), nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.Conv2d(8, 4, 1))
    groups = channel_groups(module, _answers)
    scores = [importance(module, _answers, groups, [], one)["0"] for one in (BatchNormScale(), Magnitude())]
    assert torch.equal(*scores)


class Forgetful(Importance):
    """Rates nothing."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def rate(self, module: nn.Module, groups: Mapping[str, Any], losses: Iterable[Tensor]) -> dict[str, Tensor]:
        return {}


def test_a_criterion_of_ones_own_is_told_what_it_left_out() -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    with pytest.raises(InputError, match=r"Forgetful\(seed=3\) rated nothing for group '0'; .* 8 channels"):
        importance(module, _answers, channel_groups(module, _answers), [], Forgetful(3))


def _answers(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(IMAGES[:1]),)
