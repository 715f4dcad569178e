"""What must be learned and how it is scored: the one thing a user writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Batch", "Head", "Metric", "Output", "Predict", "Score", "Signature", "Split", "Task", "TensorSpec"]

Split = Literal["train", "validation", "test"]
Arrays = dict[str, NDArray[np.generic]]


class Predict(Protocol):
    """Answers a batch: named arrays in, named arrays out, whether a module or a file stands behind it."""

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays: ...


class Head(Enum):
    """What an output means, and with it which loss distils it."""

    CATEGORICAL = "categorical"
    BINARY = "binary"
    REGRESSION = "regression"


@dataclass(frozen=True)
class TensorSpec:
    """An input: its shape at batch 1 (leading axis included) and its NumPy dtype name."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Output:
    """An output: its shape at batch 1 and its head."""

    shape: tuple[int, ...]
    head: Head


@dataclass(frozen=True)
class Signature:
    """One way to call the model.

    Attributes:
        inputs: by name, in the order of the module's arguments.
        outputs: by name, in the order of what the module returns.
        calls_per_use: how often one use of the product calls it (a translator steps once a word); its latency
            counts that often.
        state: pairs of (output name, input name) that carry a cache or a stream from one call to the next.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, Output]
    calls_per_use: float = 1.0
    state: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Metric:
    """How a score reads: ``Metric("accuracy", "%", higher_is_better=True)``."""

    name: str
    unit: str
    higher_is_better: bool = True


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
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    teacher_inputs: Mapping[str, Tensor] | None = None
    signature: str = "main"


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
