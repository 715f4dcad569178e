"""Floats that follow from others: a bias's scales are the input's scale times the weights', a float bias a multiple.

Such tensors need no bits, or few: the archive says which numbers to multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobiledistill.archive._layout import Segment

__all__ = ["multiple_of", "products", "with_relations"]

_LEAST = 4  # elements; fewer could agree by chance
_LARGEST_MULTIPLE = 1 << 20  # beyond this any float is nearly a multiple
_MOST_TENSORS = 1000
_MOST_SCALARS = 2000

_Floats = NDArray[np.float32]
_Integers = NDArray[np.int64]


def with_relations(content: bytes, segments: Sequence[Segment]) -> list[Segment]:
    """The same segments, those that follow from others with the places of their factors."""
    floats = [one for one in segments if one.floating and (one.end - one.begin) % 4 == 0]
    places = sorted({content[s.begin : s.end]: s.begin for s in floats if s.end - s.begin == 4}.values())
    factors = np.array([_floats(content, place, 1)[0] for place in places[:_MOST_SCALARS]], np.float64)
    tensors = [one for one in floats if one.end - one.begin >= 4 * _LEAST][:_MOST_TENSORS]
    used: set[int] = set()
    derived: dict[Segment, Segment] = {}
    for one in tensors if len(factors) else []:
        for other in tensors:
            alike = other is not one and other.end - other.begin == one.end - one.begin
            if not alike or other in derived or one.begin in used:
                continue
            scalar = next(_factors(content, one, other, places, factors), None)
            if scalar is not None:
                numbers = multiple_of(content, one, scalar, other.begin)
                derived[one] = replace(one, scalar=scalar, array=other.begin, multiple=bool((numbers != 1).any()))
                used.add(other.begin)
                break
    return [derived.get(one, one) for one in segments]


def multiple_of(content: bytes, one: Segment, scalar: int, array: int) -> _Integers:
    """How many times each product of the two factors fits into the segment's elements, to the nearest whole number."""
    count = (one.end - one.begin) // 4
    with np.errstate(all="ignore"):
        scales = _floats(content, scalar, 1).astype(np.float64) * _floats(content, array, count)
        numbers = np.rint(_floats(content, one.begin, count) / scales)
    return np.where(np.abs(numbers) < _LARGEST_MULTIPLE, numbers, 0).astype(np.int64)


def products(numbers: _Integers, scalar: bytes, array: bytes) -> bytes:
    """Whole numbers below 2^31 times one float times others: exact, then rounded once to a float, half to even.

    Integers compute it, since the rounding of floats is not every machine's. A result that is not of normal size, or
    has a factor that is not, is 0.
    """
    (a,), b = np.frombuffer(scalar, "<u4").astype(np.int64), np.frombuffer(array, "<u4").astype(np.int64)
    mantissa = ((a & 0x7FFFFF) | 0x800000) * ((b & 0x7FFFFF) | 0x800000)
    exponent = (a >> 23 & 255) + (b >> 23 & 255) - 127 - 23
    size = np.abs(numbers)
    low = size * (mantissa & 0xFFFFFF)
    high = size * (mantissa >> 24) + (low >> 24)  # of the product, the part above 24 bits, below 2^55
    for shift in (32, 16, 8, 4, 2, 1):  # so that bit 55 is the highest one
        small = high < 1 << (56 - shift)
        low = np.where(small, (low & 0xFFFFFF) << shift, low & 0xFFFFFF)
        high = np.where(small, (high << shift) + (low >> 24), high)
        exponent = np.where(small, exponent - shift, exponent)
    rest = (high & 0xFFFFFFFF) << 1 | ((low & 0xFFFFFF) != 0)
    whole = high >> 32
    whole += (rest > 1 << 32) | ((rest == 1 << 32) & (whole & 1 == 1))
    exponent = exponent + 33 + (whole >> 24) + 23
    whole = np.where(whole >> 24, 0, whole)
    sign = (a >> 31) ^ (b >> 31) ^ (numbers < 0)
    normal = (size > 0) & (exponent > 0) & (exponent < 255)
    for factor in (a, b):
        normal &= (factor >> 23 & 255 > 0) & (factor >> 23 & 255 < 255)
    bits = sign << 31 | exponent << 23 | (whole & 0x7FFFFF)
    return np.where(normal, bits, 0).astype("<u4").tobytes()


def _factors(
    content: bytes, one: Segment, other: Segment, places: Sequence[int], factors: NDArray[np.float64]
) -> Iterator[int]:
    """Where factors lie that turn ``other`` into ``one``, or into its divisors."""
    values, scales = (_floats(content, s.begin, (s.end - s.begin) // 4) for s in (one, other))
    few = values[:_LEAST]
    with np.errstate(all="ignore"):
        steps = factors[:, None] * scales[:_LEAST]
        whole = np.rint(few / steps)
        fits = ((whole * steps).astype(np.float32) == few) & (np.abs(whole) < _LARGEST_MULTIPLE)
    for index in np.flatnonzero(fits.all(1)).tolist():
        place = places[index]
        numbers = multiple_of(content, one, place, other.begin)
        made = products(numbers, content[place : place + 4], content[other.begin : other.end])
        if made == content[one.begin : one.end]:
            yield place


def _floats(content: bytes, begin: int, count: int) -> _Floats:
    return np.frombuffer(content, "<f4", count, begin)
