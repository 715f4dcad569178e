"""Single weights as zeros: which leave, when, that they stay away, and that all files keep them."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import mobiledistill as md
from converters import FORMATS, Format, suffix_of
from mobiledistill._lesson import Lesson
from mobiledistill.distill import SoftTargets
from mobiledistill.prune import (
    Sparsity,
    _sparse,
    follow,
    hold_zeros,
    is_masked,
    layer_shares,
    sparsify,
    without_masks,
    zero_shares,
)
from mobiledistill.quantize import Int8, LayerScheme, Palette, WeightOnly, calibrate, freeze, prepare
from mobiledistill.teachers import as_teacher
from mobiledistill.train import Doctor, Illness
from tests.networks import Residual, Stripes, settled

STRIPES = Stripes(train=256, held_out=64)


class Two(nn.Module):
    """Two layers worth pruning, and a head that is too small."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 12, 5), nn.Linear(12, 48), nn.Linear(48, 4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.second(F.relu(self.first(image)).mean((2, 3)))))
        return logits


@pytest.fixture
def net() -> Two:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Two().eval()


def grown(weight: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))


def trained(module: nn.Module, steps: int = 12, seed: int = 0) -> nn.Module:
    """Steps of an optimiser with momentum and decay, which move whatever is not held."""
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2, weight_decay=0.1)
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    part = module["main"] if isinstance(module, nn.ModuleDict) else module
    for step in range(steps):
        follow(module, step / steps)
        optimizer.zero_grad()
        (part(images) - 1).square().mean().backward()
        optimizer.step()
    return module.eval()


def zeros_of(module: nn.Module, path: str) -> Tensor:
    layer = module.get_submodule(path)
    with torch.no_grad():
        return layer.weight == 0  # type: ignore[return-value, operator]


# -- which leave -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.99), st.integers(2, 9), st.integers(3, 40))
def test_the_smallest_weights_leave_and_no_others(seed: int, share: float, rows: int, columns: int) -> None:
    layer = nn.Linear(columns, rows)
    layer.weight.data = grown(layer.weight, seed)
    sparse = without_masks(sparsify(nn.Sequential(layer), Sparsity({"0": share})))[0]  # type: ignore[index]
    gone = sparse.weight == 0
    assert int(gone.sum()) == round(share * layer.weight.numel())
    torch.testing.assert_close(sparse.weight[~gone], layer.weight[~gone])
    if bool(gone.any()) and not bool(gone.all()):
        assert layer.weight[gone].abs().max() <= layer.weight[~gone].abs().min()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 4), st.sampled_from(("linear", "conv", "transposed")))
def test_neighbours_of_a_block_leave_together(seed: int, block: int, blocks: int, kind: str) -> None:
    outputs = block * blocks + seed % block  # the last block may be smaller
    layer: nn.Module = {
        "linear": nn.Linear(12, outputs),
        "conv": nn.Conv2d(12, outputs, 1),
        "transposed": nn.ConvTranspose2d(12, outputs, 1),
    }[kind]
    layer.weight.data = grown(layer.weight, seed)  # type: ignore[operator, union-attr, arg-type]
    sparse = without_masks(sparsify(nn.Sequential(layer), Sparsity({"0": 0.5}, block=block)))
    gone = zeros_of(sparse, "0").flatten()
    gone = gone.view(12, outputs) if kind == "transposed" else gone.view(outputs, 12).T
    for part in gone.split(block, dim=1):
        assert torch.equal(part.all(1), part.any(1))
    assert 0 < int(gone.sum()) < gone.numel()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.98), st.floats(0.01, 100.0))
def test_one_share_is_parted_without_regard_to_the_scale_of_a_layer(seed: int, share: float, scale: float) -> None:
    pair = nn.Sequential(nn.Linear(32, 40), nn.Linear(40, 10))
    for number, layer in enumerate(pair):
        layer.weight.data = grown(layer.weight, seed + number)  # type: ignore[operator, union-attr, arg-type]
    shares = layer_shares(pair, share)
    weights = {"0": 1280, "1": 400}
    assert sum(shares[path] * weights[path] for path in shares) == pytest.approx(1680 * share, abs=2)
    assert shares["1"] <= shares["0"] + 1 / 400  # fewer weights, each of which counts for more
    pair[1].weight.data *= scale  # type: ignore[operator, union-attr]
    assert layer_shares(pair, share) == pytest.approx(shares, abs=0.01)


