"""The parts of the page that are more than a table: layers, latencies, training, the search, and time."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobiledistill.report import _numbers as numbers
from mobiledistill.report._bars import LayerBars, share_bar
from mobiledistill.report._latencies import Strip, latency_figure
from mobiledistill.report._svg import Figure
from mobiledistill.report._tables import format_name, limit_name
from mobiledistill.report._training import Epoch, loss_figure, score_figure

__all__ = [
    "Latencies",
    "Layers",
    "PhaseRow",
    "RoundRow",
    "Sensitivities",
    "Training",
    "groups_of",
    "latencies_of",
    "layers_of",
    "phase_row",
    "round_row",
    "sensitivities_of",
    "training_of",
]

Data = dict[str, Any]


@dataclass(frozen=True)
class LayerRow:
    """One layer's weights before and after."""

    name: str
    before: str
    after: str
    kept: str
    bar: str


@dataclass(frozen=True)
class Layers:
    """All layers, and how their bars are to be read."""

    rows: Sequence[LayerRow]
    before: str
    after: str
    kept: str
    from_family: bool
    log: bool
    bits: str


@dataclass(frozen=True)
class SensitivityRow:
    """One group or block: by how much the loss rises where little of it stays, and with less of it step by step."""

    name: str
    points: str
    rise: str
    bar: str


@dataclass(frozen=True)
class Sensitivities:
    """How the loss answers to each cut alone."""

    rows: Sequence[SensitivityRow]
    loss: str
    time: str


@dataclass(frozen=True)
class RoundRow:
    """One round of the search."""

    number: int
    plan: str
    trained: bool
    measured: Sequence[str]
    used: str
    chosen: bool


@dataclass(frozen=True)
class PhaseRow:
    """One phase's wall time."""

    name: str
    time: str
    share: str
    bar: str


@dataclass(frozen=True)
class Latencies:
    """The figure of latencies; without samples it shows intervals only."""

    figure: Figure
    has_samples: bool


@dataclass(frozen=True)
class Training:
    """The figures of how the student learned."""

    score: Figure
    loss: Figure
    metric: str


# ----------------------------------------------------------------------------------------------------- layers


def layers_of(data: Data) -> Layers:
    """Every layer's weights, before and after."""
    plan = data["plan"]
    layers = [(str(name), int(before), int(after)) for name, before, after in data["layers"]]
    from_family = plan.get("width") is not None
    bars = LayerBars([value for _, before, after in layers for value in (before, after)])
    total = sum(before for _, before, _ in layers), sum(after for _, _, after in layers)
    rows = [
        LayerRow(
            name=name,
            before=numbers.count(before),
            after=numbers.count(after) if after else "removed",
            kept=numbers.percent(after / before) if before else "",
            bar=bars.draw(
                None if from_family else before,
                after,
                f"{name}: {numbers.count(after)} weights" + ("" if from_family else f" of {numbers.count(before)}"),
            ),
        )
        for name, before, after in layers
    ]
    return Layers(
        rows=rows,
        before=numbers.count(total[0]),
        after=numbers.count(total[1]),
        kept=numbers.percent(total[1] / total[0]) if total[0] else "",
        from_family=from_family,
        log=bars.log,
        bits=_bits_text(plan),
    )


def _bits_text(plan: Data) -> str:
    narrow: Mapping[str, int] = plan.get("layer_bits") or {}
    return f"{plan['bits']} bits" + (f", of {len(narrow)} layers in {min(narrow.values())}" if narrow else "")


def groups_of(plan: Data) -> list[tuple[str, str]]:
    """How many channels each group keeps, and which blocks are left out."""
    original = plan["original_channels"]
    kept = [(name, f"{kept} of {original[name]}") for name, kept in plan["channels"].items()]
    dropped = ((block, "left out") for block in plan.get("dropped", ()))
    products = ((path, f"product of rank {rank}") for path, rank in plan.get("ranks", {}).items())
    narrow = ((path, f"weights in {bits} bits") for path, bits in plan.get("layer_bits", {}).items())
    return [*kept, *dropped, *products, *narrow]


def sensitivities_of(data: Data) -> Sensitivities | None:
    """The rises that were measured; None where nothing was."""
    found = data.get("sensitivity")
    if not found or not found["rises"]:
        return None
    ends = {name: points[-1][1] for name, points in found["rises"].items()}
    most = max((abs(rise) for rise in ends.values() if rise is not None), default=0.0)
    rows = []
    for name, points in found["rises"].items():
        end, original = ends[name], data["plan"]["original_channels"].get(name)
        of_bits = name.startswith("bits of ")
        said = [f"{'half' if of_bits else kept or 'left out'}: {_rise(rise)}" for kept, rise in points]
        title = f"{name}{'' if original is None else f' of {original} channels'}: {', '.join(said)}"
        share = 1.0 if end is None else max(end, 0.0) / most if most else 0.0
        rows.append(SensitivityRow(name, ", ".join(said[:-1]), said[-1], share_bar(share, title)))
    return Sensitivities(rows, _rise(found["loss"]).removeprefix("+"), numbers.duration(found["seconds"]))


def _rise(value: float | None) -> str:
    return "not finite" if value is None else f"{value:+.3g}"


