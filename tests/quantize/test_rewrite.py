"""From a float module to integers: what is folded, where grids lie, and that freezing keeps what was trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from converters import ConversionError, Program, module_integers
from mobiledistill.quantize import calibrate, freeze, prepare
from tests.networks import Residual, settled


@pytest.fixture
def images() -> Tensor:
    return torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _quantized(module: nn.Module, images: Tensor) -> nn.ModuleDict:
    prepared = prepare({"main": module})
    calibrate(prepared, {"main": {"image": images}}, 99.99)
    return prepared


def _sqnr_db(reference: Tensor, answer: Tensor) -> float:
    reference, answer = reference.detach(), answer.detach()
    return float(10 * torch.log10(reference.var() / (reference - answer).square().mean()))


def test_int8_stays_close_to_the_float_module(images: Tensor) -> None:
    module = settled(Residual(), images)
    frozen = freeze(_quantized(module, images))["main"]
    assert _sqnr_db(module(images), frozen(images)) > 25


def test_freezing_keeps_what_the_trainable_copy_computes(images: Tensor) -> None:
    prepared = _quantized(settled(Residual(), images), images).eval()
    before, after = prepared["main"](images), freeze(prepared)["main"](images)
    assert _sqnr_db(before, after) > 40  # biases move by half a step of the accumulator at most


def test_the_given_module_is_not_touched(images: Tensor) -> None:
    module = settled(Residual(), images)
    before = copy.deepcopy(module.state_dict())
    _quantized(module, images)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_every_layer_is_in_integers_and_keeps_its_path(images: Tensor) -> None:
    frozen = freeze(_quantized(settled(Residual(), images), images))["main"]
    layers = module_integers(Program(frozen, {"image": images[:1]}, ("logits",)))
    assert [layer.name for layer in layers] == ["stem.0", "first", "late_norm", "second", "depthwise", "head"]
    assert all(layer.input is not None and layer.output is not None for layer in layers)


def test_pooling_keeps_the_grid_it_reads(images: Tensor) -> None:
    frozen = freeze(_quantized(settled(Residual(), images), images))["main"]
    layers = {layer.name: layer for layer in module_integers(Program(frozen, {"image": images[:1]}, ("logits",)))}
    assert layers["head"].input == layers["depthwise"].output


def test_integers_learn(images: Tensor) -> None:
    prepared = _quantized(settled(Residual(), images), images).train()
    target = Residual()(images).detach()
    optimizer = torch.optim.Adam(prepared.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = (prepared["main"](images) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    scales = [p for name, p in prepared.named_parameters() if name.endswith("scale")]
    assert len(scales) == 14
    assert sum(float(p.grad.abs().sum()) > 0 for p in scales if p.grad is not None) >= 12


def test_signatures_share_what_their_modules_share(images: Tensor) -> None:
    class Tail(nn.Module):
        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body = body

        def forward(self, image: Tensor) -> Tensor:
            return torch.relu(self.body(image))

    body = settled(Residual(), images)
    prepared = prepare({"main": body, "tail": Tail(body)})
    assert prepared["main"].get_submodule("head") is prepared["tail"].get_submodule("body.head")
    assert prepared["main"].get_submodule("stem.0") is prepared["tail"].get_submodule("body.stem.0")


def test_a_module_with_data_dependent_flow_is_refused() -> None:
    class Branches(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image if image.sum() > 0 else -image

    with pytest.raises(ConversionError, match=r"Branches cannot be traced by torch\.fx"):
        prepare({"main": Branches()})
