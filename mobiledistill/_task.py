"""What must be learned and how it is scored: the one thing a user writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "Batch",
    "Equipped",
    "Head",
    "Illustrated",
    "Metric",
    "Output",
    "Picture",
    "Predict",
    "Score",
    "Signature",
    "Split",
    "Task",
    "TensorSpec",
]

Split = Literal["train", "validation", "test"]
Arrays = dict[str, NDArray[np.generic]]


class Predict(Protocol):
    """Answers a batch: named arrays in, named arrays out, whether a module or a file stands behind it."""

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays: ...


class Head(Enum):
    """What an output means, and with it which loss distils it.

    Scores of categories lie along the last axis, whatever comes before it: samples, positions, frames.

    Attributes:
        CATEGORICAL: one of several categories, for each sample or each place.
        BINARY: yes or no, for each entry on its own.
        REGRESSION: numbers.
        SEQUENCE: the next of several tokens, for each position of a text.
        CTC: for each frame a token or the blank; frames are aligned with tokens by the loss (Graves et al. 2006).
        STATE: a cache or a stream that the next call reads; nothing to learn by itself.
    """

    CATEGORICAL = "categorical"
    BINARY = "binary"
    REGRESSION = "regression"
    SEQUENCE = "sequence"
    CTC = "ctc"
    STATE = "state"


@dataclass(frozen=True)
class TensorSpec:
    """An input: its shape at batch 1 (leading axis included) and its NumPy dtype name."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Output:
    """An output: its shape at batch 1 and its head.

    Attributes:
        shape: leading axis included.
        head: what it means.
        mask: the entry of ``Batch.targets`` that says which places count: 1 or 0, or a weight between, in the shape
            of the output without its last axis (of a BINARY output: with or without). None: all count alike.
    """

    shape: tuple[int, ...]
    head: Head
    mask: str | None = None


@dataclass(frozen=True)
class Signature:
    """One way to call the model.

    Attributes:
        inputs: by name, in the order of the module's arguments.
        outputs: by name, in the order of what the module returns.
        calls_per_use: how often one use of the product calls it (a translator steps once a word); its latency
            counts that often.
        state: pairs of (output name, input name) that carry a cache or a stream from one call to the next.
        exported: False for a signature that only serves training (a decoder that reads whole texts at once); no file
            holds it, but it shares its layers, and the integers in them, with those that are exported.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, Output]
    calls_per_use: float = 1.0
    state: tuple[tuple[str, str], ...] = ()
    exported: bool = True


@dataclass(frozen=True)
class Metric:
    """How a score reads: ``Metric("accuracy", "%", higher_is_better=True)``.

    Attributes:
        name: what people call it.
        unit: "%" or the like; empty for a plain number.
        higher_is_better: the direction.
        decimals: with how many a score is told.
    """

    name: str
    unit: str
    higher_is_better: bool = True
    decimals: int = 1

    def told(self, value: float) -> str:
        """A score for people.

        Example:
            >>> Metric("accuracy", "%").told(97.25)
            'accuracy 97.2 %'
        """
        return f"{self.name} {value:.{self.decimals}f} {self.unit}".rstrip()


@dataclass(frozen=True)
class Score:
    """A measured score.

    Attributes:
        value: in the metric's unit.
        n: how many samples it stands on.
        ci95: 95 % interval of ``value``.
    """

    value: float
    n: int
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        inputs: by the names of the signature, any batch size.
        targets: whatever the task's own ``loss`` reads.
        teacher_inputs: where the teacher reads something else than the student; None: the same.
        signature: how the model is called.
        labelled: False where nobody knows the right answers: the teacher's alone count, and ``loss`` is not asked.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    teacher_inputs: Mapping[str, Tensor] | None = None
    signature: str = "main"
    labelled: bool = True


@runtime_checkable
class Task(Protocol):
    """What must be learned and how it is scored.

    ``evaluate`` gets a ``predict`` and never learns whether a module or an exported file answers, so the same
    evaluation scores both. ``test`` is read once, after every choice is made; the search cannot ask for it.
    """

    name: str
    metric: Metric
    signatures: Mapping[str, Signature]

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch of training batches; the same epoch number gives the same batches."""
        ...

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The hard loss of a batch, a scalar."""
        ...

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """Scores whatever ``predict`` stands for on a split."""
        ...

    def calibration_inputs(self, signature: str = "main") -> Arrays:
        """A few hundred training inputs of a signature, stacked along axis 0: for ranges and parity."""
        ...

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The module whose forward is that signature; normally ``model`` itself."""
        ...


@runtime_checkable
class Equipped(Protocol):
    """A task whose files need company in an app: labels, a vocabulary, the numbers of a front end."""

    def assets(self) -> Mapping[str, bytes]:
        """Contents by file name; ``compress`` writes them beside the exported files, uncounted."""
        ...


@dataclass(frozen=True)
class Picture:
    """A picture for the report: what it shows, and a PNG."""

    caption: str
    png: bytes


@runtime_checkable
class Illustrated(Protocol):
    """A task that can show what a model answers."""

    def pictures(self, predicts: Mapping[str, Predict]) -> Sequence[Picture]:
        """A few validation samples with the answers of each model, by the names given ("teacher", "tflite")."""
        ...
