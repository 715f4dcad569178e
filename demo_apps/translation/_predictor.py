"""A translator as ``predict``, the way files answer too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from mobiledistill import Predict, Task

__all__ = ["predictor"]


def predictor(task: Task, model: nn.Module) -> Predict:
    """Lets decoders ask a module by the names of a task's signatures."""
    parts = {name: task.exported(model, name).eval() for name in task.signatures}

    def predict(inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[Any]]:
        asked = [torch.from_numpy(inputs[name]) for name in task.signatures[signature].inputs]
        with torch.no_grad():
            answered = parts[signature](*asked)
        values = (answered,) if isinstance(answered, torch.Tensor) else answered
        names = task.signatures[signature].outputs
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    return predict