def test_movement_keeps_what_moves_away_from_zero_however_small_it_is() -> None:
    layer = nn.Linear(32, 16, bias=False)
    layer.weight.data = grown(layer.weight)
    growing = torch.arange(512).view(16, 32) % 4 == 0
    layer.weight.data[growing] *= 0.01
    masked = sparsify(nn.Sequential(layer), Sparsity({"0": 0.75}, by="movement", end=1.0)).train()
    optimizer = torch.optim.SGD(masked.parameters(), 1e-2)
    push = torch.where(growing, -layer.weight.sign(), layer.weight.sign()).detach()  # the gradient of each weight
    for step in range(40):
        follow(masked, step / 40)
        optimizer.zero_grad()
        (masked[0].weight * push).sum().backward()  # type: ignore[index]
        optimizer.step()
    assert torch.equal(~zeros_of(without_masks(masked), "0"), growing)


# -- when --------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 0.8), st.floats(0.05, 1.0), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_share_rises_as_a_cubic_between_begin_and_end(begin: float, length: float, progress: float) -> None:
    end = min(1.0, begin + length)
    masked = sparsify(nn.Sequential(nn.Linear(100, 100)), Sparsity({"0": 0.9}, begin=begin, end=end))
    follow(masked, progress)
    done = min(1.0, max(0.0, (progress - begin) / (end - begin)))
    assert float(zeros_of(masked, "0").double().mean()) == pytest.approx(0.9 * (1 - (1 - done) ** 3), abs=0.03)


@pytest.mark.parametrize("regrow", [True, False])
def test_pruned_weights_come_back_where_they_may(net: Two, regrow: bool) -> None:
    masked = sparsify(net, Sparsity({"second": 0.5}, end=0.5, regrow=regrow)).train()
    follow(masked, 0.3)
    gone = zeros_of(masked, "second")
    (masked.second.weight * gone).sum().neg().backward()
    original = masked.second.parametrizations.weight.original
    with torch.no_grad():
        original -= 10 * original.grad * original.sign()
    follow(masked, 0.31)
    assert bool((gone & ~zeros_of(masked, "second")).any()) == regrow


def test_after_the_end_nothing_comes_back_and_pruned_weights_learn_no_more(net: Two) -> None:
    masked = sparsify(net, Sparsity({"second": 0.5}, end=0.5)).train()
    follow(masked, 0.6)
    gone = zeros_of(masked, "second")
    masked.second.weight.sum().backward()
    original = masked.second.parametrizations.weight.original
    assert torch.equal(original.grad != 0, ~gone)
    with torch.no_grad():
        original[gone] = 100.0
    follow(masked, 1.0)
    assert torch.equal(zeros_of(without_masks(masked), "second"), gone)


def test_a_training_that_was_too_short_is_made_up_for(net: Two) -> None:
    masked = sparsify(net, Sparsity({"first": 0.5, "second": 0.75}))
    follow(masked, 0.1)
    assert zero_shares(masked)["second"] < 0.4
    assert zero_shares(without_masks(masked)) == {"first": 0.5, "second": 0.75, "head": 0.0}
    assert zero_shares(net) == {"first": 0.0, "second": 0.0, "head": 0.0}  # untouched


def test_the_training_loop_moves_the_masks_and_takes_up_where_it_stopped(net: Two, tmp_path: Path) -> None:
    def student(sparsity: Sparsity, epochs: int = 4, folder: str = "one") -> nn.Module:
        recipe = md.Recipe(epochs=epochs, warmup_epochs=0)
        masked = sparsify(net, sparsity)
        return md.train_model(masked, STRIPES, recipe, workdir=tmp_path / folder, teacher=net, distill=SoftTargets())

    learned = student(Sparsity({"second": 0.9}, end=0.5))
    assert zero_shares(learned)["second"] == pytest.approx(0.9, abs=1 / 576)
    again = student(Sparsity({"second": 0.9}, end=0.5))
    torch.testing.assert_close(again.state_dict(), learned.state_dict())
    assert len([*tmp_path.glob("one/weights-*")]) == 1
    other = student(Sparsity({"second": 0.8}, end=0.5))
    assert zero_shares(other)["second"] == pytest.approx(0.8, abs=1 / 576)  # another wish is another training


