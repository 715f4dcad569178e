"""All that an .mlpackage computes on its way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from converters._computed import ComputedValue
from converters._coreml._executor import CoreMLModel

__all__ = ["computed_values"]


def computed_values(
    path: Path, samples: Iterable[Mapping[str, NDArray[Any]]], signature: str = "main"
) -> Iterator[list[ComputedValue]]:
    """For each sample every float that a function computes.

    Raises:
        ModelFileError: the package is damaged, or has an operator that the executor does not know.
    """
    model = CoreMLModel(path)
    for sample in samples:
        yield [one for one in model.steps(sample, signature) if one.values.dtype.kind == "f"]
