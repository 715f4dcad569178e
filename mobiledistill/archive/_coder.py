"""The entropy coder: many adaptive guesses of the next bit, mixed in the logistic domain, and an arithmetic coder.

All of it is arithmetic on integers, so that every machine, and ``mdpack.c``, decodes the same bytes: ``docs/pack.md``
says the same in words. Shifts and divisions round down. Whatever changes here changes the format. Numba compiles it on
first use and keeps what it compiled, so this module is imported on use only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["DECODE", "ENCODE", "LEARN", "Coder"]

ENCODE, DECODE, LEARN = range(3)
"""What is done with a symbol: written, read, or only learned from."""

_Integers = NDArray[np.int64]
_Whole = Any  # an int, or NumPy's: mypy joins the two to object
_Function = TypeVar("_Function", bound=Callable[..., Any])

_LOW, _HIGH, _CODE, _AT, _OVERRUN = range(5)  # places in a model's state
_MOST_OVERRUN = 4  # bytes that a decoder may read behind the end, since the last ones are left out where they can be

_GROUPS = 6  # structure, elements of 2, 4, 6 and 8 bits, wide elements
_MIXERS, _SETS, _INPUTS = 3, 1024, 14
_LEVELS, _ROWS, _CURVES = 40, 3, 5
_FEATURES = 9
_HEADS = 1 << 16
_LONGEST_MATCH = 65535
_SLOT_BITS = (16, 22)  # of the table of contexts, by the size of the content

_WORD = 0xFFFFFFFF
_HASH_A, _HASH_B, _HASH_C, _HASH_D = 0x9E3779B1, 0x2545F491, 0x2F0B4C47, 0x3D4D51CB
_FRESH = 32768 << 6  # a slot that has seen nothing: probability a half, count 0
_EVEN = (1 << 21) << 10
_ONE = 1 << 24


def _compiled(function: _Function) -> _Function:
    compiled: Any = njit(cache=True)(function)
    return cast(_Function, compiled)


# -- tables --------------------------------------------------------------------------------------------------------


def _squash() -> _Integers:
    """65536 / (1 + exp(-x / 256)) for x from -2047 to 2047, at x + 2048."""
    falling, factor = 1 << 30, 4278222805  # 2^32 exp(-1/256)
    table = np.zeros(4096, np.int64)
    for x in range(2048):
        table[2048 + x] = (65536 << 30) // ((1 << 30) + falling)
        table[2048 - x] = 65536 - table[2048 + x]
        falling = (falling * factor + (1 << 31)) >> 32
    return table


def _stretch() -> _Integers:
    """The inverse: the least x whose squash is 16 i + 8 or more."""
    found = np.searchsorted(_SQUASH[1:], 16 * np.arange(4096) + 8) + 1
    return np.asarray(np.minimum(found, 4095) - 2048, np.int64)


def _bells() -> _Integers:
    """Distribution functions from 0 to 8 deviations in steps of 1/128, of 2^24: normal and logistic."""
    height, ratio, factor = 1 << 30, 4294836226, 4294705160  # 2^32 exp(-1/32768), 2^32 exp(-1/16384)
    heights = []
    for _ in range(1024):
        heights.append(height)
        height = height * ratio >> 32
        ratio = ratio * factor >> 32
    whole = 2 * sum(heights)
    below, normal = sum(heights), []
    for height in heights:
        normal.append((below << 24) // whole)
        below += height
    logistic = [int(_SQUASH[2048 + min(2047, k * 3629 // 1000)]) << 8 for k in range(1024)]  # 256 pi / (sqrt(3) 128)
    return np.array([normal, logistic], np.int64)


_SQUASH = _squash()
_STRETCH = _stretch()
_BELLS = _bells()
_RATES = np.array([131072 // (2 * n + 3) for n in range(1024)], np.int64)


@_compiled
def _first_rows(bits: int) -> _Integers:
    """By level of the mean size and node of the tree of symbols: the probability of a one, with its count."""
    size = 1 << bits
    table = np.full((_LEVELS, 256), _EVEN, np.int64)
    mass = np.zeros(2 * size, np.int64)
    for level in range(_LEVELS):
        octave, part = level >> 2, level & 3
        mean = max((((4 + part) << (octave + 4)) + (1 << (octave + 3))) - 64, 16)  # in 1/256
        scale = (mean * 55) >> 4
        square = scale * scale
        for symbol in range(size):
            value = symbol - (size >> 1)
            share = (square << 16) // (square + ((value * value) << 16))
            weight = 1 << 24
            for _ in range(5):
                weight = (weight * share) >> 16
            mass[size + symbol] = weight + 8
        for node in range(size - 1, 0, -1):
            mass[node] = mass[2 * node] + mass[2 * node + 1]
            p = (mass[2 * node + 1] << 22) // mass[node]
            table[level, node] = min(max(p, 1 << 10), (1 << 22) - (1 << 10)) << 10 | 20
    return table


# -- one symbol ----------------------------------------------------------------------------------------------------


class _Model(NamedTuple):
    """Everything that is learned, and the places where one symbol's guesses are put."""

    state: _Integers
    payload: NDArray[np.uint8]
    slots: NDArray[np.uint32]
    mixers: NDArray[np.int32]
    final: _Integers
    rows: _Integers
    experts: _Integers
    linear: _Integers
    heads: NDArray[np.int32]
    match: _Integers
    contexts: _Integers  # hashes of what came before
    row_of: _Integers  # where a row of self.rows begins
    guess: _Integers  # a whole symbol, or -1
    expert_of: _Integers  # which expert vouches for it
    curves: _Integers  # middle, 2^23 / deviation, bell, and the interval that is left: low, high, cut
    inputs: _Integers
    slot_of: _Integers
    sets: _Integers
    outputs: _Integers


