"""Where a file's tensors lie: what the packer tells the coder, and the unpacker reads in the archive.

The three formats are read as far as this needs, without their libraries, and without trust: what cannot be read is
structure, which packs as well as any file does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

__all__ = ["Segment", "segments_of"]

_DEEPEST = 40
_LONGEST_ROW = 1 << 20
_LARGEST_KERNEL = 4096


@dataclass(frozen=True, order=True)
class Segment:
    """A tensor's elements.

    Attributes:
        begin: of its first byte.
        end: behind its last byte.
        bits: of an element: 2, 4, 6 or 8, coded as a number; 16, 32 or 64, coded byte by byte.
        signed: whether small elements are signed.
        row: elements of a row: as a rule what one output channel reads.
        step: elements from one to its neighbour in a kernel.
        across: how many neighbours a kernel's line has.
        down: how many lines.
        floating: whether wide elements are floats.
        scalar: of a tensor that follows from others, where the one factor lies; -1: it does not.
        array: where the other factors lie.
        multiple: whether it holds whole multiples of the products, not the products themselves.
    """

    begin: int
    end: int
    bits: int
    signed: bool = True
    row: int = 1
    step: int = 1
    across: int = 1
    down: int = 1
    floating: bool = False
    scalar: int = -1
    array: int = -1
    multiple: bool = False


def segments_of(files: Sequence[tuple[str, bytes]]) -> list[Segment]:
    """The tensors of files that lie one behind the other, by position, none over another."""
    found: list[Segment] = []
    start = 0
    shapes: dict[int, tuple[int, ...]] = {}
    for name, content in files:
        if name.endswith(".mlmodel"):
            shapes |= {one.offset: one.shape for one in _constants(content) if one.offset is not None}
    for name, content in files:
        reader = _reader_of(name, content)
        if reader is not None:
            try:
                parts = list(_blobs(content, shapes) if reader is _blobs else reader(content))
            except (struct.error, IndexError, ValueError, RecursionError, OverflowError):
                parts = []
            found += [
                replace(p, begin=start + p.begin, end=start + p.end)
                for p in parts
                if 0 <= p.begin < p.end <= len(content)
            ]
        start += len(content)
    kept: list[Segment] = []
    for segment in sorted(found):
        if not kept or segment.begin >= kept[-1].end:
            kept.append(segment)
    return kept


def _reader_of(name: str, content: bytes) -> Callable[..., Iterator[Segment]] | None:
    if content[4:8] == b"TFL3":
        return _flatbuffer
    if name.endswith(".bin") and content[4:8] == b"\2\0\0\0":
        return _blobs
    if not name or name.endswith(".onnx"):  # alone, a file has no name
        return _onnx
    if name.endswith(".mlmodel"):
        return _mlmodel
    return None


def _segment(
    begin: int, end: int, kind: tuple[int, bool], shape: tuple[int, ...], floating: bool, channels_last: bool = False
) -> Segment:
    bits, signed = kind
    count = (end - begin) * 8 // bits
    row = prod(shape[1:]) if len(shape) > 1 else count
    step = across = down = 1
    if len(shape) == 4:
        if channels_last:
            down, across, step = shape[1:]
            if shape[0] == 1:
                row = step
        else:
            down, across = shape[2:]
    if not 0 < row <= min(count, _LONGEST_ROW):
        row = max(1, min(count, _LONGEST_ROW))
    if step > count or across * down > _LARGEST_KERNEL or min(step, across, down) < 1:
        step = across = down = 1
    return Segment(begin, end, bits, signed, row, step, across, down, floating)


# -- TFLite: tables that point to each other -----------------------------------------------------------------------

_TFLITE_TYPES = {  # bits, signed
    0: (32, True), 1: (16, True), 2: (32, True), 3: (8, False), 4: (64, True), 7: (16, True), 9: (8, True),
    10: (64, True), 15: (32, False), 16: (16, False), 17: (4, True), 19: (2, True), 20: (4, False),
}  # fmt: skip


def _flatbuffer(content: bytes) -> Iterator[Segment]:
    def u32(at: int) -> int:
        value: int = struct.unpack_from("<I", content, at)[0]
        return value

    def field(table: int, number: int) -> int:
        """Where a table's field lies; 0: it has none."""
        vtable = table - struct.unpack_from("<i", content, table)[0]
        if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", content, vtable)[0]:
            return 0
        offset = struct.unpack_from("<H", content, vtable + 4 + 2 * number)[0]
        return table + offset if offset else 0

    def vector(table: int, number: int) -> tuple[int, int]:
        """Where a field's vector begins and how many elements it has."""
        at = field(table, number)
        if not at:
            return 0, 0
        at += u32(at)
        length = u32(at)
        if at + 4 + length > len(content):
            raise ValueError
        return at + 4, length

    def tables(table: int, number: int) -> list[int]:
        begin, count = vector(table, number)
        return [begin + 4 * i + u32(begin + 4 * i) for i in range(count)]

    model = u32(0)
    buffers = tables(model, 4)
    for graph in tables(model, 2):
        for tensor in tables(graph, 0):
            begin, rank = vector(tensor, 0)
            shape = struct.unpack_from(f"<{rank}i", content, begin)
            place = field(tensor, 1)
            code = content[place] if place else 0
            kind = _TFLITE_TYPES.get(code, (8, False))
            place = field(tensor, 2)
            data, size = vector(buffers[u32(place) if place else 0], 0)
            if size:
                yield _segment(data, data + size, kind, shape, code == 0, channels_last=True)
            place = field(tensor, 4)
            if place:
                quantization = place + u32(place)
                data, size = vector(quantization, 2)
                if size:
                    yield Segment(data, data + 4 * size, 32, floating=True)


