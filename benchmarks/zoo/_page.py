"""The page about the zoo, made from its cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.zoo import ZOO
from benchmarks.zoo._cell import PRECISIONS
from converters import FORMATS

__all__ = ["page"]

_NAMES = {"tflite": "TFLite", "coreml": "Core ML", "onnx": "ONNX"}


def page(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: how many cells work, one table, and why the others do not.

    Args:
        cells: what ``run_cell`` found, by ``network/format/precision``.
    """
    works = [cell for cell in cells.values() if cell["outcome"] == "works"]
    integers = [cell for cell in works if cell["precision"] == "int8"]
    static = sum(bool(cell["static"]) for cell in integers)
    small = [cell for cell in cells.values() if ZOO[cell["network"]].small]
    sound = sum(cell["outcome"] == "works" for cell in small)
    kinds = [(format, precision) for format in FORMATS for precision in PRECISIONS]
    networks = list(dict.fromkeys(cell["network"] for cell in cells.values()))
    rows = [
        f"| {network} | "
        + " | ".join(_cell(cells.get(f"{network}/{format}/{precision}")) for format, precision in kinds)
        for network in networks
    ]
    others = [cell for cell in cells.values() if cell["outcome"] != "works"]
    return "\n".join(
        [
            "# The zoo",
            "",
            "Made by `python -m benchmarks.zoo`. Weights are drawn at random and scaled until each layer answers with",
            "a spread of one. int8 is `md.quantize.post_training` on 32 samples, without training. Each file was",
            "compared with its module on 32 other samples (`md.verify`).",
            "",
            f"**{len(works)} of {len(cells)} cells work** ({100 * len(works) / len(cells):.1f} %).",
            f"Of {len(small)} cells of networks that phones run on every frame {sound} work.",
            f"Of {len(integers)} int8 files {static} are static: their layers read integers on fixed grids.",
            "",
            "Cells: kB of the file, dB from its module (200: equal), and where it runs here the milliseconds of one",
            "call, a first impression (one thread, one process, the machine not free).",
            "",
            "| | " + " | ".join(f"{_NAMES[format]} {precision}" for format, precision in kinds) + " |",
            "|---|" + "---|" * len(kinds),
            *(f"{row} |" for row in rows),
            "",
            *(["## What does not work", ""] if others else []),
            *(f"- {one['network']}, {_NAMES[one['format']]} {one['precision']}: {one['reason']}" for one in others),
            "",
        ]
    )


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["outcome"] != "works":
        return f"**{found['outcome']}**"
    latency = f", {found['latency_ms']:.2g}" if "latency_ms" in found else ""
    return f"{found['size_bytes'] / 1000:.0f}, {found['sqnr_db']:.0f}{latency}"