@_compiled
def _code(
    m: _Model, mode: int, symbol: _Whole, bits: int, group: int, contexts: int, rows: int, guesses: int, curves: int,
    select0: int, select1: int,
) -> _Whole:  # fmt: skip
    """Codes the bits of a symbol, the highest first, and learns from each. Returns the symbol."""
    for i in range(curves):
        m.curves[i, 3], m.curves[i, 4] = 0, _ONE
    node: _Whole = 1
    for place in range(bits):
        inputs, sure = _guesses(m, node, place, bits, contexts, rows, guesses, curves)
        m.sets[0] = (group * _MIXERS) * _SETS + select0 * 256 + node
        m.sets[1] = (group * _MIXERS + 1) * _SETS + select1 * 8 + place
        m.sets[2] = (group * _MIXERS + 2) * _SETS + sure * 8 + place
        mixed = 0
        for j in range(_MIXERS):
            total = 0
            for i in range(inputs):
                total += m.inputs[i] * m.mixers[m.sets[j], i]
            m.outputs[j] = min(max(total >> 16, -2047), 2047)
            mixed += m.outputs[j] * m.final[group * 8 + place, j]
        p = _SQUASH[2048 + min(max(mixed >> 16, -2047), 2047)]
        bit = _code_bit(m, mode, (symbol >> (bits - 1 - place)) & 1, p)
        error = (bit << 16) - p
        for j in range(_MIXERS):
            m.final[group * 8 + place, j] += (m.outputs[j] * error * 10 + (1 << 19)) >> 20
            row = m.sets[j]
            count = np.int64(m.mixers[row, _INPUTS])
            step = ((bit << 16) - _SQUASH[2048 + m.outputs[j]]) * (6 + 6000 // (200 + count))
            m.mixers[row, _INPUTS] = min(count + 1, 65535)
            for i in range(inputs):
                moved = np.int64(m.mixers[row, i]) + ((m.inputs[i] * step + (1 << 21)) >> 22)
                m.mixers[row, i] = max(-(1 << 24), min(moved, 1 << 24))
        _learn(m, bit, node, place, bits, group, contexts, rows, guesses, curves)
        node = 2 * node + bit
    return node - (1 << bits)


@_compiled
def _guesses(
    m: _Model, node: _Whole, place: int, bits: int, contexts: int, rows: int, guesses: int, curves: int
) -> tuple[int, int]:
    """Fills in what each guess says of the next bit; how many there are, and how many contexts were met before."""
    n = sure = 0
    for i in range(contexts):
        h = (m.contexts[i] + node * _HASH_A) & _WORD
        h = ((h ^ (h >> 15)) * _HASH_B) & _WORD
        h ^= h >> 13
        at = h >> m.state[7]
        if np.int64(m.slots[at]) >> 22 != h & 1023:
            m.slots[at] = (h & 1023) << 22 | _FRESH
        m.slot_of[i] = at
        slot = np.int64(m.slots[at])
        m.inputs[n] = 0
        if slot & 63:
            m.inputs[n] = _STRETCH[(slot >> 10) & 4095]
            sure += 1
        n += 1
    for i in range(rows):
        m.inputs[n] = _STRETCH[m.rows[m.row_of[i] + node] >> 20]
        n += 1
    for i in range(guesses):
        m.inputs[n] = 0
        if m.guess[i] >= 0 and (m.guess[i] | (1 << bits)) >> (bits - place) == node:
            said = _STRETCH[m.experts[m.expert_of[i]] >> 20]
            m.inputs[n] = said if (m.guess[i] >> (bits - 1 - place)) & 1 else -said
        n += 1
    for i in range(curves):
        first = ((2 * node + 1) << (bits - 1 - place)) - (1 << bits)  # the least symbol in which this bit is one
        z = (((2 * first - (1 << bits) - 1) * 128 - m.curves[i, 0]) * m.curves[i, 1]) >> 16
        bell = m.curves[i, 2]
        cut = _BELLS[bell, min(z, 1023)] if z >= 0 else _ONE - _BELLS[bell, min(-z, 1023)]
        cut = min(max(cut, m.curves[i, 3]), m.curves[i, 4])
        m.curves[i, 5] = cut
        one = ((m.curves[i, 4] - cut + 64) << 12) // (m.curves[i, 4] - m.curves[i, 3] + 128)
        m.inputs[n] = _STRETCH[min(one, 4095)]
        n += 1
    m.inputs[n] = 256
    return n + 1, sure


@_compiled
def _code_bit(m: _Model, mode: int, bit: _Whole, p: int) -> _Whole:
    """The arithmetic coder: an interval of 32 bits, whose lower part, of 65536ths p, stands for a one."""
    if mode == LEARN:
        return bit
    low, high = m.state[_LOW], m.state[_HIGH]
    middle = low + (((high - low) * p) >> 16)
    if mode == DECODE:
        bit = 1 if m.state[_CODE] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        at = m.state[_AT]
        if mode == DECODE:
            byte = 0
            if at < len(m.payload):
                byte = m.payload[at]
            else:
                m.state[_OVERRUN] += 1
            m.state[_CODE] = (m.state[_CODE] << 8 & _WORD) | byte
        elif at < len(m.payload):
            m.payload[at] = high >> 24
        m.state[_AT] = at + 1
        low = low << 8 & _WORD
        high = (high << 8 & _WORD) | 255
    m.state[_LOW], m.state[_HIGH] = low, high
    return bit


@_compiled
def _learn(
    m: _Model, bit: _Whole, node: _Whole, place: int, bits: int, group: int, contexts: int, rows: int, guesses: int,
    curves: int,
) -> None:  # fmt: skip
    """Moves every guess towards the bit, the less the more it has seen."""
    most = 63 if group else 30  # structure changes its ways
    for i in range(contexts):
        slot = np.int64(m.slots[m.slot_of[i]])
        p, count = (slot >> 6) & 65535, slot & 63
        p += ((65535 * bit - p) * _RATES[count]) >> 16
        m.slots[m.slot_of[i]] = (slot & 0xFFC00000) | p << 6 | min(count + 1, most)
    for i in range(rows):
        at = m.row_of[i] + node
        p, count = m.rows[at] >> 10, m.rows[at] & 1023
        p += ((4194303 * bit - p) * _RATES[count]) >> 16
        m.rows[at] = p << 10 | min(count + 1, 1000)
    for i in range(guesses):
        if m.guess[i] >= 0 and (m.guess[i] | (1 << bits)) >> (bits - place) == node:
            at = m.expert_of[i]
            p, count = m.experts[at] >> 10, m.experts[at] & 1023
            right = (m.guess[i] >> (bits - 1 - place)) & 1 == bit
            p += (((4194303 if right else 0) - p) * _RATES[count]) >> 16
            m.experts[at] = p << 10 | min(count + 1, 250)
    for i in range(curves):
        m.curves[i, 4 - bit] = m.curves[i, 5]


# -- structure -----------------------------------------------------------------------------------------------------


@_compiled
def _code_structure(m: _Model, mode: int, stream: NDArray[np.uint8], start: int, stop: int) -> None:
    """Bytes ``start`` to ``stop`` of a stream whose earlier bytes are known: text, offsets, lengths."""
    for i in range(start, stop):
        _structure_contexts(m, stream, i)
        for k in range(2):
            _find_match(m, stream, i, k)
        length = m.match[1]
        select0 = 0 if length == 0 else 1 if length < 16 else 2
        select1 = 0 if length == 0 else 1 + min(length, 31) // 4
        stream[i] = _code(m, mode, np.int64(stream[i]), 8, 0, 11, 0, 2, 0, select0, select1)
        for k in range(2):
            if m.match[2 * k + 1]:
                if stream[m.match[2 * k]] == stream[i]:
                    m.match[2 * k] += 1
                    m.match[2 * k + 1] = min(m.match[2 * k + 1] + 1, _LONGEST_MATCH)
                else:
                    m.match[2 * k + 1] = 0
        if m.state[_OVERRUN] > _MOST_OVERRUN:
            return


@_compiled
def _structure_contexts(m: _Model, stream: NDArray[np.uint8], i: int) -> None:
    def before(back: int) -> _Whole:
        return np.int64(stream[i - back]) if i >= back else 0

    c1, c2, c3, c4 = before(1), before(2), before(3), before(4)
    two = c1 | c2 << 8
    three = two | c3 << 16
    four = three | c4 << 24
    letter = 97 <= (c1 | 32) <= 122 or 48 <= c1 <= 57
    m.match[4] = ((m.match[4] + c1) * _HASH_C) & _WORD if letter else 0  # the word so far
    m.contexts[0] = 0
    m.contexts[1] = c1
    m.contexts[2] = two
    m.contexts[3] = three * _HASH_C
    m.contexts[4] = four * _HASH_C
    m.contexts[5] = ((four * _HASH_C) & _WORD) + (before(5) | before(6) << 8) * _HASH_D
    m.contexts[6] = (i & 3) << 8 | c4
    m.contexts[7] = c4 << 8 | before(8)
    m.contexts[8] = c2 << 8 | c3
    m.contexts[9] = (i & 3) << 16 | two
    m.contexts[10] = m.match[4]
    for k in range(11):
        m.contexts[k] = ((m.contexts[k] + (k << 24)) * _HASH_B + k * _HASH_D) & _WORD


@_compiled
def _find_match(m: _Model, stream: NDArray[np.uint8], i: int, k: int) -> None:
    """Where the last bytes, six or three, stood before; what followed there is a guess."""
    need = 3 if k else 6
    if i >= need:
        h = 0
        for back in range(need):
            h = ((h + stream[i - 1 - back] + 1) * _HASH_C) & _WORD
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


@_compiled
def _code_elements(
    m: _Model, mode: int, content: NDArray[np.uint8], begin: int, end: int, bits: int, signed: int, row: int, step: int,
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
        feature[0] = values[i - step] if x and i >= step else 0
        feature[1] = values[i - far] if y and i >= far else 0
        feature[2] = values[i - far - step] if x and y and i >= far + step else 0
        feature[3] = values[i - far + step] if y and x + 1 < across and i >= far else 0
        feature[4] = means[column] >> 8
        feature[5] = values[i - row] if i >= row else 0
        feature[6] = values[i - 2 * step] if x > 1 and i >= 2 * step else 0
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
        for k in range(_CURVES):
            m.curves[k, 0] = middle
            m.curves[k, 2] = 1 if k == 4 else 0
        m.curves[0, 1] = (1 << 23) // (((joint * 80) >> 6) + 20)
        m.curves[1, 1] = (1 << 23) // (((mean * 80) >> 6) + 20)
        m.curves[2, 1] = (1 << 23) // (((row_size * 64) >> 6) + 20)
        m.curves[3, 1] = (1 << 23) // (((mean * 100) >> 6) + 20)
        m.curves[4, 1] = (1 << 23) // (((mean * 80) >> 6) + 20)
        base = (group - 1) * _ROWS * _LEVELS
        m.row_of[0] = (base + level) * 256
        m.row_of[1] = (base + _LEVELS + min(number, _LEVELS - 1)) * 256
        m.row_of[2] = (base + 2 * _LEVELS + _level(row_size)) * 256
        tilt = min(max(middle * 4 // (joint + 32), -7), 7) + 8
        m.contexts[0] = number
        m.contexts[1] = tilt << 6 | level
        m.contexts[2] = _octave(feature[0]) << 5 | _octave(feature[1])
        m.contexts[3] = _octave(left) << 5 | _octave(feature[5])
        for k in range(4):
            m.contexts[k] = ((m.contexts[k] + (16 * group + k << 24)) * _HASH_B) & _WORD
        symbol: _Whole = 0
        if mode != DECODE:
            for b in range(bits):
                at = begin + ((i * bits + b) >> 3)
                if at < end:
                    symbol |= ((np.int64(content[at]) >> ((i * bits + b) & 7)) & 1) << b
            symbol ^= half * signed
        symbol = _code(m, mode, symbol, bits, group, 4, _ROWS, 0, _CURVES, 0, level)
        if mode == DECODE:
            for b in range(bits):
                at = begin + ((i * bits + b) >> 3)
                if at < end:
                    content[at] |= (((symbol ^ half * signed) >> b) & 1) << ((i * bits + b) & 7)
            if m.state[_OVERRUN] > _MOST_OVERRUN:
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


@_compiled
def _level(mean: int) -> int:
    """Of a mean size in 1/256: four levels an octave."""
    t = mean + 64
    octave = 0
    while t >> octave >= 128:
        octave += 1
    return min(4 * octave + ((t >> (octave + 4)) & 3), _LEVELS - 1)


@_compiled
def _octave(value: _Whole) -> int:
    """A value's sign, and the octave of its size."""
    size = value if value >= 0 else -value
    octave = 0
    while size >> octave:
        octave += 1
    return 2 * octave + (1 if value < 0 else 0)


# -- tensors of wide elements --------------------------------------------------------------------------------------


@_compiled
def _code_wide(m: _Model, mode: int, content: NDArray[np.uint8], begin: int, end: int, width: int, number: int) -> None:
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
            m.contexts[1] = key + head * _HASH_C
            m.contexts[2] = key + last[b] * _HASH_D
            m.contexts[3] = key + (last[b] << 8 | head & 255) * _HASH_D
            m.contexts[4] = key + (last[b] << 8 | older[b]) * _HASH_D
            m.contexts[5] = key + number * _HASH_D
            m.contexts[6] = key + number * _HASH_D + head * _HASH_C
            for k in range(7):
                m.contexts[k] = ((m.contexts[k] & _WORD) + (80 + k << 24)) * _HASH_B & _WORD
            m.guess[0] = last[b] if same else -1
            m.expert_of[0] = 128 + place
            content[at] = _code(m, mode, np.int64(content[at]), 8, 5, 7, 0, 1, 0, 0, min(place, 7) * 2 + same)
            if content[at] != last[b]:
                same = 0
            head = head << 8 & _WORD | content[at]
        for b in range(width):
            older[b] = last[b]
            last[b] = content[begin + i * width + b]
        if m.state[_OVERRUN] > _MOST_OVERRUN:
            return


# -- all of it -----------------------------------------------------------------------------------------------------


class Coder:
    """Codes the parts of one content in turn; decodes them where it is given a payload.

    Args:
        size: of the content, in bytes; it fixes how large tables are.
        payload: what was coded.
    """

    def __init__(self, size: int, payload: bytes | None = None) -> None:
        self._mode = ENCODE if payload is None else DECODE
        slot_bits = min(max(size.bit_length() + 5, _SLOT_BITS[0]), _SLOT_BITS[1])
        state = np.zeros(8, np.int64)
        state[_HIGH] = _WORD
        state[7] = 32 - slot_bits
        if payload is None:
            room = np.zeros(size + size // 4 + 4096, np.uint8)
        else:
            room = np.frombuffer(payload, np.uint8)
            state[_CODE] = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")
            state[_AT] = 4
            room = room.copy()
        mixers = np.zeros((_GROUPS, _MIXERS * _SETS, _INPUTS + 1), np.int32)
        mixers[0, :, :13] = 19660
        mixers[1:5, :, :4] = 655
        mixers[1:5, :, 4:7] = 5461
        mixers[1:5, :, 7:12] = 9830
        mixers[5, :, :8] = 16384
        self._model = _Model(
            state=state,
            payload=room,
            slots=np.full(1 << slot_bits, _FRESH, np.uint32),
            mixers=mixers.reshape(-1, _INPUTS + 1),
            final=np.full((_GROUPS * 8, _MIXERS), 21845, np.int64),
            rows=np.concatenate([np.tile(_first_rows(bits), (_ROWS, 1)) for bits in (2, 4, 6, 8)]).ravel(),
            experts=np.full(256, (3 << 20) << 10 | 4, np.int64),
            linear=np.tile(np.array([13107, 9830, 0, 3276, 6553, 0, 1966, 0, 9830]), (5, 9, 1)),
            heads=np.zeros(2 * _HEADS, np.int32),
            match=np.zeros(5, np.int64),
            contexts=np.zeros(11, np.int64),
            row_of=np.zeros(_ROWS, np.int64),
            guess=np.zeros(2, np.int64),
            expert_of=np.zeros(2, np.int64),
            curves=np.zeros((_CURVES, 6), np.int64),
            inputs=np.zeros(_INPUTS, np.int64),
            slot_of=np.zeros(11, np.int64),
            sets=np.zeros(_MIXERS, np.int64),
            outputs=np.zeros(_MIXERS, np.int64),
        )

    def starved(self) -> bool:
        """Whether more was asked for than the payload holds."""
        return bool(self._model.state[_OVERRUN] > _MOST_OVERRUN)

    @property
    def coded_bytes(self) -> int:
        """How much has been written or read."""
        return int(self._model.state[_AT])

    def learn(self, stream: NDArray[np.uint8], stop: int) -> None:
        """Reads the beginning of a stream that both sides know."""
        _code_structure(self._model, LEARN, stream, 0, stop)

    def structure(self, stream: NDArray[np.uint8], start: int, stop: int) -> None:
        """Codes bytes of a stream, in place."""
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
        low, high = int(self._model.state[_LOW]), int(self._model.state[_HIGH])
        for count in range(1, 5):
            step = 1 << (32 - 8 * count)
            value = (low + step - 1) // step * step
            if value <= high:
                break
        return value.to_bytes(4, "big")[:count]

    def payload(self) -> bytes:
        """All that was written, its end included."""
        return self._model.payload[: self.coded_bytes].tobytes() + self.tail()
