"""Numbers as people read them: three significant digits, thin spaces, 1 kB = 1000 bytes."""

from __future__ import annotations

import math

__all__ = [
    "THIN",
    "amount",
    "beside_limit",
    "count",
    "duration",
    "factor",
    "milliseconds",
    "percent",
    "points",
    "score",
    "short",
    "significant",
    "size",
]

THIN = "\u202f"  # a narrow space at which no line breaks
NOTHING = "\u2013"

_BYTE_UNITS = ("B", "kB", "MB", "GB")
_MOST_PRECISE = 12


def significant(value: float | None, precision: int = 3) -> str:
    """``1234.5`` -> ``1 234``; ``0.03512`` -> ``0.0351``; None and NaN are a dash."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{precision - 1}e}"))))
    return _signed(f"{value:,.{max(0, precision - 1 - exponent)}f}")


def short(value: float) -> str:
    """As few digits as it takes, for axes: ``0.05``, ``20``, ``1 000``."""
    return _signed(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")


def count(value: float | None) -> str:
    """Every digit of a whole number, in groups of three."""
    return NOTHING if value is None else _signed(f"{round(value):,}")


def size(value: float | None, precision: int = 3) -> str:
    """``19612`` -> ``19.6 kB``."""
    if value is None:
        return NOTHING
    if abs(value) < 1000:
        return f"{count(value)}{THIN}B"
    step = min(int(math.log10(abs(float(f"{value:.{precision - 1}e}"))) // 3), len(_BYTE_UNITS) - 1)
    return f"{significant(value / 1000**step, precision)}{THIN}{_BYTE_UNITS[step]}"


def milliseconds(value: float | None, precision: int = 3) -> str:
    """``0.03512`` -> ``0.0351 ms``."""
    return NOTHING if value is None else f"{significant(value, precision)}{THIN}ms"


def score(value: float | None, unit: str, precision: int = 3) -> str:
    """``99.666`` in % -> ``99.7 %``; one decimal from 10 on, so that scores line up."""
    if value is None or math.isnan(value):
        return NOTHING
    text = _signed(f"{value:.{precision - 2}f}") if abs(value) >= 10 or value == 0 else significant(value, precision)
    return f"{text}{THIN}{unit}" if unit else text


def points(unit: str) -> str:
    """The unit of a difference of scores: percents differ by points."""
    return "points" if unit == "%" else unit


def percent(share: float | None) -> str:
    """``0.9743`` -> ``97.4 %``; from 10 times on, whole percents."""
    if share is None or math.isnan(share):
        return NOTHING
    return f"{_signed(f'{100 * share:,.0f}' if share >= 10 else f'{100 * share:.1f}')}{THIN}%"


def factor(before: float | None, after: float | None) -> str:
    """How many times smaller ``after`` is: ``12.4×``."""
    return NOTHING if not before or not after else f"{significant(before / after)}{THIN}×"


def duration(seconds: float) -> str:
    """``92.3`` -> ``1 min 32 s``."""
    if seconds < 59.95:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest:02d}{THIN}s"
    return f"{minutes // 60}{THIN}h {minutes % 60:02d}{THIN}min"


def amount(name: str, value: float | None, unit: str, precision: int = 3) -> str:
    """A value in the unit that the limit's name ends in; all other limits are on differences of scores, in ``unit``."""
    if name.endswith("_bytes"):
        return size(value, precision)
    if name.endswith("_share"):
        return NOTHING if value is None else f"{significant(100 * value, precision)}{THIN}%"
    return milliseconds(value, precision) if name.endswith("_ms") else score(value, points(unit), precision)


def beside_limit(name: str, measured: float | None, limit: float, unit: str) -> tuple[str, str]:
    """Measured value and limit, with as many digits as it takes to tell which one is larger."""
    for precision in range(3, _MOST_PRECISE):
        shown = amount(name, measured, unit, precision), amount(name, limit, unit, precision)
        if shown[0] != shown[1] or measured is None or measured == limit:
            break
    return shown[0], _short(shown[1])


def _short(text: str) -> str:
    """Drops zeros behind the decimal point: a limit of ``60.0 kB`` was asked for as 60 kB."""
    value, space, unit = text.rpartition(THIN)
    return f"{value.rstrip('0').rstrip('.')}{space}{unit}" if "." in value else text


def _signed(text: str) -> str:
    text = text.replace(",", THIN)
    if not text.startswith("-"):
        return text
    return f"−{text[1:]}" if any(figure in text for figure in "123456789") else text[1:]
