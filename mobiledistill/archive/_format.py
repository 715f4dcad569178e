"""The archive as bytes: a header, a list of what lies where, and what the coder makes of it; see ``docs/pack.md``."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from converters import InputError, ModelFileError
from mobiledistill.archive._layout import Segment, segments_of
from mobiledistill.archive._relations import multiple_of, products, with_relations

if TYPE_CHECKING:
    from mobiledistill.archive._coder import Coder

__all__ = ["Contents", "archived", "extracted"]

Contents = bytes | Mapping[str, bytes]
"""A file, or a folder's files by path; a path that ends in a slash is an empty folder."""

_MAGIC = b"\xb5MD"
_VERSION = 1
_STORED, _MODELLED = 0, 1
_LARGEST = 1 << 30  # bytes of all files together
_MOST_TIMES = 2500  # a bit costs at least 0.00048 bits, so a byte of payload becomes at most 2,073
_MOST_FILES, _LONGEST_NAME, _MOST_SEGMENTS = 100_000, 4096, 1_000_000
_LARGEST_LIST = 1 << 26
_LONGEST_NUMBER = 5  # bytes

_ELEMENT_BITS = (2, 4, 6, 8)
_WIDE_BITS = (16, 32, 64)
_PRODUCTS, _MULTIPLES = 7, 8
_LONGEST_ROW, _LARGEST_KERNEL = 1 << 20, 4096
_FEWEST_BYTES = (8, 48)  # of a tensor that is worth its place in the list; both are tried where that is quick
_QUICK = 100_000


# -- writing -------------------------------------------------------------------------------------------------------


def archived(contents: Contents) -> bytes:
    """The archive of a file or folder, modelled or, where that is no shorter, as it is."""
    names = _names(contents)
    content = contents if isinstance(contents, bytes) else b"".join(contents[name] for name in sorted(contents))
    if len(content) > _LARGEST:
        raise InputError(f"What is to be packed has {len(content):,} bytes; the most is {_LARGEST:,}.")
    stored = names + content
    header = _number(len(content)) + zlib.crc32(stored).to_bytes(4, "little")
    best = _start(_STORED) + header + stored
    segments = _segments(contents, content)
    lists = {tuple(one for one in segments if one.end - one.begin >= fewest) for fewest in _FEWEST_BYTES}
    for chosen in sorted(lists, key=len) if len(content) <= _QUICK else [max(lists, key=len)]:
        payload = _coded(names, content, chosen)
        if _is_allowed(len(content), payload):
            best = min(best, _start(_MODELLED) + header + payload, key=len)
    return best


def _is_allowed(size: int, payload: bytes) -> bool:
    """Whether so little may hold so much; readers refuse other claims before they take memory."""
    return size <= min(_LARGEST, _MOST_TIMES * (len(payload) + 8))


def _start(method: int) -> bytes:
    return _MAGIC + bytes([_VERSION << 4 | method])


def _segments(contents: Contents, content: bytes) -> list[Segment]:
    files = [("", content)] if isinstance(contents, bytes) else [(name, contents[name]) for name in sorted(contents)]
    return with_relations(content, segments_of(files))[:_MOST_SEGMENTS]


def _coded(names: bytes, content: bytes, segments: Sequence[Segment]) -> bytes:
    from mobiledistill.archive._coder import PRIMER, Coder

    listed = names + _listed(segments)
    values = np.frombuffer(content, np.uint8).copy()
    structure = values[_outside(segments, len(values))]
    stream = np.concatenate([PRIMER, np.frombuffer(_number(len(listed)) + listed, np.uint8), structure])
    coder = Coder(len(content))
    coder.structure(stream, len(PRIMER), len(stream))
    for number, one in enumerate(segments):
        if one.scalar < 0:
            _code_segment(coder, values, one, number)
    for number, one in enumerate(segments):
        if one.multiple:
            numbers = multiple_of(content, one, one.scalar, one.array).astype("<i4").view(np.uint8).copy()
            coder.wide(numbers, 0, len(numbers), 4, number)
    return coder.payload()


def _names(contents: Contents) -> bytes:
    if isinstance(contents, bytes):
        return _number(0)
    if len(contents) > _MOST_FILES:
        raise InputError(f"A folder of {len(contents):,} files is too much; the most is {_MOST_FILES:,}.")
    parts = [_number(len(contents) + 1)]
    for name in sorted(contents):
        encoded = name.encode(errors="surrogateescape")
        try:
            _safe(encoded)
        except _Damaged:
            raise InputError(f"The folder holds {name!r}, a name that not every system can keep; rename it.") from None
        parts += [_number(len(encoded)), encoded, _number(len(contents[name]))]
    return b"".join(parts)