# -- protobuf: fields with numbers ---------------------------------------------------------------------------------


def _fields(content: bytes, begin: int, end: int) -> list[tuple[int, int, int, int]]:
    """Number, value, begin and end of each field; a number's value, or where bytes lie."""
    found = []
    while begin < end:
        key, begin = _varint(content, begin)
        match key & 7:
            case 0:
                value, begin = _varint(content, begin)
                found.append((key >> 3, value, 0, 0))
            case 1:
                begin += 8
            case 5:
                begin += 4
            case 2:
                size, begin = _varint(content, begin)
                if begin + size > end:
                    raise ValueError
                found.append((key >> 3, -1, begin, begin + size))
                begin += size
            case _:
                raise ValueError
    if begin != end:
        raise ValueError
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


_ONNX_TYPES = {
    1: (32, True), 2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True), 6: (32, True), 7: (64, True),
    9: (8, False), 10: (16, True), 11: (64, True), 12: (32, False), 13: (64, False), 16: (16, True),
    21: (4, False), 22: (4, True), 25: (2, False), 26: (2, True),
}  # fmt: skip


def _onnx(content: bytes) -> Iterator[Segment]:
    """ModelProto.graph is 7; GraphProto.initializer 5, node 1; NodeProto.attribute 5; AttributeProto.t 5, g 6."""
    waiting = [(b, e, 0) for n, _, b, e in _fields(content, 0, len(content)) if n == 7 and e]
    while waiting:
        begin, end, depth = waiting.pop()
        for number, _, b, e in _fields(content, begin, end):
            if number == 5 and e:
                yield from _onnx_tensor(content, b, e)
            elif number == 1 and e:
                for inner, _, b2, e2 in _fields(content, b, e):
                    if inner == 5 and e2:
                        for part, _, b3, e3 in _fields(content, b2, e2):
                            if part == 5 and e3:
                                yield from _onnx_tensor(content, b3, e3)
                            elif part == 6 and e3 and depth < _DEEPEST:
                                waiting.append((b3, e3, depth + 1))


def _onnx_tensor(content: bytes, begin: int, end: int) -> Iterator[Segment]:
    """TensorProto: dims 1, data_type 2, raw_data 9."""
    shape: tuple[int, ...] = ()
    kind = data = behind = 0
    for number, value, b, e in _fields(content, begin, end):
        if number == 1:
            if e:  # packed
                while b < e:
                    value, b = _varint(content, b)
                    shape += (value,)
            else:
                shape += (value,)
        elif number == 2:
            kind = value
        elif number == 9:
            data, behind = b, e
    if behind and kind in _ONNX_TYPES:
        yield _segment(data, behind, _ONNX_TYPES[kind], shape, kind == 1)


# -- Core ML: a program whose constants lie in it or, if large, in blobs of another file -----------------------------

_MIL_TYPES = {
    10: (16, True), 11: (32, True), 12: (64, True), 21: (8, True), 22: (16, True), 23: (32, True), 24: (64, True),
    25: (4, True), 31: (8, False), 32: (16, False), 33: (32, False), 34: (64, False), 35: (4, False), 36: (2, False),
    38: (6, False),
}  # fmt: skip
_BLOB_TYPES = {
    1: (16, True), 2: (32, True), 3: (8, False), 4: (8, True), 5: (16, True), 6: (16, True), 7: (16, False),
    8: (4, True), 10: (2, False), 11: (4, False), 13: (6, False), 14: (32, True), 15: (32, False),
}  # fmt: skip


