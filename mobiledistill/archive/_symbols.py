"""One symbol of the entropy coder: adaptive guesses of each bit, mixed in the logistic domain, and an arithmetic coder.

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

__all__ = [
    "AT",
    "CODE",
    "CURVES",
    "DECODE",
    "ENCODE",
    "FRESH",
    "GROUPS",
    "HASH_B",
    "HASH_C",
    "HASH_D",
    "HIGH",
    "INPUTS",
    "LEARN",
    "LEVELS",
    "LOW",
    "MIXERS",
    "MOST_OVERRUN",
    "OVERRUN",
    "ROWS",
    "SETS",
    "SHIFT",
    "WORD",
    "Model",
    "Whole",
    "code_symbol",
    "compiled",
    "first_rows",
]

Integers = NDArray[np.int64]
Whole = Any  # an int, or NumPy's: mypy joins the two to object
ENCODE, DECODE, LEARN = range(3)  # what is done with a symbol: written, read, or only learned from
_Function = TypeVar("_Function", bound=Callable[..., Any])

LOW, HIGH, CODE, AT, OVERRUN, SHIFT = range(6)  # places in a model's state
MOST_OVERRUN = 4  # bytes that a decoder may read behind the end, since the last ones are left out where they can be

GROUPS = 6  # structure, elements of 2, 4, 6 and 8 bits, wide elements
MIXERS, SETS, INPUTS = 3, 1024, 14
LEVELS, ROWS, CURVES = 40, 3, 5

WORD = 0xFFFFFFFF
HASH_A, HASH_B, HASH_C, HASH_D = 0x9E3779B1, 0x2545F491, 0x2F0B4C47, 0x3D4D51CB
FRESH = 32768 << 6  # a slot that has seen nothing: probability a half, count 0
_EVEN = (1 << 21) << 10
_ONE = 1 << 24


def compiled(function: _Function) -> _Function:
    try:
        machine_code: Any = njit(cache=True)(function)
    except RuntimeError:  # there is no place to keep it
        machine_code = njit(function)
    return cast(_Function, machine_code)


# -- tables --------------------------------------------------------------------------------------------------------


def _squash() -> Integers:
    """65536 / (1 + exp(-x / 256)) for x from -2047 to 2047, at x + 2048."""
    falling, factor = 1 << 30, 4278222805  # 2^32 exp(-1/256)
    table = np.zeros(4096, np.int64)
    for x in range(2048):
        table[2048 + x] = (65536 << 30) // ((1 << 30) + falling)
        table[2048 - x] = 65536 - table[2048 + x]
        falling = (falling * factor + (1 << 31)) >> 32
    return table


def _stretch() -> Integers:
    """The inverse: the least x whose squash is 16 i + 8 or more."""
    found = np.searchsorted(_SQUASH[1:], 16 * np.arange(4096) + 8) + 1
    return np.asarray(np.minimum(found, 4095) - 2048, np.int64)


def _bells() -> Integers:
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
_KINDS = np.array([[11, 0, 2, 0], *[[4, ROWS, 0, CURVES]] * 4, [7, 0, 1, 0]], np.int64)
"""How many contexts, rows, guesses and curves each group has."""

_RATES = np.array([131072 // (2 * n + 3) for n in range(1024)], np.int64)


@compiled
def first_rows(bits: int) -> Integers:
    """By level of the mean size and node of the tree of symbols: the probability of a one, with its count."""
    size = 1 << bits
    table = np.full((LEVELS, 256), _EVEN, np.int64)
    mass = np.zeros(2 * size, np.int64)
    for level in range(LEVELS):
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


class Model(NamedTuple):
    """Everything that is learned, and the places where one symbol's guesses are put."""

    state: Integers
    payload: NDArray[np.uint8]
    slots: NDArray[np.uint32]
    mixers: NDArray[np.int32]
    final: Integers
    rows: Integers
    experts: Integers
    linear: Integers
    heads: NDArray[np.int32]
    match: Integers
    contexts: Integers  # hashes of what came before
    row_of: Integers  # where a row of self.rows begins
    guess: Integers  # a whole symbol, or -1
    expert_of: Integers  # which expert vouches for it
    curves: Integers  # middle, 2^23 / deviation, bell, and the interval that is left: low, high, cut
    inputs: Integers
    slot_of: Integers
    sets: Integers
    outputs: Integers


