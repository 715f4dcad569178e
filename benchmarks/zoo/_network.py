"""What a member of the zoo is: a module that answers, and real shapes to ask it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import mobiledistill as md

__all__ = ["Network", "Outputs", "lively", "spectrograms"]

Draw = Callable[[torch.Generator], Mapping[str, Tensor]]
"""One sample: inputs by name, the leading axis is a batch of one."""


@dataclass(frozen=True)
class Network:
    """One architecture of the zoo.

    Attributes:
        name: as it stands in the table.
        build: makes the module, in evaluation mode, with random weights.
        draw: makes one sample of its inputs.
        outputs: names of what it returns.
        small: whether phones run it on every frame; a small network may not fail in any format.
    """

    name: str
    build: Callable[[], nn.Module]
    draw: Draw
    outputs: tuple[str, ...] = ("logits",)
    small: bool = False

    def samples(self, count: int, seed: int = 0) -> dict[str, Tensor]:
        """Inputs by name, ``count`` samples along axis 0."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [self.draw(generator) for _ in range(count)]
        return {name: torch.cat([sample[name] for sample in drawn]) for name in drawn[0]}

    def program(self) -> md.Program:
        """The network, its weights drawn anew but always the same ones, ready to be converted."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = lively(self.build().eval(), self.samples(8, seed=1))
        return md.Program(module, self.samples(1, seed=2), self.outputs)


class Outputs(nn.Module):
    """A model of ``transformers`` as a module of tensors: inputs in the order given, the named outputs back."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...], **fixed: Any) -> None:
        super().__init__()
        self.model = model
        self._inputs, self._outputs, self._fixed = inputs, outputs, fixed

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        answer = self.model(**dict(zip(self._inputs, values, strict=True)), **self._fixed, return_dict=True)
        return tuple(answer[name] for name in self._outputs)


def spectrograms(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """Draws what a front end might give: a few bands of energy that come and go, on noise."""

    def draw(generator: torch.Generator) -> Tensor:
        noise = torch.randn(1, *shape, generator=generator)
        coarse = torch.randn(1, *(max(1, size // 6) for size in shape[-2:]), generator=generator)
        smooth = torch.nn.functional.interpolate(coarse[:, None], shape[-2:], mode="bilinear")[:, 0]
        return smooth.reshape(1, *([1] * (len(shape) - 2)), *shape[-2:]) * 1.5 + 0.5 * noise

    return draw


def lively(module: nn.Module, samples: Mapping[str, Tensor]) -> nn.Module:
    """Scales random weights, layer by layer, until every layer's output has a spread of one (in place).

    As initialised, most architectures answer nearly the same to every input, and then any file looks right (LSUV,
    Mishkin and Matas 2016). Norms that keep statistics take them from the samples.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    hooks = [
        part.register_forward_hook(_to_unit_spread)
        for part in module.modules()
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    for table in (part for part in module.modules() if isinstance(part, nn.Embedding)):
        if table.weight.requires_grad:  # sinusoids stay
            nn.init.normal_(table.weight)
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        for _ in range(2):
            module(*samples.values())
    for hook in hooks:
        hook.remove()
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    with torch.no_grad():
        module(*samples.values())
    module.eval()
    return module.requires_grad_(False)


def _to_unit_spread(layer: Any, _: object, output: Tensor) -> Tensor:
    spread = output.std()
    if not torch.isfinite(spread) or spread < 1e-6:
        return output
    layer.weight.data /= spread
    if layer.bias is not None:
        layer.bias.data = 0.1 * torch.randn_like(layer.bias)
    return output / spread
