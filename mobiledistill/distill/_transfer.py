"""Transfer sets: what a student learns from a teacher on, where nobody knows the right answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._task import Arrays, Batch, Predict, Score, Split, Task
from mobiledistill._workdir import code_fingerprint

__all__ = ["TransferSet"]

_CALIBRATION_SAMPLES = 256
_FEWEST = 16


class TransferSet:
    """A task that is taught on other inputs, or on other inputs too: unlabelled, invented, from elsewhere.

    You gain data: a teacher answers whatever it is shown, so pictures without labels are as good as labelled ones. On
    them the task's own loss is left out (``Batch.labelled``); with ``share=1`` no batch has labels. Everything else,
    scores above all, is the task's own. An epoch has as many batches as the task's, so trainings stay comparable.

    Example:
        >>> import torch
        >>> from tests.networks import Stripes
        >>> task = TransferSet(Stripes(), {"image": torch.randn(100, 1, 16, 16)}, share=0.5)
        >>> [batch.labelled for batch in task.train_batches(0)].count(False)
        4

    Args:
        task: what is learned and how it is scored.
        inputs: by the names of the signature, any number of samples along the first axis.
        share: of the batches that come from ``inputs``, above 0, at most 1.
        batch_size: of those batches.
        seed: of their order.
        signature: which one the inputs are for.

    Raises:
        InputError: the set is empty or too small for a batch, its names or shapes are not the signature's, or an
            argument is out of range.
    """

    def __init__(
        self,
        task: Task,
        inputs: Mapping[str, Tensor],
        *,
        share: float = 1.0,
        batch_size: int = 64,
        seed: int = 0,
        signature: str = "main",
    ) -> None:
        if not 0 < share <= 1:
            raise InputError(f"share must lie above 0 and at most at 1, but got {share!r}.")
        wanted = task.signatures[signature].inputs
        if set(inputs) != set(wanted):
            raise InputError(
                f"The transfer set holds {', '.join(inputs) or 'nothing'}, but signature {signature!r} reads"
                f" {', '.join(wanted)}."
            )
        counts = {len(value) for value in inputs.values()}
        if len(counts) != 1 or min(counts) < _FEWEST:
            raise InputError(
                f"The transfer set has {sorted(counts)} samples; it needs {_FEWEST} or more, as many of each input."
            )
        for name, spec in wanted.items():
            if inputs[name].dim() != len(spec.shape):
                raise InputError(
                    f"The transfer set's {name!r} has the shape {tuple(inputs[name].shape)}, but one sample of it is"
                    f" {spec.shape}."
                )
        self._task = task
        self._inputs = {name: inputs[name] for name in wanted}
        self._share = share
        self._batch_size = min(batch_size, *counts)
        self._seed = seed
        self._signature = signature
        self.name = task.name
        self.metric = task.metric
        self.signatures = task.signatures

    @property
    def fingerprint(self) -> str:
        """A digest of the inputs and of the task behind them: another set is another run."""
        own = (self._share, self._batch_size, self._seed, self._signature)
        of_task = (getattr(self._task, "fingerprint", ""), code_fingerprint(self._task))
        digest = hashlib.sha256(repr((own, of_task)).encode())
        for name, value in self._inputs.items():
            digest.update(name.encode() + np.ascontiguousarray(value.numpy()).tobytes())
        return digest.hexdigest()[:16]

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """The task's batches, a share of them replaced."""
        random = torch.Generator().manual_seed(self._seed * 100_003 + epoch)
        replaced = 0.0
        others = self._others(random)
        for batch in self._task.train_batches(epoch):
            replaced += self._share
            if replaced >= 1 - 1e-9:
                replaced -= 1
                yield next(others)
            else:
                yield batch

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The task's own."""
        return self._task.loss(outputs, batch)

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """The task's own."""
        return self._task.evaluate(predict, split)

    def calibration_inputs(self, signature: str = "main") -> Arrays:
        """Of the transfer set where nothing else is learned from, else the task's own."""
        if self._share < 1 or signature != self._signature:
            return self._task.calibration_inputs(signature)
        return {name: value[:_CALIBRATION_SAMPLES].numpy() for name, value in self._inputs.items()}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The task's own."""
        return self._task.exported(model, signature)

    def __getattr__(self, name: str) -> Any:
        """What else the task can do: pictures, assets, notes."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._task, name)

    def _others(self, random: torch.Generator) -> Iterator[Batch]:
        """Batches of the inputs without end, each sample once before any comes again."""
        count = len(next(iter(self._inputs.values())))
        while True:
            order = torch.randperm(count, generator=random)
            for start in range(0, count - self._batch_size + 1, self._batch_size):
                chosen = order[start : start + self._batch_size]
                values = {name: value[chosen] for name, value in self._inputs.items()}
                yield Batch(values, {}, signature=self._signature, labelled=False)
