"""Keeps what a program has measured, JSON that is whole at any moment and the page made from it; tells its progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mobiledistill as md

__all__ = ["keep_figures", "known_figures", "tell"]


def known_figures(path: Path) -> dict[str, Any]:
    """What was kept so far, by this program or another one that runs beside it."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep_figures(path: Path, figures: Mapping[str, Any], page: Callable[[Mapping[str, Any]], str]) -> None:
    """Writes the JSON aside and renames it; its page lies beside it as ``.md``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(figures, indent=1) + "\n")
    aside.replace(path)
    path.with_suffix(".md").write_text(page(figures))


def tell(event: md.Event) -> None:
    """One line of progress on standard error."""
    print(f"{event.phase:10} {event.done}/{event.total}  {event.note}", file=sys.stderr, flush=True)