# -------------------------------------------------------------------------------------------------- latencies


def latencies_of(data: Data) -> Latencies | None:
    """None where nothing could be measured."""
    strips = _strips(data)
    return Latencies(latency_figure(strips), any(strip.samples_ms for strip in strips)) if strips else None


def _strips(data: Data) -> list[Strip]:
    teacher = data["teacher"]
    found = [_strip("Teacher, 32-bit", teacher["latency_ms"], None, is_teacher=True)]
    stored = teacher["quantized"]["latency_ms"]
    if stored != teacher["latency_ms"]:
        found.append(_strip(f"Teacher, {data['plan']['bits']}-bit", stored, None, is_teacher=True))
    for format, file in data["artifacts"].items():
        found.append(_strip(f"Student, {format_name(format)}", file["latency_ms"], _strip_limit(data, format)))
    return [strip for strip in found if strip is not None]


def _strip(name: str, latency: Data | None, limit: float | None, *, is_teacher: bool = False) -> Strip | None:
    if latency is None:
        return None
    samples = tuple(float(value) for value in itertools.chain.from_iterable(latency.get("samples") or ()))
    low, high = latency["ci95"]
    return Strip(name, is_teacher, samples, latency["p50"], latency["p90"], (low, high), limit)


def _strip_limit(data: Data, format: str) -> float | None:
    """The limit, unless it is on the sum of several signatures, of which these samples are only one."""
    latency = data["artifacts"][format]["latency_ms"]
    for check in data["limits"]:
        if check["format"] == format and check["name"] == "latency_ms" and check["measured"] is not None:
            limit: float = check["limit"]
            one_signature = latency["ci95"][0] <= check["measured"] <= latency["ci95"][1]
            return limit if one_signature else None
    return None


# --------------------------------------------------------------------------------------------------- training


def training_of(data: Data) -> Training | None:
    """None where nothing was trained."""
    epochs = [
        Epoch(str(phase), float(loss), None if score is None else float(score))
        for phase, _, loss, score in data["history"]
    ]
    if not epochs:
        return None
    metric, unit = data["score"]["metric"], data["score"]["unit"]
    teacher = data["teacher"].get("validation_score")
    line = None if teacher is None else float(teacher["value"])
    return Training(score_figure(epochs, line, metric, unit), loss_figure(epochs), metric)


# --------------------------------------------------------------------------------------------- search and time


def round_row(data: Data, number: int, entry: Data) -> RoundRow:
    """One round, with the tightest limit's share."""
    limits = {(check["format"], check["name"]): check for check in data["limits"]}
    measured = {
        (format, name): value
        for target, value in (entry.get("measured") or {}).items()
        for format, _, name in [target.partition("/")]
        if value is not None
    }
    measured |= {(check["format"], check["name"]): check["measured"] for check in entry.get("missed") or ()}
    unit, metric = data["score"]["unit"], data["score"]["metric"]
    used = [value / limits[target]["limit"] for target, value in measured.items() if target in limits]
    lines = [
        f"{format_name(format) if format else 'worst file'}, {limit_name(name, metric).lower()}"
        f" {numbers.amount(name, value, unit)}"
        for (format, name), value in measured.items()
    ]
    if "quick_loss" in entry:
        lines.append(f"loss {entry['quick_loss']:.3g} after a short training")
    return RoundRow(
        number=number,
        plan=_plan_text(data["plan"], entry),
        trained=bool(entry.get("trained")),
        measured=lines,
        used=numbers.percent(max(used)) if used else "",
        chosen=_is_chosen(data["plan"], entry) and not entry.get("missed"),
    )


def _plan_text(plan: Data, entry: Data) -> str:
    if entry.get("width") is not None:
        depth = entry.get("depth")
        return f"width {entry['width']}" + ("" if depth is None else f", depth {depth}")
    channels, original = entry.get("plan") or {}, plan["original_channels"]
    if not channels:
        return "as it is"
    before = sum(original.get(name, kept) for name, kept in channels.items())
    dropped = entry.get("dropped")
    without = f", without {', '.join(dropped)}" if dropped else ""
    ranks = f", {len(entry['ranks'])} layers as products" if entry.get("ranks") else ""
    narrow = f", {len(entry['layer_bits'])} layers in fewer bits" if entry.get("layer_bits") else ""
    return f"{numbers.count(sum(channels.values()))} of {numbers.count(before)} channels{without}{ranks}{narrow}"


def _is_chosen(plan: Data, entry: Data) -> bool:
    if plan.get("width") is not None:
        return bool(entry.get("width") == plan["width"] and entry.get("depth", plan["depth"]) == plan["depth"])
    same = all((entry.get(part) or {}) == (plan.get(part) or {}) for part in ("ranks", "layer_bits"))
    dropped = list(entry.get("dropped", ())) == list(plan.get("dropped", ()))
    return bool(entry.get("plan") == plan["channels"] and dropped and same)


def phase_row(name: str, seconds: float, of: Collection[float]) -> PhaseRow:
    """One phase beside all the others."""
    share = numbers.percent(seconds / sum(of)) if sum(of) else ""
    longest = max(of) or 1.0
    return PhaseRow(name, numbers.duration(seconds), share, share_bar(seconds / longest, f"{name}: {share}"))