def _listed(segments: Sequence[Segment]) -> bytes:
    """Column by column, since numbers of a kind resemble each other."""
    columns: list[list[int]] = [[], [], [], []]
    end = 0
    for one in segments:
        columns[0].append(one.begin - end)
        columns[1].append(one.end - one.begin)
        columns[2].append(_kind(one))
        if one.scalar >= 0:
            columns[3] += [one.scalar, one.array]
        elif one.bits in _ELEMENT_BITS:
            columns[3].append(one.row)
            if _has_kernel(one):
                columns[3] += [one.step, one.across, one.down]
        end = one.end
    return b"".join([_number(len(segments)), *(_number(value) for column in columns for value in column)])


def _kind(one: Segment) -> int:
    if one.scalar >= 0:
        return _MULTIPLES if one.multiple else _PRODUCTS
    if one.bits in _WIDE_BITS:
        return 4 + _WIDE_BITS.index(one.bits)
    return _ELEMENT_BITS.index(one.bits) | 16 * one.signed | 32 * _has_kernel(one)


def _has_kernel(one: Segment) -> bool:
    return (one.step, one.across, one.down) != (1, 1, 1)


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the last byte is below 128."""
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


# -- both ----------------------------------------------------------------------------------------------------------


def _outside(segments: Sequence[Segment], size: int) -> NDArray[np.bool_]:
    """Which bytes lie in no tensor."""
    outside = np.ones(size, np.bool_)
    for one in segments:
        outside[one.begin : one.end] = False
    return outside


def _code_segment(coder: Coder, values: NDArray[np.uint8], one: Segment, number: int) -> None:
    if one.bits in _WIDE_BITS:
        coder.wide(values, one.begin, one.end, one.bits // 8, number)
    else:
        shape = (one.row, one.step, one.across, one.down)
        coder.elements(values, one.begin, one.end, one.bits, one.signed, shape, number)


# -- reading -------------------------------------------------------------------------------------------------------


def extracted(archive: bytes, name: str) -> Contents:
    """What an archive holds, checked.

    Args:
        archive: its bytes.
        name: what errors call it.

    Raises:
        ModelFileError: it is no archive, of an unknown version, damaged, cut, or unsafe to unpack.
    """
    if archive[:3] != _MAGIC or len(archive) < 4:
        raise ModelFileError(f"{name} is no archive of mobiledistill pack; give the file that pack wrote.")
    version, method = archive[3] >> 4, archive[3] & 15
    if version != _VERSION or method not in (_STORED, _MODELLED):
        raise ModelFileError(
            f"{name} is an archive of version {version}.{method}, and this release reads {_VERSION};"
            " install a newer one."
        )
    try:
        size, at = _read_number(archive, 4)
        checksum = int.from_bytes(archive[at : at + 4], "little")
        payload = archive[at + 4 :]
        if len(archive) < at + 4 or not _is_allowed(size, payload):
            raise _Damaged
        names, content = _stored(payload, size) if method == _STORED else _decoded(payload, size)
        if zlib.crc32(content, zlib.crc32(names)) != checksum:
            raise _Damaged
        return _named(names, content)
    except _Damaged:
        raise ModelFileError(f"{name} is damaged or cut; fetch it again, or pack the model again.") from None


class _Damaged(Exception):
    """Bytes that no archive can have."""


def _stored(payload: bytes, size: int) -> tuple[bytes, bytes]:
    split = len(payload) - size
    if split < 1 or _end_of_names(payload) != split:
        raise _Damaged
    return payload[:split], payload[split:]


def _decoded(payload: bytes, size: int) -> tuple[bytes, bytes]:
    from mobiledistill.archive._coder import PRIMER, Coder

    coder = Coder(size, payload)
    start = np.concatenate([PRIMER, np.zeros(_LONGEST_NUMBER, np.uint8)])
    for at in range(len(PRIMER), len(start)):
        coder.structure(start, at, at + 1)
        if start[at] < 128:
            break
    at += 1
    length, _ = _read_number(start[len(PRIMER) : at].tobytes(), 0)
    if length > min(_LARGEST_LIST, _MOST_TIMES * (len(payload) + 8)):
        raise _Damaged
    stream = np.concatenate([start[:at], np.zeros(length + size, np.uint8)])
    coder.structure(stream, at, at + length)
    if coder.starved():
        raise _Damaged
    listed = stream[at : at + length].tobytes()
    end = _end_of_names(listed)
    segments = _read_segments(listed, end, size)
    at += length
    outside = _outside(segments, size)
    count = int(outside.sum())
    coder.structure(stream, at, at + count)
    values = np.zeros(size, np.uint8)
    values[outside] = stream[at : at + count]
    for number, one in enumerate(segments):
        if one.scalar < 0:
            _code_segment(coder, values, one, number)
            if coder.starved():
                raise _Damaged
    for number, one in enumerate(segments):
        if one.scalar >= 0:
            numbers = np.ones((one.end - one.begin) // 4, np.int64)
            if one.multiple:
                coded = np.zeros(one.end - one.begin, np.uint8)
                coder.wide(coded, 0, len(coded), 4, number)
                numbers = coded.view("<i4").astype(np.int64)
            array = values[one.array : one.array + one.end - one.begin].tobytes()
            made = products(numbers, values[one.scalar : one.scalar + 4].tobytes(), array)
            values[one.begin : one.end] = np.frombuffer(made, np.uint8)
    if coder.starved() or payload[max(0, coder.coded_bytes - 4) :] != coder.tail():
        raise _Damaged
    return listed[:end], values.tobytes()


def _read_segments(listed: bytes, at: int, size: int) -> list[Segment]:
    numbers = _Numbers(listed, at)
    count = numbers.next()
    if count > min(_MOST_SEGMENTS, len(listed)):
        raise _Damaged
    gaps, lengths, kinds = ([numbers.next() for _ in range(count)] for _ in range(3))
    segments = []
    end = 0
    for gap, length, kind in zip(gaps, lengths, kinds, strict=True):
        begin = end + gap
        end = begin + length
        if end > size or length < 1 or kind > 63:
            raise _Damaged
        if kind in (_PRODUCTS, _MULTIPLES):
            scalar, array = numbers.next(), numbers.next()
            if length % 4 or not _apart(scalar, 4, begin, end, size) or not _apart(array, length, begin, end, size):
                raise _Damaged
            segments.append(Segment(begin, end, 32, scalar=scalar, array=array, multiple=kind == _MULTIPLES))
        elif 4 <= kind <= 6:
            bits = _WIDE_BITS[kind - 4]
            if length % (bits // 8):
                raise _Damaged
            segments.append(Segment(begin, end, bits))
        else:
            segments.append(_read_elements(numbers, begin, end, kind))
    if not numbers.done:
        raise _Damaged
    return segments


def _apart(at: int, length: int, begin: int, end: int, size: int) -> bool:
    """Whether factors lie in the content, and outside what is made of them."""
    return at + length <= size and (at + length <= begin or at >= end)


def _read_elements(numbers: _Numbers, begin: int, end: int, kind: int) -> Segment:
    if kind & 12:
        raise _Damaged
    bits = _ELEMENT_BITS[kind & 3]
    count = ((end - begin) * 8 + bits - 1) // bits
    row = numbers.next()
    step, across, down = (numbers.next(), numbers.next(), numbers.next()) if kind & 32 else (1, 1, 1)
    if not 1 <= row <= min(count, _LONGEST_ROW) or min(step, across, down) < 1:
        raise _Damaged
    if step > count or across > _LARGEST_KERNEL or down > _LARGEST_KERNEL or across * down > _LARGEST_KERNEL:
        raise _Damaged
    return Segment(begin, end, bits, bool(kind & 16), row, step, across, down)


def _end_of_names(listed: bytes) -> int:
    """Where the files' list ends."""
    numbers = _Numbers(listed, 0)
    for _ in range(max(0, numbers.next() - 1)):
        numbers.skip(numbers.next())
        numbers.next()
    return numbers.at


