"""Pictures as a package reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_read", "images"]


def images(description: Any) -> dict[str, str]:
    """The order of channels of each input that is an image: ``RGB``, ``BGR`` or ``GRAYSCALE``."""
    kinds = {entry.name: entry.type.imageType for entry in description.input if entry.type.HasField("imageType")}
    return {name: kind.ColorSpace.Name(kind.colorSpace) for name, kind in kinds.items()}


def as_read(values: NDArray[Any], shape: tuple[int, ...], color: str | None) -> NDArray[Any]:
    """The numbers of an image, channels first and in the order that the package reads; other inputs as they are.

    As a phone does: pictures come red first, and Core ML turns them round where a package wants blue first. Floats are
    taken for what the package reads already.

    ::

        uint8 (1, 480, 640, 3), red first  ->  float32 (1, 3, 480, 640), blue first where color is "BGR"
    """
    if color is None or values.dtype != np.uint8:
        return values
    if values.shape != shape and values.ndim == 4:
        values = values.transpose(0, 3, 1, 2)
    if color == "BGR":
        values = values[:, ::-1]
    return values.astype(np.float32)