@dataclass(frozen=True)
class _Constant:
    """A value of a program: its type and shape, and where its bytes lie; or its place among the blobs."""

    kind: int
    shape: tuple[int, ...]
    begin: int
    end: int
    offset: int | None


def _mlmodel(content: bytes) -> Iterator[Segment]:
    for one in _constants(content):
        if one.offset is None:
            yield _told(one.begin, one.end, _MIL_TYPES[one.kind], one.shape, one.kind == 11)


def _constants(content: bytes) -> Iterator[_Constant]:
    """A Value has a type in field 2, and its elements in 3, or in 5 the name of a file and an offset."""
    waiting = [(0, len(content), 0)]
    unpacked: dict[tuple[int, int], tuple[int, ...]] = {}
    while waiting:
        begin, end, depth = waiting.pop()
        try:
            fields = _fields(content, begin, end)
        except (ValueError, IndexError):
            continue
        parts = {number: (b, e) for number, _, b, e in fields if e}
        if 2 in parts and (3 in parts or 5 in parts):
            constant = _constant(content, parts)
            if constant is not None:
                yield replace(constant, shape=unpacked.get((begin, end), constant.shape))
                continue
        if 1 in parts and content[slice(*parts[1])] == b"constexpr_lut_to_dense":
            unpacked |= _unpacked(content, fields)
        if depth < _DEEPEST:
            waiting += [(b, e, depth + 1) for _, _, b, e in fields if e]


def _constant(content: bytes, parts: dict[int, tuple[int, int]]) -> _Constant | None:
    try:
        tensor = _part(content, parts[2], 1)
        kind = next(value for number, value, _, e in _fields(content, *tensor) if number == 1 and not e)
        if kind not in _MIL_TYPES:
            return None
        shape = _mil_shape(content, tensor)
        if 5 in parts:
            offset = next(value for number, value, _, e in _fields(content, *parts[5]) if number == 2 and not e)
            return _Constant(kind, shape, 0, 0, offset)
        ((number, _, b, e),) = _fields(content, *_part(content, parts[3], 1))
        if number not in (1, 6, 7):  # floats, doubles and bytes; integers are varints
            return None
        return _Constant(kind, shape, *_part(content, (b, e), 1), None)
    except (KeyError, StopIteration, ValueError, IndexError):
        return None


def _unpacked(content: bytes, fields: Sequence[tuple[int, int, int, int]]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Of an operation that looks weights up: the weights' shape, from its output, by the place of the indices."""
    try:
        output = next((b, e) for number, _, b, e in fields if number == 3 and e)
        shape = _mil_shape(content, _part(content, _part(content, output, 2), 1))
        return {
            _part(content, (b, e), 2): shape
            for number, _, b, e in fields
            if number == 5 and e and content[slice(*_part(content, (b, e), 1))] == b"indices"
        }
    except (StopIteration, ValueError, IndexError):
        return {}


def _mil_shape(content: bytes, tensor: tuple[int, int]) -> tuple[int, ...]:
    sizes = [_part(content, (b, e), 1) for number, _, b, e in _fields(content, *tensor) if number == 3 and e]
    return tuple(next((v for n, v, _, _ in _fields(content, *size) if n == 1), 0) for size in sizes)


def _told(begin: int, end: int, kind: tuple[int, bool], shape: tuple[int, ...], floating: bool) -> Segment:
    """As its type tells; but bytes that hold more elements than there are bytes are packed indices of a palette."""
    bits = 8 * (end - begin) // max(1, prod(shape)) if kind == (8, False) and shape else 8
    return _segment(begin, end, (bits, False) if bits in (2, 4, 6) else kind, shape, floating)


def _part(content: bytes, place: tuple[int, int], wanted: int) -> tuple[int, int]:
    return next((b, e) for number, _, b, e in _fields(content, *place) if number == wanted and e)


def _blobs(content: bytes, shapes: dict[int, tuple[int, ...]]) -> Iterator[Segment]:
    for offset in range(64, len(content) - 63, 64):
        sentinel, kind, size, begin = struct.unpack_from("<IIQQ", content, offset)
        if sentinel == 0xDEADBEEF and kind in _BLOB_TYPES and begin == offset + 64:
            yield _told(begin, begin + size, _BLOB_TYPES[kind], shapes.get(offset, ()), kind == 2)
