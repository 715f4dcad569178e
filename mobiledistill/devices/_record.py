"""What is written down and read again: strict, and one line says what is wrong with it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Record", "first_fault"]


class Record(BaseModel):
    """Data that came from a file or another device, with nothing missing, unknown or infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


def first_fault(error: ValidationError) -> str:
    """Where the first fault is, and what."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the text"
    return f"{place}: {first['msg']}"
