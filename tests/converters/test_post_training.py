"""Networks in integers without training, to every format: shapes in which a runtime or a library once went wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import FORMATS, Format, Program, convert, module_integers, suffix_of, verify
from mobiledistill.quantize import post_training

Draw = Callable[[int], Tensor]


def _pictures(count: int) -> Tensor:
    return torch.randn(count, 2, 12, 12)


def _sequences(count: int) -> Tensor:
    return torch.randn(count, 4, 10)


def _tokens(count: int) -> Tensor:
    return torch.randint(0, 20, (count, 6))


class UpAndDown(nn.Module):
    """A transposed convolution, bilinear and nearest resizing, all joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.transposed, self.last = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(20, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.first(x))
        second = F.relu(self.second(F.max_pool2d(first, 2)))
        smooth = F.interpolate(second, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.last(torch.cat([self.transposed(second), smooth, first], dim=1))


class Leaky(nn.Module):
    """One float value that two layers read, each behind moves of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 4, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.leaky_relu(self.first(x), 0.1)
        return self.left(F.max_pool2d(x, 2)), self.right(torch.cat([x, F.leaky_relu(3 * x, 0.5)], dim=1))


class Waves(nn.Module):
    """Convolutions over one axis, the second depthwise and causal."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(10, 8, 3, padding=1), nn.Conv1d(8, 8, 2, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.transpose(1, 2)))
        return x + self.second(F.pad(x, (1, 0)))


class Memory(nn.Module):
    """A recurrent layer both ways, so that every step but the first of each way reads its own last answer."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer, self.head = kind(10, 8, batch_first=True, bidirectional=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0].mean(dim=1))


class Text(nn.Module):
    """Rows by token, shifted against each other; rows by place, always the same ones, through a layer of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(20, 8), nn.Embedding(9, 8)
        self.norm, self.mix, self.head = nn.LayerNorm(24), nn.Linear(24, 8), nn.Linear(8, 4)
        self.place = nn.Linear(8, 8)

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.tokens(ids)
        rows = torch.cat([F.pad(rows[:, 1:], (0, 0, 0, 1)), rows, F.pad(rows[:, :-1], (0, 0, 1, 0))], dim=2)
        places = self.place(self.places(torch.arange(ids.shape[1])[None]))
        mixed = self.mix(self.norm(rows)) + self.mix(rows) + places
        return self.head(mixed[:, 0])


class SameWeights(nn.Module):
    """Two norms that become depthwise convolutions of equal integers, with scales of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6)])
        for norm in self.norms:
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            nn.init.uniform_(norm.bias, -1.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](F.relu(self.first(x)))
        return self.norms[1](F.relu(self.second(x)) + x).mean(dim=(2, 3))


class PriorOnly(nn.Module):
    """A channel that has learned its bias and no more: next to no weights stand beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 3, 1)
        with torch.no_grad():
            self.last.weight[1] *= 1e-12
            self.last.bias[1] = -4.6

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Draw, tuple[str, ...]]] = {
    "up and down": (UpAndDown, _pictures, ("mask",)),
    "leaky": (Leaky, _pictures, ("left", "right")),
    "waves": (Waves, _sequences, ("out",)),
    "lstm": (lambda: Memory(nn.LSTM), _sequences, ("out",)),
    "gru": (lambda: Memory(nn.GRU), _sequences, ("out",)),
    "text": (Text, _tokens, ("out",)),
    "prior only": (PriorOnly, _pictures, ("scores",)),
    "same weights": (SameWeights, _pictures, ("out",)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def quantized(request: pytest.FixtureRequest) -> tuple[Program, Tensor]:
    build, draw, outputs = NETWORKS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        program = Program(build().eval(), {"x": draw(1)}, outputs)
        (integers,) = post_training(program, {"x": draw(32)})
        return integers, draw(48)


@pytest.mark.parametrize("format", FORMATS)
def test_its_file_passes_with_the_modules_own_integers(
    quantized: tuple[Program, Tensor], tmp_path: Path, format: Format
) -> None:
    program, inputs = quantized
    path = convert(program, tmp_path / f"a{suffix_of(format)}")
    parity = verify(path, program, {"x": inputs.numpy()})
    assert parity.integers_equal
    assert parity.sqnr_db > 40  # shallow networks: hardly a tie is carried on


def test_every_layer_reads_integers(quantized: tuple[Program, Tensor]) -> None:
    layers = [layer for layer in module_integers(quantized[0]) if layer.bias is not None]
    assert layers
    assert all(layer.input is not None for layer in layers)
