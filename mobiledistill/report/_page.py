"""What the page says, made from the data of a result; the template only lays it out.

Reads nothing but what ``CompressionResult.to_dict`` holds, so that a page can be made anew from ``result.json``.
Keys that older results do not have are looked up with ``get``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mobiledistill.report import _numbers as numbers
from mobiledistill.report._bars import LayerBars, limit_bar, share_bar
from mobiledistill.report._latencies import Strip, latency_figure
from mobiledistill.report._svg import Figure
from mobiledistill.report._tables import Table, conditions_table, files_table, format_name, limit_name, teacher_table
from mobiledistill.report._training import Epoch, loss_figure, score_figure

__all__ = ["Page", "page_of"]

Data = dict[str, Any]

_VERDICTS = {"met": "Budget met", "missed": "Budget missed", "unmeasured": "Budget not proven"}


@dataclass(frozen=True)
class LimitRow:
    """One limit against what was measured."""

    name: str
    file: str
    limit: str
    measured: str
    used: str
    status: str
    remark: str
    bar: str


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
    bits: int


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
class Training:
    """The figures of how the student learned."""

    score: Figure
    loss: Figure
    metric: str


@dataclass(frozen=True)
class Page:
    """Everything on the page, in its order."""

    title: str
    task: str
    status: str
    verdict: str
    headline: str
    lede: Sequence[str]
    metric: str
    budget: str
    limits: Sequence[LimitRow]
    teacher: Table
    files: Table
    paths: Sequence[tuple[str, str]]
    layers: Layers
    groups: Sequence[tuple[str, str]]
    latencies: Figure | None
    has_samples: bool
    training: Training | None
    rounds: Sequence[RoundRow]
    phases: Sequence[PhaseRow]
    total_time: str
    unmeasured: Sequence[str]
    notes: Sequence[str]
    conditions: Table


def page_of(data: Data) -> Page:
    """The page of a result.

    Args:
        data: ``CompressionResult.to_dict()``, or the same after a way through JSON.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: the data is no result.
    """
    status = _status(data)
    task = str(data.get("task") or "")
    unit = data["score"]["unit"]
    seconds = data["seconds"]
    return Page(
        title=": ".join(part for part in (task, _VERDICTS[status].lower()) if part),
        task=task,
        status=status,
        verdict=_VERDICTS[status],
        headline=_headline(data),
        lede=_lede(data),
        metric=data["score"]["metric"],
        budget=str(data.get("budget") or ""),
        limits=[_limit_row(data, check, unit) for check in data["limits"]],
        teacher=teacher_table(data),
        files=files_table(data),
        paths=[(format_name(format), str(file["path"])) for format, file in data["artifacts"].items()],
        layers=_layers(data),
        groups=_groups(data["plan"]),
        latencies=_latencies(data),
        has_samples=any(strip.samples_ms for strip in _strips(data)),
        training=_training(data),
        rounds=[_round_row(data, number, entry) for number, entry in enumerate(data["rounds"], start=1)],
        phases=[_phase_row(name, value, sum(seconds.values())) for name, value in seconds.items()],
        total_time=numbers.duration(sum(seconds.values())),
        unmeasured=_unmeasured(data),
        notes=[str(note) for note in data.get("notes", ())],
        conditions=conditions_table(data),
    )


# --------------------------------------------------------------------------------------------------- headline


def _status(data: Data) -> str:
    if any(check["status"] == "missed" for check in data["limits"]):
        return "missed"
    return "met" if data["met"] else "unmeasured"


def _headline(data: Data) -> str:
    score, files = data["score"], list(data["artifacts"].values())
    sizes = [file["size_bytes"] for file in files]
    latencies = [value for format in data["artifacts"] if (value := _latency(data, format)) is not None]
    reached = [numbers.size(max(sizes))] if sizes else []
    reached += [numbers.milliseconds(max(latencies))] if latencies else []
    metric = score["metric"]
    text = f"{metric[:1].upper()}{metric[1:]} {numbers.score(score['value'], score['unit'])}"
    text += f" (teacher {numbers.score(data['teacher']['score']['value'], score['unit'])})"
    return f"{text} in {'at most ' if len(files) > 1 else ''}{', '.join(reached)}" if reached else text


def _lede(data: Data) -> list[str]:
    unit = data["score"]["unit"]
    lines = []
    for check in data["limits"]:
        if check["status"] == "missed":
            measured, limit = numbers.beside_limit(check["name"], check["measured"], check["limit"], unit)
            lines.append(f"{_subject(data, check)} is {measured}, and the limit is {limit}.")
    if gain := _gain(data):
        lines.append(gain)
    binding = data.get("binding")
    if binding is not None and binding["measured"] is not None and _status(data) != "missed":
        used = numbers.percent(binding["measured"] / binding["limit"])
        lines.append(f"{_subject(data, binding)} is the tightest limit, used to {used}.")
    lines.append(f"The search ended because {data['ending']}.")
    return lines


def _gain(data: Data) -> str:
    format, file = next(iter(data["artifacts"].items()), (None, None))
    if format is None or file is None:
        return ""
    teacher = data["teacher"]
    text = f"The {format_name(format)} file is {numbers.factor(teacher['size_bytes'], file['size_bytes'])} smaller"
    before, after = teacher["latency_ms"], file["latency_ms"]
    if before is not None and after is not None and after["p50"] > 0:
        faster = before["p50"] >= after["p50"]
        pair = (before["p50"], after["p50"]) if faster else (after["p50"], before["p50"])
        text += f" and {numbers.factor(*pair)} {'faster' if faster else 'slower'}"
    return f"{text} than the teacher in 32-bit floats."


def _subject(data: Data, check: Data) -> str:
    name = limit_name(check["name"], data["score"]["metric"])
    return name if check["format"] is None else f"{format_name(check['format'])} {name[:1].lower()}{name[1:]}"


# ----------------------------------------------------------------------------------------------------- budget


def _limit_row(data: Data, check: Data, unit: str) -> LimitRow:
    measured, limit = numbers.beside_limit(check["name"], check["measured"], check["limit"], unit)
    used = None if check["measured"] is None else check["measured"] / check["limit"]
    interval = _interval(data, check)
    said = "not measured" if used is None else f"{measured} of {limit}"
    return LimitRow(
        name=limit_name(check["name"], data["score"]["metric"]),
        file="worst file" if check["format"] is None else format_name(check["format"]),
        limit=limit,
        measured=measured if check["measured"] is not None else "",
        used=numbers.percent(used) if used is not None else "",
        status=check["status"],
        remark=_remark(check, interval),
        bar=limit_bar(
            check["status"],
            used,
            None if interval is None else (interval[0] / check["limit"], interval[1] / check["limit"]),
            f"{_subject(data, check)}: {said}, {check['status']}",
        ),
    )


def _interval(data: Data, check: Data) -> tuple[float, float] | None:
    """The interval of a latency, where it is that of the number the limit was checked on."""
    if check["name"] != "latency_ms" or check["measured"] is None:
        return None
    latency = data["artifacts"].get(check["format"], {}).get("latency_ms")
    if latency is None or not latency["ci95"][0] <= check["measured"] <= latency["ci95"][1]:
        return None
    return latency["ci95"][0], latency["ci95"][1]


def _remark(check: Data, interval: tuple[float, float] | None) -> str:
    if check["status"] != "missed" or check["measured"] > check["limit"]:
        return ""
    if interval is not None and interval[1] > check["limit"]:
        return f"its 95 % interval ends at {numbers.milliseconds(interval[1])}, above the limit"
    return "the measurement does not prove it"


def _latency(data: Data, format: str) -> float | None:
    """What the budget was checked on, else the median."""
    for check in data["limits"]:
        if check["format"] == format and check["name"] == "latency_ms":
            measured: float | None = check["measured"]
            return measured
    latency = data["artifacts"][format]["latency_ms"]
    return None if latency is None else latency["p50"]


def _unmeasured(data: Data) -> list[str]:
    where = _device_name(data)
    lines = [
        f"{_subject(data, check)} cannot be measured on {where}; its limit of"
        f" {numbers.beside_limit(check['name'], None, check['limit'], data['score']['unit'])[1]} is neither met nor missed."
        for check in data["limits"]
        if check["status"] == "unmeasured"
    ]
    limited = {(check["format"], check["name"]) for check in data["limits"]}
    for format, file in data["artifacts"].items():
        if file["latency_ms"] is None and (format, "latency_ms") not in limited:
            lines.append(f"{format_name(format)} latency and memory cannot be measured on {where}.")
        for reason in (file["latency_ms"] or {}).get("reasons") or ():
            lines.append(f"The measurement of the {format_name(format)} file is {file['verdict']}: {reason}.")
    return lines


def _device_name(data: Data) -> str:
    latencies = [file["latency_ms"] or {} for file in data["artifacts"].values()]
    names = dict.fromkeys(latency["device"]["name"] for latency in latencies if latency.get("device"))
    return ", ".join(names) or "the device of this run"


# ----------------------------------------------------------------------------------------------------- layers


def _layers(data: Data) -> Layers:
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
        bits=plan["bits"],
    )


def _groups(plan: Data) -> list[tuple[str, str]]:
    original = plan["original_channels"]
    return [(name, f"{kept} of {original[name]}") for name, kept in plan["channels"].items()]


# -------------------------------------------------------------------------------------------------- latencies


def _latencies(data: Data) -> Figure | None:
    strips = _strips(data)
    return latency_figure(strips) if strips else None


def _strips(data: Data) -> list[Strip]:
    teacher = data["teacher"]
    found = [_strip("Teacher, 32-bit floats", teacher["latency_ms"], None, is_teacher=True)]
    stored = teacher["quantized"]["latency_ms"]
    if stored != teacher["latency_ms"]:
        found.append(_strip("Teacher, stored as the student is", stored, None, is_teacher=True))
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


def _training(data: Data) -> Training | None:
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


def _round_row(data: Data, number: int, entry: Data) -> RoundRow:
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
    return f"{numbers.count(sum(channels.values()))} of {numbers.count(sum(original.values()))} channels"


def _is_chosen(plan: Data, entry: Data) -> bool:
    if plan.get("width") is not None:
        return bool(entry.get("width") == plan["width"] and entry.get("depth", plan["depth"]) == plan["depth"])
    return bool(entry.get("plan") == plan["channels"])


def _phase_row(name: str, seconds: float, total: float) -> PhaseRow:
    share = seconds / total if total else 0.0
    return PhaseRow(
        name, numbers.duration(seconds), numbers.percent(share), share_bar(share, f"{name}: {numbers.percent(share)}")
    )