@pytest.mark.parametrize(
    ("losses", "patient", "strict"),
    [
        ([0.001, *[9.0] * 40], "masked", Illness.DIVERGES),  # it rises while weights leave
        ([1.0] * 41, "masked", Illness.LEARNS_NOTHING),
        ([1.0] * 41, "palette", Illness.LEARNS_NOTHING),  # it need be no better than what it was made of
    ],
)
def test_the_doctor_bears_with_what_pruning_does(net: Two, losses: list[float], patient: str, strict: Illness) -> None:
    def found(student: nn.Module) -> set[Illness]:
        doctor, taught = Doctor(), SoftTargets()
        lesson = Lesson(STRIPES, {"main": student}, as_teacher(net), taught)
        doctor.examine(lesson, STRIPES, STRIPES.train_batches(0), taught)
        for epoch, loss in enumerate(losses):
            for _ in range(4):
                doctor.step(loss, 0.0, 1.0, 0.0)
            doctor.epoch(epoch, len(losses), loss, None, True, dict)
        return {finding.illness for finding in doctor.findings}

    sparsity = Sparsity({"second": 0.9})
    pruned = {
        "masked": sparsify(net, sparsity),
        "palette": prepare({"main": without_masks(sparsify(net, sparsity))}, Palette(4)).get_submodule("main"),
    }
    assert strict in found(net)
    assert strict not in found(pruned[patient])


# -- that they stay away -----------------------------------------------------------------------------------------------

SCHEMES: tuple[LayerScheme, ...] = (None, Int8(), WeightOnly(8), WeightOnly(4), WeightOnly(2), Palette(4), Palette(2))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_zeros_survive_preparing_training_and_freezing(net: Two, scheme: LayerScheme) -> None:
    sparse = without_masks(sparsify(net, Sparsity({"first": 0.6, "second": 0.9})))
    prepared = prepare({"main": sparse}, scheme)
    if isinstance(scheme, Int8):
        calibrate(prepared, {"main": {"image": torch.randn(8, 1, 16, 16)}}, None)
    held = hold_zeros(prepared)
    before = [value.detach().clone() for value in held.parameters()]
    trained(held)
    assert any(not torch.equal(one, two) for one, two in zip(before, held.parameters(), strict=True))
    frozen = freeze(held)
    for path in ("first", "second"):
        gone = zeros_of(sparse, path)
        layer = frozen["main"].get_submodule(path)  # type: ignore[operator]
        weight = layer.quantized_weight() if isinstance(scheme, Int8) else layer.weight
        assert bool((weight[gone] == 0).all())
        assert int((weight != 0).sum()) > 0.2 * int((~gone).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((2, 4, 6)), st.floats(0.4, 0.97), st.data())
def test_a_palette_keeps_an_entry_for_the_zeros(seed: int, bits: int, share: float, data: st.DataObject) -> None:
    values = data.draw(st.integers(3, 2**bits))
    layer = nn.Linear(40, 32)
    layer.weight.data = grown(layer.weight, seed)
    sparse = without_masks(sparsify(nn.Sequential(layer), Sparsity({"0": share})))
    gone = zeros_of(sparse, "0")
    prepared = prepare({"main": sparse}, Palette(bits, values=values))
    code = prepared.get_submodule("main.0.code")
    with torch.no_grad():
        code.table.add_(0.37)  # type: ignore[operator, union-attr, arg-type]  # as training might
    assert torch.equal(zeros_of(prepared, "main.0"), gone)
    frozen = freeze(prepared).get_submodule("main.0")
    assert torch.equal(frozen.weight == 0, gone)
    assert len(frozen.weight.unique()) <= values
    assert bool((frozen.code.indices[gone] == 2 ** (bits - 1)).all())  # type: ignore[union-attr, index, operator]
    assert torch.equal(frozen.code.indices < 2 ** (bits - 1), sparse[0].weight < 0)  # type: ignore[index, union-attr]


def test_a_palette_of_a_whole_layer_has_no_such_entry(net: Two) -> None:
    net.second.weight.data[0, 0] = 0.0
    frozen = freeze(prepare({"main": net}, Palette(2))).get_submodule("main.second")
    assert bool((frozen.weight != 0).all())  # type: ignore[union-attr, operator]


def test_weights_in_integers_can_be_pruned_while_they_learn(net: Two) -> None:
    prepared = prepare({"main": net}, WeightOnly(4))
    masked = trained(sparsify(prepared, Sparsity({"main.second": 0.8}, end=0.5)))
    held = freeze(masked)
    assert zero_shares(held)["main.second"] >= 0.8
    assert not any("parametrizations" in name for name, _ in held.named_modules())


def test_a_masked_module_is_prepared_as_what_it_computes(net: Two) -> None:
    masked = sparsify(net, Sparsity({"second": 0.8}))
    follow(masked, 1.0)
    images = torch.randn(4, 1, 16, 16)
    frozen = freeze(prepare({"main": masked.eval()}, None))
    torch.testing.assert_close(frozen["main"](images), masked(images))
    plain = without_masks(masked)
    torch.testing.assert_close(plain(images), masked(images))
    assert [is_masked(one) for one in (net, masked, plain)] == [False, True, False]
    shared = prepare({"main": masked}, Palette(4)).get_submodule("main")
    assert torch.equal(zeros_of(shared, "second"), zeros_of(masked, "second"))