@compiled
def code_symbol(
    m: Model, mode: int, symbol: Whole, bits: Whole, group: Whole, select0: Whole, select1: Whole
) -> Whole:  # fmt: skip
    """Codes the bits of a symbol, the highest first, and learns from each. Returns the symbol."""
    contexts, rows, guesses, curves = _KINDS[group, 0], _KINDS[group, 1], _KINDS[group, 2], _KINDS[group, 3]
    for i in range(curves):
        m.curves[i, 3], m.curves[i, 4] = 0, _ONE
    node: Whole = np.int64(1)
    for place in range(bits):
        inputs, sure = _guesses(m, node, place, bits, contexts, rows, guesses, curves)
        m.sets[0] = (group * MIXERS) * SETS + select0 * 256 + node
        m.sets[1] = (group * MIXERS + 1) * SETS + select1 * 8 + place
        m.sets[2] = (group * MIXERS + 2) * SETS + sure * 8 + place
        mixed = 0
        for j in range(MIXERS):
            total = 0
            for i in range(inputs):
                total += m.inputs[i] * m.mixers[m.sets[j], i]
            m.outputs[j] = min(max(total >> 16, -2047), 2047)
            mixed += m.outputs[j] * m.final[group * 8 + place, j]
        p = _SQUASH[2048 + min(max(mixed >> 16, -2047), 2047)]
        bit = _code_bit(m, mode, (symbol >> (bits - 1 - place)) & 1, p)
        error = (bit << 16) - p
        for j in range(MIXERS):
            m.final[group * 8 + place, j] += (m.outputs[j] * error * 10 + (1 << 19)) >> 20
            row = m.sets[j]
            count: Whole = np.int64(m.mixers[row, INPUTS])
            step = ((bit << 16) - _SQUASH[2048 + m.outputs[j]]) * (6 + 6000 // (200 + count))
            m.mixers[row, INPUTS] = min(count + 1, 65535)
            for i in range(inputs):
                moved: Whole = np.int64(m.mixers[row, i]) + ((m.inputs[i] * step + (1 << 21)) >> 22)
                m.mixers[row, i] = max(-(1 << 24), min(moved, 1 << 24))
        _learn(m, bit, node, place, bits, group, contexts, rows, guesses, curves)
        node = 2 * node + bit
    return node - (1 << bits)


@compiled
def _guesses(
    m: Model, node: Whole, place: int, bits: Whole, contexts: int, rows: int, guesses: int, curves: int
) -> tuple[int, int]:
    """Fills in what each guess says of the next bit; how many there are, and how many contexts were met before."""
    n = sure = 0
    for i in range(contexts):
        h = (m.contexts[i] + node * HASH_A) & WORD
        h = ((h ^ (h >> 15)) * HASH_B) & WORD
        h ^= h >> 13
        at = h >> m.state[SHIFT]
        if np.int64(m.slots[at]) >> 22 != h & 1023:
            m.slots[at] = (h & 1023) << 22 | FRESH
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


@compiled
def _code_bit(m: Model, mode: int, bit: Whole, p: int) -> Whole:
    """The arithmetic coder: an interval of 32 bits, whose lower part, of 65536ths p, stands for a one."""
    if mode == LEARN:
        return bit
    low, high = m.state[LOW], m.state[HIGH]
    middle = low + (((high - low) * p) >> 16)
    if mode == DECODE:
        bit = 1 if m.state[CODE] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        at = m.state[AT]
        if mode == DECODE:
            byte = 0
            if at < len(m.payload):
                byte = m.payload[at]
            else:
                m.state[OVERRUN] += 1
            m.state[CODE] = (m.state[CODE] << 8 & WORD) | byte
        elif at < len(m.payload):
            m.payload[at] = high >> 24
        m.state[AT] = at + 1
        low = low << 8 & WORD
        high = (high << 8 & WORD) | 255
    m.state[LOW], m.state[HIGH] = low, high
    return bit


@compiled
def _learn(
    m: Model, bit: Whole, node: Whole, place: int, bits: int, group: int, contexts: int, rows: int, guesses: int,
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
