"""Weights alone in few bits: what codes spell, how they learn, and which layers get which."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from converters import InputError, Program
from mobiledistill.quantize import Int8, LayerScheme, Mixed, Palette, WeightOnly, freeze, post_training, prepare
from mobiledistill.quantize._weights import CodedLayer, coded

SCHEMES: tuple[LayerScheme, ...] = (
    WeightOnly(8), WeightOnly(4), WeightOnly(4, block=16), WeightOnly(2), WeightOnly(1), Palette(4), Palette(2)
)  # fmt: skip


class Net(nn.Module):
    """Every kind of layer that has a weight worth coding."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(40, 32)
        self.mix, self.up = nn.Conv1d(32, 24, 3, padding=1), nn.ConvTranspose1d(24, 16, 2, 2)
        self.wide, self.small, self.head = nn.Linear(16, 64), nn.Linear(64, 3), nn.Linear(64, 10)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.up(F.relu(self.mix(self.rows(ids).transpose(1, 2))))).mean(2)
        x = F.relu(self.wide(x))
        return self.head(x), self.small(x)


@pytest.fixture
def program() -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Program(Net().eval(), {"ids": torch.randint(0, 40, (1, 12))}, ("logits", "extra"))


@torch.no_grad()
def _sqnr_db(reference: Tensor, answer: Tensor) -> float:
    return 10 * math.log10(float(reference.detach().var() / (reference - answer.detach()).square().mean()))


@pytest.mark.parametrize(("scheme", "least_db"), [*zip(SCHEMES, (40.0, 15.0, 16.0, 3.0, 1.0, 18.0, 5.0), strict=True)])
def test_without_training_answers_stay_close(program: Program, scheme: LayerScheme, least_db: float) -> None:
    (stored,) = post_training(program, scheme=scheme)
    ids = torch.randint(0, 40, (64, 12))
    assert _sqnr_db(program(ids=ids)["logits"], stored(ids=ids)["logits"]) > least_db


@pytest.mark.parametrize(("bits", "values"), [(2, {-1, 0, 1}), (1, {-1, 1})])
def test_two_bits_are_ternary_and_one_bit_is_a_sign(program: Program, bits: int, values: set[int]) -> None:
    frozen = freeze(prepare({"main": program.module}, WeightOnly(bits)))
    layers = [layer for layer in frozen.modules() if isinstance(layer, CodedLayer)]
    assert layers
    for layer in layers:
        assert set(layer.code.integers.unique().tolist()) == values


def test_weights_beyond_a_grid_of_signs_go_on_learning() -> None:
    layer = nn.Linear(64, 32)
    found = coded(layer, WeightOnly(1))
    assert found is not None
    found(torch.randn(8, 64)).square().sum().backward()
    learning = found.code.weight.grad != 0  # type: ignore[union-attr]
    assert float(learning.float().mean()) > 0.9


def test_blocks_of_a_row_round_finer_than_the_row() -> None:
    weight = torch.randn(32, 64) * torch.logspace(-1, 1, 64)
    layer = nn.Linear(64, 32)
    layer.weight.data = weight

    @torch.no_grad()
    def error(scheme: WeightOnly) -> float:
        found = coded(_copy(layer), scheme)
        assert found is not None
        return float((found.code() - weight).square().mean())

    assert error(WeightOnly(4, block=16)) < 0.7 * error(WeightOnly(4))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_freezing_changes_nothing_and_leaves_only_codes(program: Program, scheme: LayerScheme) -> None:
    prepared = prepare({"main": program.module}, scheme)
    ids = torch.randint(0, 40, (4, 12))
    frozen = freeze(prepared)
    with torch.no_grad():
        torch.testing.assert_close(frozen["main"](ids)[0], prepared["main"](ids)[0], rtol=1e-5, atol=1e-6)
    layers = [layer for layer in frozen.modules() if isinstance(layer, CodedLayer)]
    assert len(layers) == 5  # `small` has too few weights
    assert all(buffer.dtype in (torch.int8, torch.uint8) for layer in layers for buffer in layer.code.buffers()
               if buffer.numel() > 128)  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES[1:])  # 8 bits are close without
def test_training_with_codes_comes_closer_to_the_float_answers(program: Program, scheme: LayerScheme) -> None:
    prepared = prepare({"main": program.module}, scheme)
    ids = torch.randint(0, 40, (64, 12))
    with torch.no_grad():
        wanted = program.module(ids)[0]
        before = _sqnr_db(wanted, prepared["main"](ids)[0])
    optimizer = torch.optim.Adam(prepared.parameters(), 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        F.mse_loss(prepared["main"](ids)[0], wanted).backward()
        optimizer.step()
    with torch.no_grad():
        assert _sqnr_db(wanted, freeze(prepared)["main"](ids)[0]) > before + 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((2, 4, 6, 8)), st.integers(16, 40), st.integers(16, 40))
def test_a_palette_errs_less_than_evenly_spaced_values(seed: int, bits: int, rows: int, columns: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = nn.Linear(columns, rows)
        weight = layer.weight.detach().clone()
        found = coded(layer, Palette(bits))
    assert found is not None
    values = found.code().detach()
    assert len(values.unique()) <= 2**bits
    evenly = torch.linspace(float(weight.min()), float(weight.max()), 2**bits)
    nearest = (weight[..., None] - evenly).abs().amin(-1)
    assert float((values - weight).square().mean()) <= float(nearest.square().mean()) * (1 + 1e-5)


def test_patterns_choose_the_scheme_of_a_layer(program: Program) -> None:
    mixed = Mixed(Palette(4), {"rows": WeightOnly(8), "w*": None})
    (stored,) = post_training(program, scheme=mixed)
    kinds = {name: type(part).__name__ for name, part in stored.module.named_modules() if "." not in name}
    assert kinds["rows"] == kinds["mix"] == "CodedLayer"
    assert kinds["wide"] == "Linear"
    assert stored.module.get_submodule("rows.code").__class__.__name__ == "IntegerWeight"


def test_integer_activations_stand_beside_weights_stored_alone() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(F.relu(self.first(x)))

    x = torch.randn(64, 16)
    program = Program(Two().eval(), {"x": x[:1]}, ("y",))
    (stored,) = post_training(program, {"x": x}, Mixed(Int8(), {"second": WeightOnly(8)}))
    kinds = [type(part).__name__ for part in stored.module.modules()]
    assert kinds.count("QuantLinear") == kinds.count("CodedLayer") == 1
    assert _sqnr_db(program(x=x)["y"], stored(x=x)["y"]) > 30


def test_integer_activations_need_calibration(program: Program) -> None:
    with pytest.raises(InputError, match="calibration inputs lack"):
        post_training(program, scheme=Mixed(WeightOnly(8), {"wide": Int8()}))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: WeightOnly(3), "4 or 8 bits, but got 3"),
        (lambda: WeightOnly(4, block=1), "block must be 2 or more"),
        (lambda: Palette(5), "2, 4, 6 or 8 bits, but got 5"),
    ],
)
def test_what_no_format_has_is_refused(make: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()  # type: ignore[operator]


def _copy(layer: nn.Linear) -> nn.Linear:
    twin = nn.Linear(layer.in_features, layer.out_features)
    twin.load_state_dict(layer.state_dict())
    return twin
