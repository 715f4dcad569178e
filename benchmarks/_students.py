"""Fifty students of several families, as cuts, widths and depths leave them: what predictions are judged on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import mobiledistill as md
from benchmarks.zoo import ZOO
from benchmarks.zoo._network import lively
from benchmarks.zoo._transformers import KeywordTransformer
from demo_apps.detection import Detector
from demo_apps.speech import digits_net
from mobiledistill.prune import channel_groups, cut

__all__ = ["FAMILIES", "Student", "origin", "program_of", "students"]

_CLASSES = 3


@dataclass(frozen=True)
class Student:
    """One student: the family it comes from, how it is stored, and what makes it."""

    name: str
    family: str
    precision: str
    build: Callable[[], nn.Module]


def _draw(*shape: int) -> Callable[[int], dict[str, Tensor]]:
    def inputs(count: int) -> dict[str, Tensor]:
        return {"x": torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))}

    return inputs


def _of_zoo(name: str) -> Callable[[int], dict[str, Tensor]]:
    return lambda count: ZOO[name].samples(count)


FAMILIES: Mapping[str, tuple[int, Callable[[], nn.Module], Callable[[int], Mapping[str, Tensor]], int]] = {
    "digits": (12, lambda: digits_net(40, 2), _draw(1, 40, 101), 1),
    "detector": (6, lambda: Detector(_CLASSES, 12, (1, 2, 2)), _draw(3, 240, 320), 4),
    "ds-cnn": (8, ZOO["ds-cnn"].build, _of_zoo("ds-cnn"), 1),
    "resnet": (6, ZOO["resnet"].build, _of_zoo("resnet"), 1),
    "keyword-resnet8": (4, ZOO["keyword-resnet8"].build, _of_zoo("keyword-resnet8"), 1),
    "mobilenet-v2": (6, ZOO["mobilenet-v2"].build, _of_zoo("mobilenet-v2"), 1),
    "keyword-transformer": (8, lambda: KeywordTransformer(72), _of_zoo("keyword-transformer"), 1),
}
"""How many students, the largest member, its inputs, how many outputs."""


def students(seed: int, share: float = 1.0) -> list[Student]:
    """The students, half of them in integers."""
    draw = random.Random(seed)
    found: list[Student] = []
    for family, (count, _, _, _) in FAMILIES.items():
        for number in range(max(1, round(count * share))):
            precision = ("fp32", "int8")[len(found) % 2]
            found.append(Student(f"{family} {number}", family, precision, _builder(family, draw)))
    return sorted(found, key=lambda one: one.name.split()[-1])  # families in turns: an early look is a fair one


def origin(family: str) -> nn.Module:
    """The largest member of a family."""
    torch.manual_seed(0)
    return _alive(family, FAMILIES[family][1]())


def _builder(family: str, draw: random.Random) -> Callable[[], nn.Module]:
    width, depth, seed = draw.random(), draw.randrange(3), draw.randrange(1 << 30)
    blocks = (draw.randrange(2), draw.randrange(3), draw.randrange(3))

    def build() -> nn.Module:
        torch.manual_seed(seed)
        match family:
            case "digits":
                return _alive(family, digits_net(round(4 * 10**width), depth))
            case "detector":
                return _alive(family, Detector(_CLASSES, round(3 * 4**width), blocks))
            case "keyword-transformer":
                return _alive(family, KeywordTransformer(3 * round(4 * 6**width)))
        return _cut(family, 0.2 + 0.75 * width, seed)

    return build


def _cut(family: str, share: float, seed: int) -> nn.Module:
    """Of every group of channels about a share, none like the other."""
    whole, inputs = origin(family), FAMILIES[family][2](1)

    def run(module: nn.Module) -> tuple[Tensor, ...]:
        answer = module(*inputs.values())
        return (answer,) if isinstance(answer, Tensor) else tuple(answer)

    draw = random.Random(seed)
    groups = channel_groups(whole, run)
    kept = {
        group.name: group.whole_blocks(max(group.block, min(1.0, share * draw.uniform(0.6, 1.4)) * group.channels))
        for group in groups
    }
    scores = {group.name: torch.rand(group.channels // group.block).repeat_interleave(group.block) for group in groups}
    return cut(whole, run, kept, scores).eval()


def _alive(family: str, module: nn.Module) -> nn.Module:
    """With weights as a training would leave them: no layer's equal to another's, which files would share."""
    for layers in (part for part in module.modules() if isinstance(part, nn.TransformerEncoder)):  # copies of one
        for value in layers.parameters():
            (nn.init.xavier_uniform_ if value.ndim > 1 else nn.init.uniform_)(value)
    return lively(module.eval(), FAMILIES[family][2](8))


def program_of(family: str, module: nn.Module, precision: str) -> md.Program:
    """A student as converters take it."""
    inputs, outputs = FAMILIES[family][2], FAMILIES[family][3]
    program = md.Program(module, dict(inputs(1)), tuple(f"out{number}" for number in range(outputs)))
    if precision == "fp32":
        return program
    return md.quantize.post_training(program, dict(inputs(16)))[0]
