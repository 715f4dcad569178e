"""Small damages to bytes and to JSON, drawn from a generator of random numbers."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

__all__ = ["mutated", "mutated_json"]

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
_LONGEST_RUN = 64
_MOST_DAMAGES = 6
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**400, 1e308, -0.0, float("nan"), float("inf")),
    *("", "x", "../../x", "\0", "\ud800", "x" * 10_000, [], [[]], {}, {"": None}, [0] * 1000),
)


def mutated(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """``content`` with one to six damages: turned bits, runs, extreme lengths, cuts, parts of ``others``."""
    damaged = bytearray(content)
    for _ in range(draw.randint(1, _MOST_DAMAGES)):
        if damaged:
            draw.choice(_DAMAGES)(damaged, others, draw)
    return bytes(damaged)


def mutated_json(text: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A document with values of other kinds, without keys, nested without end; or its bytes damaged."""
    if draw.random() < 0.3:
        return mutated(text, others, draw)
    if draw.random() < 0.01:
        return draw.choice((b"[", b'{"a":')) * 100_000
    document = json.loads(text)
    for _ in range(draw.randint(1, 3)):
        document = _changed(document, draw)
    return json.dumps(document).encode()


def _changed(document: Any, draw: random.Random) -> Any:
    places = list(_places(document))
    if not places:
        return _value(draw)
    holder, key = draw.choice(places)
    match draw.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder += holder[: 1 + draw.randrange(len(holder))]
        case 1:
            holder[str(draw.choice(_VALUES))[:50]] = holder.pop(key)
        case 2:
            other, name = draw.choice(places)
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = json.loads(json.dumps(other[name]))
        case _:
            holder[key] = _value(draw)
    return document


def _value(draw: random.Random) -> Any:
    return copy.deepcopy(draw.choice(_VALUES))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key of a document, at any depth."""
    found, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            waiting.append(one[key])
    return found


def _turn_a_bit(damaged: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)


def _fill_a_run(damaged: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    start = draw.randrange(len(damaged))
    end = min(len(damaged), start + draw.randint(1, _LONGEST_RUN))
    damaged[start:end] = draw.choice((bytes(end - start), b"\xff" * (end - start), draw.randbytes(end - start)))


def _set_a_length(damaged: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    width = draw.choice((1, 2, 4, 4, 4, 8))
    start = draw.randrange(len(damaged)) // width * width
    value = draw.choice(_EXTREMES) if draw.random() < 0.7 else draw.randrange(2 * len(damaged))
    damaged[start : start + width] = (value & (256**width - 1)).to_bytes(width, "little")


def _cut(damaged: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    if draw.random() < 0.3:
        del damaged[draw.randrange(len(damaged)) :]
    else:
        start = draw.randrange(len(damaged))
        del damaged[start : start + draw.randint(1, _LONGEST_RUN)]


def _splice(damaged: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    other = draw.choice(others) if others and draw.random() < 0.5 else bytes(damaged)
    start, place = draw.randrange(max(1, len(other))), draw.randrange(len(damaged))
    part = other[start : start + draw.randint(1, 4 * _LONGEST_RUN)]
    damaged[place : place + (len(part) if draw.random() < 0.7 else 0)] = part


_DAMAGES = (_turn_a_bit, _turn_a_bit, _fill_a_run, _set_a_length, _set_a_length, _cut, _splice)
