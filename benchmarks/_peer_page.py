"""The page and the plot of ours beside other tools."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._peer_bench import METHODS, OURS

__all__ = ["Row", "page", "plot", "rows", "times_at_equal_accuracy"]

_RESAMPLES = 4000
_TIGHTEST = 2
_TOOLS = {
    "ai-edge-quantizer": "the teacher through ai-edge-quantizer",
    "onnxruntime": "the teacher through onnxruntime.quantization",
    "nncf": "the teacher through NNCF (ONNX)",
}
_PALETTES = {f"palettes of {bits} bits": f"the teacher, coremltools' palettes of {bits} bits" for bits in (8, 4, 2)}
_ABOUT = {OURS: "ours", **{name: method.about for name, method in METHODS.items()}, **_TOOLS, **_PALETTES}


class Row:
    """A method under a budget, over the seeds that have it.

    Args:
        name: of the method.
        cells: by seed.
        ms: by seed.
    """

    def __init__(self, name: str, cells: Mapping[str, Mapping[str, Any]], ms: Mapping[str, float]) -> None:
        self.name, self.seeds = name, sorted(cells)
        self.right: NDArray[np.float64] = np.array([_right(cells[seed]) for seed in self.seeds])
        self.accuracy = 100 * float(self.right.mean())
        self.bytes = statistics.mean(cells[seed]["bytes"] for seed in self.seeds)
        self.ms = statistics.mean(ms[seed] for seed in self.seeds if seed in ms) if ms else None
        self.what = "; ".join(dict.fromkeys(str(cells[seed]["what"]) for seed in self.seeds))
        self.epochs = cells[self.seeds[0]].get("epochs")

    @property
    def ci95(self) -> tuple[float, float]:
        """Bootstrap over seeds and, crossed with them, recordings."""
        return _interval(self.right)

    def of(self, seeds: Collection[str]) -> NDArray[np.float64]:
        """Which recordings are answered rightly, a row for each of these seeds."""
        return self.right[[seed in seeds for seed in self.seeds]]

    def minus(self, other: Row) -> tuple[float, tuple[float, float]]:
        """The difference in points over the seeds that both have, the same seeds and recordings drawn for both."""
        both = set(self.seeds) & set(other.seeds)
        mine, theirs = self.of(both), other.of(both)
        return 100 * float((mine - theirs).mean()), _interval(mine - theirs)


def rows(found: Mapping[str, Any], case: str) -> list[Row]:
    """The methods that keep the budget of a case, best first; a teacher's file counts where it keeps it."""
    seeds: Mapping[str, Any] = found["cases"][case]
    cells: dict[str, dict[str, Any]] = {}
    ms: dict[str, dict[str, float]] = {}
    for seed, row in seeds.items():
        measured = row["latency"].get("ms", {})
        fitting = {
            name: cell
            for name, cell in found["teachers"][seed].items()
            if name in (_PALETTES if case.startswith("coreml") else _TOOLS)
            and "none" not in cell
            and _keeps(case, cell, measured.get(name, math.inf))
        }
        for name, cell in {**fitting, **row["cells"]}.items():
            if "none" not in cell:
                cells.setdefault(name, {})[seed] = cell
                if name in measured:
                    ms.setdefault(name, {})[seed] = measured[name]
    every = [Row(name, some, ms.get(name, {})) for name, some in cells.items()]
    return sorted(every, key=lambda row: -row.accuracy)


