"""Cutting, kind by kind of network: all of them pass one suite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.contract.cuts import CutContract, Group
from tests.networks import Residual
from tests.prune.test_blocks import Blocks

_RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.randn(4, 1, 16, 16, generator=_RANDOM)
SEQUENCES = torch.randn(4, 5, 6, generator=_RANDOM)
IDS = torch.randint(0, 20, (4, 6), generator=_RANDOM)
OUTPUT = "they are outputs of the model"


class Plain(nn.Module):
    """Convolutions, a norm, a map that is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.second, self.head = nn.Conv2d(6, 4, 3, 2, 1), nn.Linear(4 * 16, 3)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.norm(self.first(image)).relu()).relu().flatten(1))
        return logits


class Concatenated(nn.Module):
    """Two branches side by side, read by one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(1, 6, 3, 2, 1)
        self.both, self.head = nn.Conv2d(10, 5, 1), nn.Linear(5, 3)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.both(torch.cat([self.left(image).relu(), self.right(image).tanh()], 1))
        logits: Tensor = self.head(maps.relu().mean((2, 3)))
        return logits


class Twice(nn.Module):
    """One layer that is called two times in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.same = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.same(self.same(self.stem(image).relu()).relu())
        logits: Tensor = self.head(maps.relu().mean((2, 3)))
        return logits


class Siamese(nn.Module):
    """The same layers on an image and on its mirror image, and a head on both answers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.second, self.head = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 6, 1), nn.Linear(12, 3)

    def forward(self, image: Tensor) -> Tensor:
        both = [self.second(self.stem(one).relu()).relu().mean((2, 3)) for one in (image, image.flip(3))]
        logits: Tensor = self.head(torch.cat(both, 1))
        return logits


class Grouped(nn.Module):
    """A convolution in groups of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.wide, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 3)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.wide(self.grouped(self.stem(image).relu()).relu())
        logits: Tensor = self.head(maps.relu().mean((2, 3)))
        return logits


class Frames(nn.Module):
    """Convolutions over time."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.depthwise = nn.Conv1d(6, 8, 3, padding=1), nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 3)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.head(self.depthwise(self.wide(frames.mT).relu()).mean(2))
        return logits


class Attention(nn.Module):
    """Heads of 4, as many as there is width for, from one sequence to another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, to: Tensor, source: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (-1, 4)).transpose(1, 2)
            for layer, x in ((self.query, to), (self.key, source), (self.value, source))
        )
        mixed = (query @ key.mT / 2).softmax(-1) @ value
        answer: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return answer


class Reader(nn.Module):
    """An encoder's layer and a decoder's, both pre-norm, on one table."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.table, self.target = nn.Embedding(20, width), nn.Embedding(20, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.own, self.cross = Attention(width), Attention(width)
        self.up, self.down = nn.Linear(width, 24), nn.Linear(24, width)
        self.head = nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x, y = self.table(ids), self.target(ids.flip(1))
        seen = self.norms[0](x)
        x = x + self.own(seen, seen)
        x = self.norms[1](x + self.down(self.up(self.norms[2](x)).relu()))
        y = y + self.cross(self.norms[3](y), x)
        logits: Tensor = self.head(self.norms[4](y))
        return logits


class Recurrent(nn.Module):
    """A linear layer, recurrent layers, and a head on the last answer."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 1, both_ways: bool = False) -> None:
        super().__init__()
        self.inputs = nn.Linear(6, 7)
        self.layer = kind(7, 8, layers, batch_first=True, bidirectional=both_ways)  # type: ignore[call-arg, arg-type]
        self.head = nn.Linear(16 if both_ways else 8, 3)

    def forward(self, frames: Tensor) -> Tensor:
        answers, _ = self.layer(self.inputs(frames).relu())
        logits: Tensor = self.head(answers.mean(1))
        return logits


class Ends(nn.Module):
    """Only the last state of an LSTM is read; another one begins where it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.writes = nn.LSTM(6, 8), nn.GRU(6, 8)
        self.last, self.head = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        _, (hidden, _) = self.reads(frames.transpose(0, 1))
        answers, _ = self.writes(
            frames.transpose(0, 1),
            hidden,
        )
        return self.head(answers.transpose(0, 1)), self.last(hidden[-1])


class Steps(nn.Module):
    """An LSTM cell, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.cell, self.head = nn.Linear(6, 7), nn.LSTMCell(7, 8), nn.Linear(8, 3)

    def forward(self, frames: Tensor) -> Tensor:
        state = None
        for frame in self.inputs(frames).unbind(1):
            state = self.cell(frame, state)
        logits: Tensor = self.head(state[0])  # type: ignore[index]  # there are frames
        return logits


