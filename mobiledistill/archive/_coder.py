"""The entropy coder of archives: structure and tensors, each with what is known of its kind.

Like the symbols below it, and like ``mdpack.c``, it is all arithmetic on integers: ``docs/pack.md`` says the same in
words. Whatever changes here changes the format.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobiledistill.archive._symbols import (
    AT,
    CODE,
    CURVES,
    DECODE,
    ENCODE,
    FRESH,
    GROUPS,
    HASH_B,
    HASH_C,
    HASH_D,
    HIGH,
    INPUTS,
    LEARN,
    LEVELS,
    LOW,
    MIXERS,
    MOST_OVERRUN,
    OVERRUN,
    ROWS,
    SETS,
    SHIFT,
    WORD,
    Model,
    Whole,
    code_symbol,
    compiled,
    first_rows,
)

__all__ = ["PRIMER", "Coder"]

PRIMER: NDArray[np.uint8] = np.fromfile(Path(__file__).with_name("primer.bin"), np.uint8)
"""The lists and the structure of three small models, one a format."""

_FEATURES = 9
_HEADS = 1 << 16
_LONGEST_MATCH = 65535
_SLOT_BITS = (16, 22)  # of the table of contexts, by the size of the content


# -- structure -----------------------------------------------------------------------------------------------------


@compiled
def _code_structure(m: Model, mode: int, stream: NDArray[np.uint8], start: int, stop: int) -> None:
    """Bytes ``start`` to ``stop`` of a stream whose earlier bytes are known: text, offsets, lengths."""
    for i in range(start, stop):
        _structure_contexts(m, stream, i)
        for k in range(2):
            _find_match(m, stream, i, k)
        length = m.match[1]
        select0 = 0 if length == 0 else 1 if length < 16 else 2
        select1 = 0 if length == 0 else 1 + min(length, 31) // 4
        stream[i] = code_symbol(m, mode, np.int64(stream[i]), np.int64(8), np.int64(0), select0, select1)
        for k in range(2):
            if m.match[2 * k + 1]:
                if stream[m.match[2 * k]] == stream[i]:
                    m.match[2 * k] += 1
                    m.match[2 * k + 1] = min(m.match[2 * k + 1] + 1, _LONGEST_MATCH)
                else:
                    m.match[2 * k + 1] = 0
        if m.state[OVERRUN] > MOST_OVERRUN:
            return


@compiled
def _structure_contexts(m: Model, stream: NDArray[np.uint8], i: int) -> None:
    def before(back: int) -> Whole:
        return np.int64(stream[i - back]) if i >= back else 0

    c1, c2, c3, c4 = before(1), before(2), before(3), before(4)
    two = c1 | c2 << 8
    three = two | c3 << 16
    four = three | c4 << 24
    letter = 97 <= (c1 | 32) <= 122 or 48 <= c1 <= 57
    m.match[4] = ((m.match[4] + c1) * HASH_C) & WORD if letter else 0  # the word so far
    m.contexts[0] = 0
    m.contexts[1] = c1
    m.contexts[2] = two
    m.contexts[3] = three * HASH_C
    m.contexts[4] = four * HASH_C
    m.contexts[5] = ((four * HASH_C) & WORD) + (before(5) | before(6) << 8) * HASH_D
    m.contexts[6] = (i & 3) << 8 | c4
    m.contexts[7] = c4 << 8 | before(8)
    m.contexts[8] = c2 << 8 | c3
    m.contexts[9] = (i & 3) << 16 | two
    m.contexts[10] = m.match[4]
    for k in range(11):
        m.contexts[k] = ((m.contexts[k] + (k << 24)) * HASH_B + k * HASH_D) & WORD


@compiled
def _find_match(m: Model, stream: NDArray[np.uint8], i: int, k: int) -> None:
    """Where the last bytes, six or three, stood before; what followed there is a guess."""
    need = 3 if k else 6
    if i >= need:
        h = 0
        for back in range(need):
            h = ((h + stream[i - 1 - back] + 1) * HASH_C) & WORD
        h = k * _HEADS + (h >> 16)
        if m.match[2 * k + 1] == 0:
            there, length = np.int64(m.heads[h]), 0
            while length < 32 and length < there and stream[there - 1 - length] == stream[i - 1 - length]:
                length += 1
            m.match[2 * k], m.match[2 * k + 1] = there, length if length >= need else 0
        m.heads[h] = i
    length = m.match[2 * k + 1]
    m.guess[k] = stream[m.match[2 * k]] if length else -1
    m.expert_of[k] = 64 * k + min(length, 32)


# -- tensors of small integers -------------------------------------------------------------------------------------


@compiled
def _code_elements(
    m: Model, mode: int, content: NDArray[np.uint8], begin: int, end: int, bits: int, signed: int, row: int, step: int,
    across: int, down: int, number: int,
) -> None:  # fmt: skip
    """Integers of 2, 4, 6 or 8 bits, packed from the lowest bit on.

    Each is expected around a middle that its neighbours foretell, as far off as earlier ones of its row and column.
    """
    group = bits // 2
    half = 1 << (bits - 1)
    count = ((end - begin) * 8 + bits - 1) // bits
    far = step * across
    values = np.zeros(count, np.int16)
    sizes = np.full(row, -1, np.int64)  # by column, of the errors, in 1/256
    means = np.zeros(row, np.int64)  # by column, of the values, in 1/256
    places = np.zeros(across * down, np.int64)  # by place in the kernel, of this row's values, in 1/256
    feature = np.zeros(_FEATURES, np.int64)
    power = np.full(_FEATURES, (half * half) << 2, np.int64)
    local = all_sizes = (half << 8) // 4
    row_sum = row_count = 0
    for i in range(count):
        column = i % row
        x, y = (i // step) % across, (i // far) % down
        place = y * across + x
        if column == 0:
            if row_count:
                mean = row_sum // row_count
                all_sizes += (mean - all_sizes) >> 2 if i > row else mean - all_sizes
            row_sum = row_count = 0
            places[:] = 0
        left = np.int64(values[i - 1]) if column else 0
        _neighbours(feature, values, i, row, step, far, x, y, across)
        feature[4] = means[column] >> 8
        feature[7] = left if step > 1 or across == 1 else 0
        feature[8] = places[place] >> 8
        weights = m.linear[group, min(x, 2) + 3 * min(y, 2)]
        middle = 0
        for k in range(_FEATURES):
            middle += feature[k] * weights[k]
        middle = min(max(middle >> 8, -(half << 8)), half << 8)
        row_size = (row_sum + all_sizes * 6) // (row_count + 6)
        size = sizes[column] if sizes[column] >= 0 else row_size
        joint = (row_size * (size + 32) // (all_sizes + 32) + row_size) >> 1
        mean = (3 * joint + local) >> 2
        level = _level(mean)
        _expect(m, group, number, level, middle, mean, joint, row_size)
        m.contexts[2] = _octave(feature[0]) << 5 | _octave(feature[1])
        m.contexts[3] = _octave(left) << 5 | _octave(feature[5])
        for k in range(4):
            m.contexts[k] = ((m.contexts[k] + (16 * group + k << 24)) * HASH_B) & WORD
        symbol: Whole = 0
        if mode != DECODE:
            symbol = _read_bits(content, begin, end, i * bits, bits) ^ half * signed
        symbol = code_symbol(m, mode, symbol, bits, group, np.int64(0), level)
        if mode == DECODE:
            _write_bits(content, begin, end, i * bits, bits, symbol ^ half * signed)
            if m.state[OVERRUN] > MOST_OVERRUN:
                return
        value = symbol - half
        values[i] = value
        error = (value << 8) - middle
        rate = 15 + 480 // (min(i, 1000) + 33)
        for k in range(_FEATURES):
            power[k] += (16 * feature[k] * feature[k] - power[k]) >> 5
            weights[k] = min(max(weights[k] + error * feature[k] * rate // (power[k] + 64), -(1 << 20)), 1 << 20)
        size = abs(error)
        local += ((size - local) * 3) >> 4
        row_sum += size
        row_count += 1
        sizes[column] = (3 * sizes[column] + size) >> 2 if sizes[column] >= 0 else (size + 2 * row_size) // 3
        means[column] += ((value << 8) - means[column]) >> (2 if i < 4 * row else 3)
        places[place] += ((value << 8) - places[place]) >> 4


@compiled
def _neighbours(
    feature: NDArray[np.int64], values: NDArray[np.int16], i: int, row: int, step: int, far: int, x: int, y: int,
    across: int,
) -> None:  # fmt: skip
    """What stands beside a value in the kernel, in the row before, and two places back."""
    feature[0] = values[i - step] if x and i >= step else 0
    feature[1] = values[i - far] if y and i >= far else 0
    feature[2] = values[i - far - step] if x and y and i >= far + step else 0
    feature[3] = values[i - far + step] if y and x + 1 < across and i >= far else 0
    feature[5] = values[i - row] if i >= row else 0
    feature[6] = values[i - 2 * step] if x > 1 and i >= 2 * step else 0


@compiled
def _expect(m: Model, group: int, number: int, level: int, middle: int, mean: int, joint: int, row_size: int) -> None:
    """The curves around the middle, as wide as the sizes say, and which rows and contexts know more."""
    for k in range(CURVES):
        m.curves[k, 0] = middle
        m.curves[k, 2] = 1 if k == 4 else 0
    m.curves[0, 1] = (1 << 23) // (((joint * 80) >> 6) + 20)
    m.curves[1, 1] = (1 << 23) // (((mean * 80) >> 6) + 20)
    m.curves[2, 1] = (1 << 23) // (((row_size * 64) >> 6) + 20)
    m.curves[3, 1] = (1 << 23) // (((mean * 100) >> 6) + 20)
    m.curves[4, 1] = (1 << 23) // (((mean * 80) >> 6) + 20)
    base = (group - 1) * ROWS * LEVELS
    m.row_of[0] = (base + level) * 256
    m.row_of[1] = (base + LEVELS + min(number, LEVELS - 1)) * 256
    m.row_of[2] = (base + 2 * LEVELS + _level(row_size)) * 256
    tilt = min(max(middle * 4 // (joint + 32), -7), 7) + 8
    m.contexts[0] = number
    m.contexts[1] = tilt << 6 | level


@compiled
def _read_bits(content: NDArray[np.uint8], begin: int, end: int, start: int, bits: int) -> Whole:
    symbol: Whole = 0
    for b in range(start, start + bits):
        at = begin + (b >> 3)
        if at < end:
            symbol |= ((np.int64(content[at]) >> (b & 7)) & 1) << (b - start)
    return symbol


@compiled
def _write_bits(content: NDArray[np.uint8], begin: int, end: int, start: int, bits: int, symbol: Whole) -> None:
    for b in range(start, start + bits):
        at = begin + (b >> 3)
        if at < end:
            content[at] |= ((symbol >> (b - start)) & 1) << (b & 7)


@compiled
def _level(mean: int) -> int:
    """Of a mean size in 1/256: four levels an octave."""
    t = mean + 64
    octave = 0
    while t >> octave >= 128:
        octave += 1
    return min(4 * octave + ((t >> (octave + 4)) & 3), LEVELS - 1)


@compiled
def _octave(value: Whole) -> int:
    """A value's sign, and the octave of its size."""
    size = value if value >= 0 else -value
    octave = 0
    while size >> octave:
        octave += 1
    return 2 * octave + (1 if value < 0 else 0)


