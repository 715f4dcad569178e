"""The reference in 64-bit floats: the module's own integers, without the module's own rounding of sums."""

from __future__ import annotations

import torch
from torch import fx

from converters import Program, compare
from converters._exact import run_exactly
from mobiledistill.quantize import calibrate, freeze, prepare
from tests.networks import Residual, settled

IMAGES = torch.randn(24, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_it_computes_the_module_in_64_bits_and_sees_a_fault() -> None:
    torch.manual_seed(0)
    prepared = prepare({"main": settled(Residual(12), IMAGES)})
    calibrate(prepared, {"main": {"image": IMAGES}}, 99.99)
    module = freeze(prepared)["main"]
    assert isinstance(module, fx.GraphModule)
    program = Program(module, {"image": IMAGES[:1]}, ("logits",))
    with torch.no_grad():
        own = module(IMAGES[:1])

    exact = run_exactly(program, {"image": IMAGES[:1]})["logits"]
    assert exact.dtype == torch.float64
    assert compare({"logits": exact.numpy()}, {"logits": own.numpy()}).sqnr_db > 40

    with torch.no_grad():
        module.get_submodule("head").bias *= 3  # type: ignore[operator]  # a tensor
    moved = run_exactly(program, {"image": IMAGES[:1]})["logits"]
    assert compare({"logits": exact.numpy()}, {"logits": moved.numpy()}).sqnr_db < 40
