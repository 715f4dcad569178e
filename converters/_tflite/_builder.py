"""A flatbuffers builder that writes nothing twice."""

# Imported on use only: flatbuffers comes with ai-edge-litert.
from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types
from numpy.typing import NDArray

__all__ = ["SharingBuilder"]

_LENGTH_BYTES = 4  # every vector starts with its length
_LONGEST_SOUGHT = 256  # longer runs of bytes only ever equal whole vectors


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]  # untyped library
    """A builder that returns the offset of an equal vector or table instead of writing it again.

    Tables are held back until they are complete: then their fields can be sorted by width, which leaves
    no gaps, and a table whose fields all equal those of an earlier one need not be written.

    Args:
        size: bytes to start with; it grows.
        data_alignment: of byte vectors, which hold the constants.
    """

    Bytes: bytearray
    head: int
    nested: bool
    current_vtable: Any

    def __init__(self, size: int, data_alignment: int) -> None:
        super().__init__(size)
        self._data_alignment = data_alignment
        self._fields: dict[int, tuple[int, Any, Any]] = {}
        self._tables: dict[tuple[Any, ...], int] = {}
        self._vectors: dict[tuple[Any, ...], int] = {}
        self._offsets: list[int] | None = None
        self._before, self._size, self._alignment = 0, 0, 1

    def StartVector(self, element: int, count: int, alignment: int) -> int:
        self._begin_vector(element * count, alignment)
        return int(super().StartVector(element, count, alignment))

    def CreateString(self, text: Any, encoding: str = "utf-8", errors: str = "strict") -> int:
        content = text.encode(encoding, errors) if isinstance(text, str) else text
        self._begin_vector(len(content) + 1, 1)  # a zero byte ends it
        return int(super().CreateString(content))

    def CreateNumpyVector(self, values: NDArray[Any]) -> int:
        if values.dtype != np.uint8:
            return int(super().CreateNumpyVector(values))
        self.StartVector(1, values.size, self._data_alignment)
        self.head -= values.size
        self.Bytes[self.head : self.head + values.size] = values.tobytes()
        return self.EndVector()

    def PrependUOffsetTRelative(self, offset: int) -> None:
        if self._offsets is not None:
            self._offsets.append(offset)
        super().PrependUOffsetTRelative(offset)

    def EndVector(self, count: int | None = None) -> int:
        offset = int(super().EndVector())
        offsets, self._offsets = self._offsets, None
        written = bytes(self.Bytes[self.head : self.head + _LENGTH_BYTES + self._size])
        key: tuple[Any, ...] = (
            tuple(offsets) if offsets else (written, self._alignment)
        )  # offsets are relative to their place
        known = self._vectors.get(key)
        if known is None and not offsets:
            known = self._find(written)
        if known is None:
            return self._vectors.setdefault(key, offset)
        self.head = len(self.Bytes) - self._before
        return known

    def _begin_vector(self, size: int, alignment: int) -> None:
        self._before, self._size, self._alignment = self.Offset(), size, max(alignment, _LENGTH_BYTES)
        self._offsets = []

    def _find(self, written: bytes) -> int | None:
        """Where the same bytes already stand as aligned as they must be, whatever they were written for."""
        if len(written) > _LONGEST_SOUGHT:
            return None
        end, start = len(self.Bytes), len(self.Bytes) - self._before
        while (start := self.Bytes.find(written, start)) >= 0:
            if (end - start) % _LENGTH_BYTES == 0 and (end - start - _LENGTH_BYTES) % self._alignment == 0:
                return end - start
            start += 1
        return None

    def StartObject(self, fields: int) -> None:
        self._fields = {}
        super().StartObject(fields)

    def PrependSlot(self, flags: Any, slot: int, value: Any, default: Any) -> None:
        if value != default:
            self._fields[slot] = (flags.bytewidth, flags, value)

    def PrependUOffsetTRelativeSlot(self, slot: int, offset: int, default: int) -> None:
        if offset != default:
            self._fields[slot] = (number_types.UOffsetTFlags.bytewidth, None, offset)

    def PrependStructSlot(self, slot: int, offset: int, default: int) -> None:
        raise TypeError("The TFLite schema has no structs.")

    def EndObject(self) -> int:
        fields = sorted(self._fields.items(), key=lambda field: field[1][0])
        key = tuple((slot, flags, value) for slot, (_, flags, value) in fields)
        if key in self._tables:
            self.nested, self.current_vtable = False, None
            return self._tables[key]
        for slot, (_, flags, value) in fields:
            if flags is None:
                self.PrependUOffsetTRelative(value)
            else:
                self.Prepend(flags, value)
            self.Slot(slot)
        return self._tables.setdefault(key, int(super().EndObject()))