def times_at_equal_accuracy(ours: Sequence[tuple[float, float]], theirs: tuple[float, float]) -> tuple[str, float]:
    """How many times ours costs less where it is as accurate as theirs: along our points, on a logarithmic scale.

    Args:
        ours: (cost, accuracy) under each budget.
        theirs: the same of one file.

    Returns:
        ``"="`` and the factor; ``">="`` where even our cheapest is more accurate, ``"<"`` where none of ours is.
    """
    cost, accuracy = theirs
    best: list[tuple[float, float]] = []
    for point in sorted(ours):  # a larger file that is less accurate is none one would take
        if not best or point[1] > best[-1][1]:
            best.append(point)
    if accuracy > best[-1][1]:
        return "<", cost / best[-1][0]
    if accuracy <= best[0][1]:
        return ">=", cost / best[0][0]
    (low, high) = next((a, b) for a, b in pairwise(best) if a[1] < accuracy <= b[1])
    share = (accuracy - low[1]) / (high[1] - low[1])
    return "=", cost / math.exp((1 - share) * math.log(low[0]) + share * math.log(high[0]))


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a verdict for each budget, then every method."""
    cases = found.get("cases", {})
    lines = [
        "# Ours beside other tools",
        "",
        "Made by `python -m benchmarks.peers` from `peers.json`. Spoken digits, the speaker theo held out and never",
        "heard (500 recordings): the same teacher, data and augmentation for everybody. Ours has 49 epochs, the short",
        "trainings that compare plans among them; peers have as many where their network is small, and fewer where it",
        "is large (27 at 100 kB), as `compress` by itself trains larger students for less. Every score through the",
        "exported file, 95 % intervals by bootstrap over seeds and recordings. Peers get the largest network that",
        "keeps the budget, and their .tflite files count without names (TensorFlow's `strip_strings`); ours count as",
        "written. Peers' files take and give 8-bit integers, ours 32-bit floats. The best peer of a budget is the one",
        "that did best on these very recordings, which favours it.",
        "",
        "![accuracy over bytes and over milliseconds](peers.svg)",
    ]
    titles = {
        "size": "Budgets in bytes",
        "latency": "Budgets in time, LiteRT on one thread",
        "coreml": "Budgets in bytes, Core ML files through our own executor",
    }
    for axis, title in titles.items():
        chosen = sorted((case for case in cases if case.startswith(axis) and rows(found, case)), key=_limit)
        if chosen:
            lines += ["", f"## {title}", "", *_verdicts(found, chosen, axis), "", *_overall(found, chosen)]
            lines += ["", *_details(found, chosen)]
    return "\n".join([*lines, "", *_teachers(found), "", *_LEFT_OUT, ""])


def plot(found: Mapping[str, Any]) -> str:
    """SVG: accuracy over bytes and over milliseconds."""
    panels = []
    for place, axis in enumerate(("size", "latency")):
        points: dict[str, list[tuple[float, float]]] = {}
        for case in found.get("cases", {}):
            if case.startswith(axis):
                for row in rows(found, case):
                    cost = row.bytes if axis == "size" else row.ms
                    if row.name in _COLOURS and cost:
                        points.setdefault(row.name, []).append((cost, row.accuracy))
        if points:
            panels.append(_panel(points, 40 + 440 * place, "bytes" if axis == "size" else "ms"))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 400" font-family="sans-serif" font-size="12">'
        f'<rect width="900" height="400" fill="white"/>{"".join(panels)}{_legend()}</svg>\n'
    )


# -- tables -------------------------------------------------------------------------------------------------------

_LEFT_OUT = [
    "Not here: neural-compressor 3.10 installs beside torch 2.13, but has neither pruning nor distillation any more,",
    "and what it quantizes it gives back as a torch module: there is no file of a phone's formats. NNCF 3.4",
    "writes ONNX, whose files cannot come near the budgets in bytes. TinyNeuralNetwork is not on PyPI.",
]


def _verdicts(found: Mapping[str, Any], cases: Sequence[str], axis: str) -> list[str]:
    unit = "faster" if axis == "latency" else "smaller"
    lines = ["| | ours | best peer | ours less it | ours / its errors | at its accuracy ours is | |", "|---" * 7 + "|"]
    mine = {case: row for case in cases for row in rows(found, case) if row.name == OURS}
    curve = [(_cost(row, axis), row.accuracy) for row in mine.values()]
    for number, case in enumerate(cases):
        peers = [row for row in rows(found, case) if row.name != OURS]
        if case not in mine or not peers:
            lines.append(f"| {_told(case)} | - | {_cell(peers[0], axis) if peers else '-'} | | | | |")
            continue
        ours = mine[case]
        best = max(peers, key=lambda row: (len(set(row.seeds) & set(ours.seeds)), row.accuracy))
        gained, (low, high) = ours.minus(best)
        ratio = (100 - ours.accuracy) / (100 - best.accuracy) if best.accuracy < 100 else math.inf
        sign, times = times_at_equal_accuracy(curve, (_cost(best, axis), best.accuracy))
        goal = " (goal 0.8)" if number < _TIGHTEST else ""
        lines.append(
            f"| {_told(case)} | {_cell(ours, axis)} | {_ABOUT[best.name]}: {_cell(best, axis)}"
            f" | {gained:+.2f} [{low:+.2f}, {high:+.2f}] | {ratio:.2f}{goal}"
            f" | {'' if sign == '=' else 'more than ' if sign == '>=' else 'not reached, '}{times:.2f} x {unit}"
            f" | {'ahead' if gained >= 0 else 'behind'} |"
        )
    return lines


def _overall(found: Mapping[str, Any], cases: Sequence[str]) -> list[str]:
    """Against each peer over all budgets that both keep: a best peer of each budget is chosen by its luck too."""
    lines = ["| over all budgets | budgets | ours less it | ours / its errors |", "|---" * 4 + "|"]
    by_case = {case: {row.name: row for row in rows(found, case)} for case in cases}
    for name in dict.fromkeys(name for case in cases for name in by_case[case]):
        pairs = [(some[OURS], some[name]) for some in by_case.values() if OURS in some and name in some]
        if name == OURS or not pairs:
            continue
        seeds = set.intersection(*(set(row.seeds) for pair in pairs for row in pair))
        if not seeds:
            continue
        mine, theirs = (np.mean([one[side].of(seeds) for one in pairs], axis=0) for side in (0, 1))
        low, high = _interval(mine - theirs)
        lost = (1 - mine.mean()) / max(1 - theirs.mean(), 1e-9)
        lines.append(
            f"| {_ABOUT[name]} | {len(pairs)} | {100 * float((mine - theirs).mean()):+.2f} [{low:+.2f}, {high:+.2f}]"
            f" | {lost:.2f} |"
        )
    return lines


def _details(found: Mapping[str, Any], cases: Sequence[str]) -> list[str]:
    lines = ["| | method | accuracy % | bytes | ms | what | epochs | seeds |", "|---" * 8 + "|"]
    for case in cases:
        for row in rows(found, case):
            low, high = row.ci95
            name = f"**{_ABOUT[row.name]}**" if row.name == OURS else _ABOUT[row.name]
            ms = "-" if row.ms is None else f"{row.ms:.4f}"
            lines.append(
                f"| {_told(case)} | {name} | {row.accuracy:.2f} [{low:.1f}, {high:.1f}] | {row.bytes:,.0f} | {ms}"
                f" | {row.what} | {row.epochs or '-'} | {len(row.seeds)} |"
            )
        for name, said in _unfit(found["cases"][case]).items():
            lines.append(f"| {_told(case)} | {_ABOUT[name]} | - | - | - | {said} | - | - |")
    return lines


def _teachers(found: Mapping[str, Any]) -> list[str]:
    lines = ["## The teacher, and tools that only quantize", "", "| | accuracy %, each seed | bytes |", "|---|---|---|"]
    names = dict.fromkeys(name for cells in found.get("teachers", {}).values() for name in cells)
    for name in names:
        cells = [cells[name] for cells in found["teachers"].values() if name in cells]
        whole = [cell for cell in cells if "none" not in cell]
        if not whole:
            lines.append(f"| {_ABOUT.get(name, name)} | {cells[0]['none']} | |")
            continue
        told = ", ".join(f"{cell['accuracy']:.1f}" for cell in whole)
        lines.append(f"| {_ABOUT.get(name, 'the teacher in 32-bit floats')} | {told} | {whole[0]['bytes']:,} |")
    return lines


def _cell(row: Row, axis: str) -> str:
    low, high = row.ci95
    ms = "unmeasured" if row.ms is None else f"{row.ms:.4f} ms"
    return f"{row.accuracy:.2f} [{low:.1f}, {high:.1f}], {ms if axis == 'latency' else f'{row.bytes:,.0f} bytes'}"


def _unfit(seeds: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(cell["none"]) for row in seeds.values() for name, cell in row["cells"].items() if "none" in cell}


def _told(case: str) -> str:
    return case.partition("-")[2].replace("kB", " kB").replace("us", " µs")


def _cost(row: Row, axis: str) -> float:
    return row.ms or math.inf if axis == "latency" else row.bytes


def _limit(case: str) -> float:
    """In thousands of bytes, or in microseconds."""
    return float(case.partition("-")[2].removesuffix("kB").removesuffix("us"))


def _keeps(case: str, cell: Mapping[str, Any], ms: float) -> bool:
    return (ms if case.startswith("latency") else float(cell["bytes"]) / 1e6) <= _limit(case) / 1000


# -- statistics ---------------------------------------------------------------------------------------------------


def _right(cell: Mapping[str, Any]) -> NDArray[np.float64]:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(cell["right"]), np.uint8))
    return bits[: cell["recordings"]].astype(np.float64)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Of the mean in percent; all seeds answer the same recordings, so a draw takes the same ones of each seed."""
    random = np.random.default_rng(0)
    seeds, recordings = values.shape
    means = [
        values[random.integers(0, seeds, seeds)].mean(0)[random.integers(0, recordings, recordings)].mean()
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return 100 * float(low), 100 * float(high)


# -- drawing ------------------------------------------------------------------------------------------------------

_COLOURS = {
    OURS: "#d62728",
    "pruned": "#1f77b4",
    "pruned globally": "#17becf",
    "alone": "#7f7f7f",
    "distilled": "#2ca02c",
}
_WIDTH, _HEIGHT, _TOP = 380, 270, 30


def _panel(points: Mapping[str, Sequence[tuple[float, float]]], left: int, unit: str) -> str:
    costs = [math.log(cost) for line in points.values() for cost, _ in line]
    heights = [accuracy for line in points.values() for _, accuracy in line]
    low, high = min(costs) - 0.05, max(costs) + 0.05
    floor, roof = 10 * math.floor(min(heights) / 10), min(100, 10 * math.ceil(max(heights) / 10))
    roof = max(roof, floor + 10)

    def place(cost: float, accuracy: float) -> str:
        across = left + _WIDTH * (math.log(cost) - low) / (high - low)
        return f"{across:.1f},{_TOP + _HEIGHT * (roof - accuracy) / (roof - floor):.1f}"

    parts = [f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>']
    for accuracy in range(floor, roof + 1, 10):
        x, y = place(math.exp(low), accuracy).split(",")
        parts.append(f'<path d="M{x} {y}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{float(y) + 4}" text-anchor="end">{accuracy}</text>')
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        cost = float(f"{math.exp(low + share * (high - low)):.2g}")
        x = place(cost, roof).split(",")[0]
        parts.append(f'<text x="{x}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{cost:g}</text>')
    for name, line in points.items():
        colour, width = _COLOURS[name], 3 if name == OURS else 1.5
        joined = " ".join(place(*point) for point in sorted(line))
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        for point in line:
            x, y = place(*point).split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
    middle = left + _WIDTH / 2
    parts.append(f'<text x="{middle}" y="{_TOP + _HEIGHT + 32}" text-anchor="middle">{unit}, logarithmic</text>')
    parts.append(f'<text x="{middle}" y="{_TOP - 10}" text-anchor="middle">accuracy in %</text>')
    return "".join(parts)


def _legend() -> str:
    parts = []
    for number, (name, colour) in enumerate(_COLOURS.items()):
        x, y = 40 + 290 * (number % 3), 352 + 22 * (number // 3)
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="6" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 7}">{_ABOUT[name]}</text>')
    return "".join(parts)
