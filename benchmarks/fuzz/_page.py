"""The page about the fuzzing, made from what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.fuzz._readers import READERS
from benchmarks.fuzz._run import LIMIT_BYTES, LIMIT_S

__all__ = ["page"]


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one row a reader, and what broke.

    Args:
        found: tallies by reader.
    """
    rows = [
        f"| {READERS[name].what} | {one['files']:,} | {one['refused']:,} | {one['accepted']:,} | {one['crashes']} |"
        f" {one['hangs']} | {one['most_seconds']:.3f} | {one['most_bytes'] / 1e6:.0f} |"
        for name, one in found.items()
    ]
    faults = [
        f"- {name}, file {fault['index']}: {fault['reason']}" for name, one in found.items() for fault in one["faults"]
    ]
    return "\n".join(
        [
            "# Damaged files",
            "",
            "Made by `python -m benchmarks.fuzz`. Real files with one to six damages each (turned bits, runs,",
            "extreme lengths, cuts, parts of other files; JSON also with values of other kinds), given to every reader",
            "of ours. A file is refused with one of our errors, on one line, or accepted: it then reads as another,",
            f"sound file. Anything else is a crash. A hang is more than {LIMIT_S} s of the processor. A process may",
            f"grow by {LIMIT_BYTES / 1e9:g} GB; what needs more and is not refused is a crash too.",
            "",
            "| reads | files | refused in one line | accepted | crashes | hangs | most seconds | most MB |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(["## What broke", "", *faults, ""] if faults else []),
        ]
    )