class TestPlain(CutContract):
    build = Plain
    inputs = (IMAGES,)
    groups = {  # noqa: RUF012  (never changed)
        "first": Group(6, ["first"], {"second": (0,)}),
        "second": Group(4, ["second"], {"head": (0,)}, spread=16),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestResidual(CutContract):
    build = Residual
    inputs = (IMAGES,)
    groups = {  # noqa: RUF012
        "stem.0": Group(8, ["stem.0", "second", "depthwise"], {"first": (0,), "head": (0,)}),
        "first": Group(8, ["first"], {"second": (0,)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestBlocks(CutContract):
    build = Blocks
    inputs = (IMAGES,)
    groups = {  # noqa: RUF012
        "stem": Group(
            8,
            ["stem", "blocks.0.second", "blocks.1.second", "gate.excite"],
            {path: (0,) for path in ("blocks.0.first", "blocks.1.first", "gate.squeeze", "plain.layers.0")},
        ),
        "blocks.0.first": Group(8, ["blocks.0.first"], {"blocks.0.second": (0,)}),
        "blocks.1.first": Group(8, ["blocks.1.first"], {"blocks.1.second": (0,)}),
        "gate.squeeze": Group(4, ["gate.squeeze"], {"gate.excite": (0,)}),
        "plain.layers.0": Group(8, ["plain.layers.0"], {"head": (0,)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012
    blocks = frozenset({"blocks", "blocks.0", "blocks.1", "gate"})


class TestConcatenated(CutContract):
    build = Concatenated
    inputs = (IMAGES,)
    groups = {  # noqa: RUF012
        "left": Group(4, ["left"], {"both": (0,)}),
        "right": Group(6, ["right"], {"both": (4,)}),
        "both": Group(5, ["both"], {"head": (0,)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012
    side_by_side = frozenset({"left", "right"})


class TestTwice(CutContract):
    build = Twice
    inputs = (IMAGES,)
    groups = {"stem": Group(8, ["stem", "same"], {"same": (0,), "head": (0,)})}  # noqa: RUF012
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestSiamese(CutContract):
    build = Siamese
    inputs = (IMAGES,)
    groups = {  # noqa: RUF012
        "stem": Group(8, ["stem"], {"second": (0,)}),
        "second": Group(6, ["second"], {"head": (0, 6)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestGrouped(CutContract):
    build = Grouped
    inputs = (IMAGES,)
    groups = {"wide": Group(6, ["wide"], {"head": (0,)})}  # noqa: RUF012
    fixed = {  # noqa: RUF012
        "stem": "a convolution in groups",
        "grouped": "a convolution in groups",
        "head": OUTPUT,
    }


class TestFrames(CutContract):
    build = Frames
    inputs = (SEQUENCES,)
    groups = {"wide": Group(8, ["wide", "depthwise"], {"head": (0,)})}  # noqa: RUF012
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestReader(CutContract):
    build = Reader
    inputs = (IDS,)
    groups = {  # noqa: RUF012
        "table": Group(
            16,
            ["table", "own.out", "down"],
            {path: (0,) for path in ("own.query", "own.key", "own.value", "up", "cross.key", "cross.value")},
            norms=["norms.0", "norms.1", "norms.2"],
        ),
        "target": Group(16, ["target", "cross.out"], {"cross.query": (0,), "head": (0,)}, norms=["norms.3", "norms.4"]),
        "own.query": Group(16, ["own.query", "own.key", "own.value"], {"own.out": (0,)}, block=4),
        "cross.query": Group(16, ["cross.query", "cross.key", "cross.value"], {"cross.out": (0,)}, block=4),
        "up": Group(24, ["up"], {"down": (0,)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestLSTM(CutContract):
    @staticmethod
    def build() -> nn.Module:
        return Recurrent(nn.LSTM)

    inputs = (SEQUENCES,)
    groups = {  # noqa: RUF012
        "inputs": Group(7, ["inputs"], {"layer": (0,)}),
        "layer": Group(8, ["layer"], {"layer": (0,), "head": (0,)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012


class TestGRUs(CutContract):
    @staticmethod
    def build() -> nn.Module:
        return Recurrent(nn.GRU, layers=3)

    inputs = TestLSTM.inputs
    groups = TestLSTM.groups
    fixed = TestLSTM.fixed


class TestRNN(CutContract):
    @staticmethod
    def build() -> nn.Module:
        return Recurrent(nn.RNN)

    inputs = TestLSTM.inputs
    groups = TestLSTM.groups
    fixed = TestLSTM.fixed


class TestBothWays(CutContract):
    @staticmethod
    def build() -> nn.Module:
        return Recurrent(nn.LSTM, layers=2, both_ways=True)

    inputs = (SEQUENCES,)
    groups = {  # noqa: RUF012
        "inputs": Group(7, ["inputs"], {"layer": (0,)}),
        "layer": Group(8, ["layer"], {"layer": (0,), "head": (0, 8)}),
    }
    fixed = TestLSTM.fixed


class TestEnds(CutContract):
    build = Ends
    inputs = (SEQUENCES,)
    groups = {  # noqa: RUF012
        "reads": Group(8, ["reads", "writes"], {"reads": (0,), "writes": (0,), "last": (0,), "head": (0,)})
    }
    fixed = {"last": OUTPUT, "head": OUTPUT}  # noqa: RUF012


class TestSteps(CutContract):
    build = Steps
    inputs = (SEQUENCES,)
    groups = {  # noqa: RUF012
        "inputs": Group(7, ["inputs"], {"cell": (0,)}),
        "cell": Group(8, ["cell"], {"cell": (0,), "head": (0,)}),
    }
    fixed = {"head": OUTPUT}  # noqa: RUF012
