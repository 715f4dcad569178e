"""Whatever a user hands over, as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from converters import InputError
from mobiledistill.teachers._base import Teacher
from mobiledistill.teachers._ensemble import Ensemble
from mobiledistill.teachers._files import FileTeacher
from mobiledistill.teachers._torch import TorchTeacher

__all__ = ["Teachers", "as_teacher"]

Teachers = nn.Module | Teacher | str | Path | Sequence["nn.Module | Teacher | str | Path"]
"""A torch module, a teacher, the path of a model file, or several of these."""


def as_teacher(given: Teachers) -> Teacher:
    """A module as a :class:`TorchTeacher`, a path as a :class:`FileTeacher`, several as an :class:`Ensemble`.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(given, Teacher):
        return given
    if isinstance(given, nn.Module):
        return TorchTeacher(given)
    if isinstance(given, str | Path):
        return FileTeacher(given)
    if isinstance(given, Sequence):
        return Ensemble([as_teacher(one) for one in given])
    raise InputError(
        f"A teacher is a torch module, one of mobiledistill.teachers, a path or a list of these, not"
        f" {type(given).__name__}."
    )
