"""Low rank keeps the contract; embeddings and linear layers of one weight go on sharing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mobiledistill import InputError
from mobiledistill.factorize import LowRank
from tests.contract.factorizations import IDS, FactorizationContract, assert_close, convolutions, linears


@st.composite
def embeddings(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(draw(st.integers(0, 2**16)))
    rows = draw(st.integers(1, 40))
    padding = draw(st.none() | st.integers(0, rows - 1))
    table = nn.Embedding(rows, draw(st.integers(1, 20)), padding)
    return table, torch.randint(0, rows, draw(st.tuples(st.integers(1, 3), st.integers(1, 5))))


class TestLowRank(FactorizationContract):
    method = LowRank()
    finds: ClassVar[Mapping[str, list[str]]] = {
        "residual": ["stem.0", "first", "second", "head"],
        "block": ["tokens", "query", "key", "value", "out", "feed_forward.0", "feed_forward.2", "head"],
        "bag": ["table", "wide", "head"],
    }
    cuttable: ClassVar[list[str]] = ["stem.0.expand", "first.expand"]
    layers = st.one_of(linears(), convolutions(), embeddings())
    foreign: ClassVar[Mapping[str, nn.Module]] = {
        "has 8 groups": nn.Sequential(nn.Conv2d(8, 8, 3, groups=8)),
        "is no Linear, Conv2d or Embedding": nn.Sequential(nn.Conv1d(8, 8, 3)),
        "bounds the norm of its rows": nn.Sequential(nn.Embedding(40, 8, max_norm=1.0)),
        "is too small to gain: even rank 1 has no fewer weights": nn.Sequential(nn.Linear(1, 9)),
    }


class Tied(nn.Module):
    """Tokens in, a score for each token out, through one table."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.mix, self.scores = nn.Embedding(40, 16), nn.Linear(16, 16), nn.Linear(16, 40)
        self.scores.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.scores(self.mix(self.tokens(ids)).relu())
        return logits


def _read(module: nn.Module) -> tuple[Tensor, ...]:
    return (module(IDS[:1]),)


def test_a_tied_embedding_and_its_linear_layer_share_the_large_factor() -> None:
    module = Tied().eval()
    tokens = LowRank().sites(module, _read)[0]
    assert (tokens.name, tokens.tied, tokens.dense.weights) == ("tokens", ("scores",), 40 * 16)

    smaller = LowRank().apply(module, {"tokens": 5})

    assert smaller.tokens.table.weight is smaller.scores.expand.weight
    assert tokens.cost(5).weights == 5 * 40 + 2 * 5 * 16
    assert sum(value.numel() for value in smaller.parameters()) == tokens.cost(5).weights + 16 * 16 + 16 + 40
    assert_close(smaller(IDS), LowRank().approximated(module, {"tokens": 5})(IDS))
    assert_close(LowRank().apply(module, {"tokens": 16})(IDS), module(IDS))


def test_the_second_of_two_tied_layers_is_no_site_of_its_own() -> None:
    module = Tied()
    assert "scores" not in [site.name for site in LowRank().sites(module, _read)]
    with pytest.raises(
        InputError, match="'scores', which shares its weight with 'tokens' and is replaced where that is"
    ):
        LowRank().apply(module, {"scores": 2})


def test_what_ties_a_weight_to_another_kind_of_layer_is_left_alone() -> None:
    module = nn.ModuleDict({"a": nn.Linear(16, 16), "b": nn.Bilinear(4, 4, 16)})
    module["b"].bias = module["a"].bias  # biases may be shared
    assert LowRank().apply(module, {"a": 2})["b"].bias is not None  # type: ignore[index]
    module["b"].register_parameter("other", module["a"].weight)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'a', which shares its weight with 'b'"):
        LowRank().apply(module, {"a": 2})


def test_no_matrix_of_that_rank_comes_nearer() -> None:
    layer = nn.Linear(12, 9)
    near = LowRank().approximated(nn.Sequential(layer), {"0": 3})[0].weight  # type: ignore[index]
    values = torch.linalg.svdvals(layer.weight.detach())
    assert float((near - layer.weight).detach().square().sum()) == pytest.approx(
        float(values[3:].square().sum()), rel=1e-4
    )
    assert torch.linalg.matrix_rank(near.detach(), tol=1e-4) == 3


@pytest.mark.parametrize("felt", [0, 2])
def test_importance_is_what_the_loss_feels_and_a_little_energy(felt: int) -> None:
    """Energies 0.4, 0.3, 0.2, 0.1; a unit of less worth than a later one cannot leave before it, and shares with it."""
    module = nn.Sequential(nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]).sqrt()))
    sites = LowRank().sites(module, lambda module: (module(torch.ones(1, 4)),))

    scores = LowRank().importance(module, sites, [7 * module[0].weight[felt, felt]])

    shares = [0.4, 0.3, 0.2, 0.1]
    raw = [0.03 * share + 0.97 * (unit == felt) for unit, share in enumerate(shares)]
    pooled = raw if felt == 0 else [sum(raw[:3]) / 3] * 3 + raw[3:]
    assert_close(scores["0"], torch.tensor(pooled))


def test_the_row_of_padding_stays_zero_and_does_not_learn() -> None:
    module = nn.Sequential(nn.Embedding(20, 8, padding_idx=3))
    smaller = LowRank().apply(module, {"0": 4})

    answers = smaller(torch.tensor([[3, 5]]))
    answers.sum().backward()

    assert_close(answers[0, 0], torch.zeros(8))
    learned = smaller.get_parameter("0.table.weight").grad
    assert learned is not None
    assert learned.any(1).nonzero().flatten().tolist() == [5]
