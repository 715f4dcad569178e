"""The reference in 64-bit floats: the module's own integers, without the module's own rounding of sums."""

from __future__ import annotations

import torch
from torch import fx

from converters import Program, compare
from converters._exact import InDoubles
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

    with torch.no_grad():
        exact = InDoubles(program)(IMAGES[:1])
    assert exact.dtype == torch.float64
    assert compare({"logits": exact.numpy()}, {"logits": own.numpy()}).sqnr_db > 40

    with torch.no_grad():
        module.get_buffer("head.bias").mul_(3)
        moved = InDoubles(program)(IMAGES[:1])
    assert compare({"logits": exact.numpy()}, {"logits": moved.numpy()}).sqnr_db < 40
