"""The public names: what the package lists, what the manual describes and what is there are the same."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path

import mobiledistill as md

MANUAL = Path(__file__).parents[1] / "docs" / "api.md"


def test_the_manual_describes_what_the_package_lists() -> None:
    described = re.findall(r"^### `(\w+)`$", MANUAL.read_text(), flags=re.MULTILINE)

    assert len(described) == len(set(described))
    assert set(described) == set(md.__all__)


def test_every_listed_name_is_there() -> None:
    assert [name for name in md.__all__ if not hasattr(md, name)] == []


def test_nothing_public_is_unlisted() -> None:
    ours = {name for name, value in vars(md).items() if not name.startswith("_") and is_ours(value)}
    assert ours - set(md.__all__) == set()


def test_every_public_name_explains_itself() -> None:
    silent = [name for name in md.__all__ if explains(getattr(md, name)) and not inspect.getdoc(getattr(md, name))]
    assert silent == []


def is_ours(value: object) -> bool:
    """A class or function of ours; a submodule is no name of the package until the package lists it."""
    return explains(value) and getattr(value, "__module__", "").split(".")[0] in {"converters", "mobiledistill"}


def explains(value: object) -> bool:
    return isinstance(value, type | types.FunctionType)
