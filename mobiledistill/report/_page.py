"""What the page says, made from the data of a result; the template only lays it out.

Reads nothing but what ``CompressionResult.to_dict`` holds, so that a page can be made anew from ``result.json``.
Keys that older results do not have are looked up with ``get``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mobiledistill.report import _numbers as numbers
from mobiledistill.report._bars import limit_bar
from mobiledistill.report._sections import (
    Latencies,
    Layers,
    PhaseRow,
    RoundRow,
    Sensitivities,
    Training,
    groups_of,
    latencies_of,
    layers_of,
    phase_row,
    round_row,
    sensitivities_of,
    training_of,
)
from mobiledistill.report._tables import (
    Table,
    conditions_table,
    files_table,
    format_name,
    limit_name,
    teacher_table,
    times,
    use_of,
)

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
    sensitivities: Sensitivities | None
    latencies: Latencies | None
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
        layers=layers_of(data),
        groups=groups_of(data["plan"]),
        sensitivities=sensitivities_of(data),
        latencies=latencies_of(data),
        training=training_of(data),
        rounds=[round_row(data, number, entry) for number, entry in enumerate(data["rounds"], start=1)],
        phases=[phase_row(name, value, seconds.values()) for name, value in seconds.items()],
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
    text += f" (teacher\u00a0{numbers.score(data['teacher']['score']['value'], score['unit'])})"
    return f"{text} in {'at most ' if len(files) > 1 else ''}{', '.join(reached)}" if reached else text


def _lede(data: Data) -> list[str]:
    unit = data["score"]["unit"]
    lines = []
    for check in data["limits"]:
        if check["status"] == "missed":
            measured, limit = numbers.beside_limit(check["name"], check["measured"], check["limit"], unit)
            remark = _remark(check, _interval(data, check))
            lines.append(f"{_subject(data, check)} is {measured}, the limit {limit}{'; ' if remark else ''}{remark}.")
    if gain := _gain(data):
        lines.append(gain)
    if _status(data) == "missed":
        return [*lines, "No plan that was tried keeps the budget; this is the nearest."]
    binding = data.get("binding")
    if binding is not None and binding["measured"] is not None:
        used = numbers.percent(binding["measured"] / binding["limit"])
        lines.append(f"{_subject(data, binding)} is the tightest limit, used to {used}.")
    lines.append(f"The search ended because {data['ending']}.".replace(" %", f"{numbers.THIN}%"))
    return lines


def _gain(data: Data) -> str:
    format, file = next(iter(data["artifacts"].items()), (None, None))
    if format is None or file is None:
        return ""
    teacher = data["teacher"]
    before, after = teacher["latency_ms"], file["latency_ms"]
    gains = [times(teacher["size_bytes"], file["size_bytes"], "smaller", "larger")]
    if before is not None and after is not None:
        gains.append(times(use_of(before)["p50"], use_of(after)["p50"], "faster", "slower"))
    if not any(gains):
        return ""
    text = f"The {format_name(format)} file is {' and '.join(gain for gain in gains if gain)}"
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
    if latency is None:
        return None
    low, high = use_of(latency)["ci95"]
    return (low, high) if low <= check["measured"] <= high else None


def _remark(check: Data, interval: tuple[float, float] | None) -> str:
    if check["status"] != "missed" or check["measured"] > check["limit"]:
        return ""
    if interval is not None and interval[1] > check["limit"]:
        return f"interval up to {numbers.milliseconds(interval[1])}"
    return "the measurement does not prove it"


def _latency(data: Data, format: str) -> float | None:
    """What the budget was checked on, else the median."""
    for check in data["limits"]:
        if check["format"] == format and check["name"] == "latency_ms":
            measured: float | None = check["measured"]
            return measured
    latency = data["artifacts"][format]["latency_ms"]
    return None if latency is None else use_of(latency)["p50"]


def _unmeasured(data: Data) -> list[str]:
    where, unit = _device_name(data), data["score"]["unit"]
    lines = []
    for check in data["limits"]:
        if check["status"] == "unmeasured":
            _, limit = numbers.beside_limit(check["name"], None, check["limit"], unit)
            text = f"{_subject(data, check)} cannot be measured on {where};"
            lines.append(f"{text} its limit of {limit} is neither met nor missed.")
    limited = {(check["format"], check["name"]) for check in data["limits"]}
    for format, file in data["artifacts"].items():
        if file["latency_ms"] is None and (format, "latency_ms") not in limited:
            lines.append(f"{format_name(format)} latency and memory cannot be measured on {where}.")
        for reason in (file["latency_ms"] or {}).get("reasons") or ():
            if file["verdict"] == "predicted":
                lines.append(f"The latency of the {format_name(format)} file was not measured: {reason}.")
            else:
                lines.append(f"The measurement of the {format_name(format)} file is {file['verdict']}: {reason}.")
    return lines


def _device_name(data: Data) -> str:
    latencies = [file["latency_ms"] or {} for file in data["artifacts"].values()]
    names = dict.fromkeys(latency["device"]["name"] for latency in latencies if latency.get("device"))
    return ", ".join("this host" if name == "host" else name for name in names) or "the device of this run"
