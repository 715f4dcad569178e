"""The teacher's architecture, which is also a family of students, and how the teacher is trained."""

from __future__ import annotations

from torch import Tensor, nn

from demo_apps.speech._task import DIGITS
from mobiledistill import Recipe

__all__ = ["TEACHER_RECIPE", "DigitsNet", "digits_net"]

TEACHER_RECIPE = Recipe(epochs=24, learning_rate=3e-3, weight_decay=1e-2, warmup_epochs=7)
"""How the teacher is trained, on batches of 64."""


def digits_net(width: int = 32, depth: int = 1) -> DigitsNet:
    """A digits network of any size: the family from which ``compress(..., student=digits_net)`` may choose.

    Parameters grow with the square of the width, about ``(76 + 72 * depth) * width ** 2``: (32, 1) is the teacher
    with 0.15 M, (8, 1) has about 10 k.

    Args:
        width: channels of the first two stages; the later ones have twice as many.
        depth: residual blocks at the end, after the two that halve the map.
    """
    return DigitsNet(width, depth)


class DigitsNet(nn.Module):
    """A residual network of plain convolutions, ReLU and additions: all of it exact in 8-bit integers.

    The map is halved early, three times, from 40 x 101 to 5 x 13, so it is cheap to train on a CPU.

    Args:
        width: channels of the first two stages; the later ones have twice as many.
        depth: residual blocks at the end, after the two that halve the map.
    """

    def __init__(self, width: int = 32, depth: int = 1) -> None:
        super().__init__()
        self.stem = _ConvNorm(1, width, kernel=5, stride=2)
        self.blocks = nn.Sequential(
            _Residual(width, width, stride=2),
            _Residual(width, 2 * width, stride=2),
            *(_Residual(2 * width, 2 * width, stride=1) for _ in range(depth)),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(2 * width, DIGITS)

    def forward(self, features: Tensor) -> Tensor:
        """Log-mel maps ``(n, 1, 40, 101)`` to logits ``(n, 10)``."""
        maps = self.blocks(self.stem(features).relu())
        logits: Tensor = self.classify(self.pool(maps).flatten(1))
        return logits


class _ConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _ConvNorm(inputs, outputs, kernel=3, stride=stride)
        self.second = _ConvNorm(outputs, outputs, kernel=3, stride=1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _ConvNorm(inputs, outputs, kernel=1, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.second(self.first(maps).relu()) + self.shortcut(maps)
        return added.relu()