def _named(names: bytes, content: bytes) -> Contents:
    numbers = _Numbers(names, 0)
    count = numbers.next()
    if count == 0:
        return content
    if count - 1 > _MOST_FILES:
        raise _Damaged
    found: dict[str, bytes] = {}
    last, start = b"", 0
    for _ in range(count - 1):
        encoded, size = numbers.bytes(numbers.next()), numbers.next()
        name = _safe(encoded)
        if encoded <= last or start + size > len(content) or (size and name.endswith("/")):
            raise _Damaged
        last = encoded
        found[name] = content[start : start + size]
        start += size
    if start != len(content) or _collide(found):
        raise _Damaged
    return found


def _safe(name: bytes) -> str:
    """A path below the folder, in the one spelling it has."""
    if len(name) > _LONGEST_NAME:
        raise _Damaged
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise _Damaged from None
    parts = text.removesuffix("/").split("/")
    if any(part in ("", ".", "..") or set(part) & set("\\:\0") for part in parts):
        raise _Damaged
    return text


def _collide(names: Mapping[str, bytes]) -> bool:
    """Whether a file stands where another one needs a folder."""
    paths = {name.removesuffix("/") for name in names}
    if len(paths) != len(names):
        return True
    return any(parent.as_posix() in paths for path in paths for parent in PurePosixPath(path).parents)


def _read_number(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_NUMBER):
        if at + place >= len(content):
            raise _Damaged
        byte = content[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise _Damaged


class _Numbers:
    """Reads numbers one after the other."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self.at = at

    def next(self) -> int:
        value, self.at = _read_number(self._content, self.at)
        return value

    def bytes(self, count: int) -> bytes:
        self.skip(count)
        return self._content[self.at - count : self.at]

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise _Damaged

    @property
    def done(self) -> bool:
        return self.at == len(self._content)
