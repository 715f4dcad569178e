"""The weight file of a package: a header, then blobs of 64 bytes of metadata and data, each on a 64-byte boundary."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters._errors import ModelFileError

__all__ = ["Blob", "BlobFile", "read_blob"]

_ALIGNMENT = 64
_HEADER = struct.Struct("<II56x")  # number of blobs, version of the format
_METADATA = struct.Struct("<IIQQQ32x")  # sentinel, data type, size, where the data starts, bits of padding
_SENTINEL = 0xDEADBEEF
_VERSION = 2


@dataclass(frozen=True)
class Blob:
    """One tensor's bytes, with the file's own code for its type and, below 8 bits, the unused bits at its end."""

    dtype: int
    data: bytes
    padding_bits: int


def read_blob(content: bytes, offset: int) -> Blob:
    """The blob whose metadata starts at ``offset``, the number that a model refers to it by.

    Raises:
        ModelFileError: there is no blob at that place.
    """
    if offset < 0 or offset + _METADATA.size > len(content):
        raise ModelFileError(f"The weight file ends before the blob at {offset}: it is cut; export it again.")
    sentinel, dtype, size, start, padding = _METADATA.unpack_from(content, offset)
    if sentinel != _SENTINEL or start + size > len(content):
        raise ModelFileError(f"The weight file holds no whole blob at {offset}: it is damaged; export it again.")
    return Blob(dtype, content[start : start + size], padding)


class BlobFile:
    """A weight file in the making, in which equal blobs share one place."""

    def __init__(self) -> None:
        self._offsets: dict[Blob, int] = {}
        self._content = bytearray(_HEADER.size)

    def add(self, blob: Blob) -> int:
        """Where the model finds the blob."""
        if blob not in self._offsets:
            self._content += bytes(-len(self._content) % _ALIGNMENT)
            offset = len(self._content)
            start = offset + _METADATA.size
            self._content += _METADATA.pack(_SENTINEL, blob.dtype, len(blob.data), start, blob.padding_bits)
            self._content += blob.data
            self._offsets[blob] = offset
        return self._offsets[blob]

    def to_bytes(self) -> bytes:
        """The whole file."""
        _HEADER.pack_into(self._content, 0, len(self._offsets), _VERSION)
        return bytes(self._content)