# -- tensors of wide elements --------------------------------------------------------------------------------------


@compiled
def _code_wide(m: Model, mode: int, content: NDArray[np.uint8], begin: int, end: int, width: int, number: int) -> None:
    """Floats and large integers, each from its highest byte on, where sign and exponent are."""
    last = np.zeros(8, np.int64)
    older = np.zeros(8, np.int64)
    for i in range((end - begin) // width):
        head, same = 0, 1
        for b in range(width - 1, -1, -1):
            at = begin + i * width + b
            place = width - 1 - b
            key = width << 8 | place << 4
            m.contexts[0] = key
            m.contexts[1] = key + head * HASH_C
            m.contexts[2] = key + last[b] * HASH_D
            m.contexts[3] = key + (last[b] << 8 | head & 255) * HASH_D
            m.contexts[4] = key + (last[b] << 8 | older[b]) * HASH_D
            m.contexts[5] = key + number * HASH_D
            m.contexts[6] = key + number * HASH_D + head * HASH_C
            for k in range(7):
                m.contexts[k] = ((m.contexts[k] & WORD) + (80 + k << 24)) * HASH_B & WORD
            m.guess[0] = last[b] if same else -1
            m.expert_of[0] = 128 + place
            select1 = min(place, 7) * 2 + same
            content[at] = code_symbol(m, mode, np.int64(content[at]), np.int64(8), np.int64(5), np.int64(0), select1)
            if content[at] != last[b]:
                same = 0
            head = head << 8 & WORD | content[at]
        for b in range(width):
            older[b] = last[b]
            last[b] = content[begin + i * width + b]
        if m.state[OVERRUN] > MOST_OVERRUN:
            return


# -- all of it -----------------------------------------------------------------------------------------------------


class Coder:
    """Codes the parts of one content in turn; decodes them where it is given a payload.

    Every coder has read :data:`PRIMER` before, so that even the first bytes of structure are expected.

    Args:
        size: of the content, in bytes; it fixes how large tables are.
        payload: what was coded.
    """

    def __init__(self, size: int, payload: bytes | None = None) -> None:
        slot_bits = min(max(size.bit_length() + 5, _SLOT_BITS[0]), _SLOT_BITS[1])
        self._mode = ENCODE if payload is None else DECODE
        room = np.zeros(size + size // 4 + 4096, np.uint8) if payload is None else np.frombuffer(payload, np.uint8)
        model = Model(*(array.copy() for array in _primed(slot_bits)))  # type: ignore[arg-type]  # in their order
        self._model = model._replace(payload=room.copy())
        if payload is not None:
            self._model.state[CODE] = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")
            self._model.state[AT] = 4

    def starved(self) -> bool:
        """Whether more was asked for than the payload holds."""
        return bool(self._model.state[OVERRUN] > MOST_OVERRUN)

    @property
    def coded_bytes(self) -> int:
        """How much has been written or read."""
        return int(self._model.state[AT])

    def structure(self, stream: NDArray[np.uint8], start: int, stop: int) -> None:
        """Codes bytes of a stream that begins with the primer, in place."""
        _code_structure(self._model, self._mode, stream, start, stop)

    def elements(
        self,
        content: NDArray[np.uint8],
        begin: int,
        end: int,
        bits: int,
        signed: bool,
        shape: tuple[int, int, int, int],
        number: int,
    ) -> None:
        """Codes a tensor of small integers, in place; ``shape`` is the row, step, across and down."""
        row, step, across, down = shape
        _code_elements(self._model, self._mode, content, begin, end, bits, int(signed), row, step, across, down, number)

    def wide(self, content: NDArray[np.uint8], begin: int, end: int, width: int, number: int) -> None:
        """Codes a tensor of wide elements, in place."""
        _code_wide(self._model, self._mode, content, begin, end, width, number)

    def tail(self) -> bytes:
        """The fewest bytes that tell the last interval from all others: what ends a payload."""
        low, high = int(self._model.state[LOW]), int(self._model.state[HIGH])
        for count in range(1, 5):
            step = 1 << (32 - 8 * count)
            value = (low + step - 1) // step * step
            if value <= high:
                break
        return value.to_bytes(4, "big")[:count]

    def payload(self) -> bytes:
        """All that was written, its end included."""
        return self._model.payload[: self.coded_bytes].tobytes() + self.tail()


@lru_cache(maxsize=1)
def _primed(slot_bits: int) -> Model:
    """A model that has read the primer and nothing else."""
    state = np.zeros(6, np.int64)
    state[HIGH] = WORD
    state[SHIFT] = 32 - slot_bits
    mixers = np.zeros((GROUPS, MIXERS * SETS, INPUTS + 1), np.int32)
    mixers[0, :, :13] = 19660
    mixers[1:5, :, :4] = 655
    mixers[1:5, :, 4:7] = 5461
    mixers[1:5, :, 7:12] = 9830
    mixers[5, :, :8] = 16384
    model = Model(
        state=state,
        payload=np.zeros(0, np.uint8),
        slots=np.full(1 << slot_bits, FRESH, np.uint32),
        mixers=mixers.reshape(-1, INPUTS + 1),
        final=np.full((GROUPS * 8, MIXERS), 21845, np.int64),
        rows=np.concatenate([np.tile(first_rows(bits), (ROWS, 1)) for bits in (2, 4, 6, 8)]).ravel(),
        experts=np.full(256, (3 << 20) << 10 | 4, np.int64),
        linear=np.tile(np.array([13107, 9830, 0, 3276, 6553, 0, 1966, 0, 9830]), (5, 9, 1)),
        heads=np.zeros(2 * _HEADS, np.int32),
        match=np.zeros(5, np.int64),
        contexts=np.zeros(11, np.int64),
        row_of=np.zeros(ROWS, np.int64),
        guess=np.zeros(2, np.int64),
        expert_of=np.zeros(2, np.int64),
        curves=np.zeros((CURVES, 6), np.int64),
        inputs=np.zeros(INPUTS, np.int64),
        slot_of=np.zeros(11, np.int64),
        sets=np.zeros(MIXERS, np.int64),
        outputs=np.zeros(MIXERS, np.int64),
    )
    _code_structure(model, LEARN, PRIMER.copy(), 0, len(PRIMER))
    return model
