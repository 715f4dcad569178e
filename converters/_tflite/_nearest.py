"""Nearest neighbours as torch picks them."""

from __future__ import annotations

from typing import Any

from converters._tflite._schema import operator_name

__all__ = ["pick_nearest_as_torch"]


def pick_nearest_as_torch(model: Any) -> None:
    """Lets every RESIZE_NEAREST_NEIGHBOR start from a pixel's corner, in place, as ``mode="nearest"`` does.

    litert-torch asks for half-pixel centres, which pick other pixels at every ratio but whole upscales::

        8 to 4, before: pixels 1 3 5 7      after: pixels 0 2 4 6

    ``"nearest-exact"``, which wants the centres, arrives as a gather.
    """
    for graph in model.subgraphs:
        for resizing in graph.operators:
            if operator_name(model, resizing) == "RESIZE_NEAREST_NEIGHBOR":
                resizing.builtinOptions.halfPixelCenters = False