@pytest.mark.parametrize("format", FORMATS)
def test_files_hold_the_zeros(format: Format, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = settled(Residual(width=8), torch.randn(16, 1, 16, 16))
    sparse = without_masks(sparsify(module, Sparsity(0.7)))
    scheme = WeightOnly(4) if format == "tflite" else Palette(4, values=9)
    frozen = freeze(hold_zeros(prepare({"main": sparse}, scheme)))["main"]
    dense = freeze(prepare({"main": module}, scheme))["main"]
    images = torch.randn(4, 1, 16, 16)
    sizes = {}
    for name, one in (("sparse", frozen), ("dense", dense)):
        program = md.Program(one, {"image": images[:1]}, ("logits",))
        path = md.convert(program, tmp_path / f"{name}{suffix_of(format)}")
        sizes[name] = md.pack(path).stat().st_size
    md.verify(tmp_path / f"sparse{suffix_of(format)}", md.Program(frozen, {"image": images[:1]}, ("logits",)))
    assert sizes["sparse"] < sizes["dense"] - 150  # of 1,152 weights, 800 cost next to nothing


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"share": 1.0}, "share of zeros in 0..1, 1 excluded, but got 1.0"),
        ({"share": -0.1}, "but got -0.1"),
        ({"share": float("nan")}, "but got nan"),
        ({"share": {"head": 2}}, "head must be a share of zeros"),
        ({"share": 0.5, "block": 0}, "block must be a whole number of 1 or more"),
        ({"share": 0.5, "by": "size"}, "by must be 'magnitude' or 'movement', but got 'size'"),
        ({"share": 0.5, "begin": 0.7}, "0 <= begin < end <= 1, but got 0.7 and 0.7"),
        ({"share": 0.5, "end": 1.1}, "0 <= begin < end <= 1, but got 0.0 and 1.1"),
    ],
)
def test_wishes_out_of_range_are_refused(wish: dict[str, object], told: str) -> None:
    with pytest.raises(md.InputError, match=told):
        Sparsity(**wish)  # type: ignore[arg-type]


def test_layers_that_cannot_be_pruned_are_named(net: Two) -> None:
    with pytest.raises(md.InputError, match=r"names 'third', which is not there; there are first, second, head"):
        sparsify(net, Sparsity({"third": 0.5}))
    with pytest.raises(md.InputError, match="has a mask already"):
        sparsify(sparsify(net, Sparsity({"first": 0.5})), Sparsity({"first": 0.5}))
    with pytest.raises(md.InputError, match="palette; prune before"):
        sparsify(prepare({"main": net}, Palette(4)), Sparsity({"main.second": 0.5}))
    with pytest.raises(md.InputError, match=r"signs, which have no zero; take WeightOnly\(2\)"):
        sparsify(prepare({"main": net}, WeightOnly(1)), Sparsity({"main.second": 0.5}))
    sparse = without_masks(sparsify(net, Sparsity({"second": 0.5})))
    with pytest.raises(md.InputError, match=r"main\.second was pruned, but its weights are signs"):
        hold_zeros(prepare({"main": sparse}, WeightOnly(1)))
    with pytest.raises(md.InputError, match="no layer of 256 weights or more"):
        layer_shares(nn.Sequential(nn.Linear(4, 4)), 0.5)


def test_a_shared_weight_stays_whole() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.mix, self.head = nn.Embedding(20, 32), nn.Linear(32, 32), nn.Linear(32, 20)
            self.head.weight = self.rows.weight

    tied = Tied()
    assert set(layer_shares(tied, 0.5)) == {"mix"}
    with pytest.raises(md.InputError, match="unless they share it"):
        sparsify(tied, Sparsity({"rows": 0.5}))


def test_values_of_a_palette_are_counted() -> None:
    assert Palette(4, values=16).values == 16
    for values in (1, 17):
        with pytest.raises(md.InputError, match=f"values must be 2 to 16, .* but got {values}"):
            Palette(4, values=values)


def test_the_example_runs() -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(Sparsity, globs=vars(_sparse) | {"nn": nn})
    assert doctest.DocTestRunner().run(example).failed == 0


def test_zeros_are_counted_in_every_kind_of_layer(net: Two) -> None:
    net.first.weight.data[:3] = 0.0
    expected = {"first": float(np.float64(75) / 300), "second": 0.0, "head": 0.0}
    assert zero_shares(net) == pytest.approx(expected)
