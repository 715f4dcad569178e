"""The page of ``benchmarks.tasks``, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["page"]

_HEADINGS = {
    "sentences": ("Spoken sentences (AN4, official test)", "WER %", "wer", 2),
    "detection": ("Blood cells (BCCD, official test)", "AP", "ap", 3),
    "translation": ("English to German (Tatoeba)", "BLEU", "bleu", 2),
}
_FORMATS = {"tflite": "TFLite", "coreml": "Core ML", "onnx": "ONNX"}


def page(found: Mapping[str, Any]) -> str:
    """Markdown: one table a task, differences with their intervals below it."""
    lines = ["# Three tasks through one API", "", "Made by `python -m benchmarks.tasks` from `tasks.json`.", ""]
    for name, (title, metric, key, decimals) in _HEADINGS.items():
        if name in found:
            lines += _section(found[name], title, metric, key, decimals)
    return "\n".join(lines)


def _section(task: Mapping[str, Any], title: str, metric: str, key: str, decimals: int) -> list[str]:
    teacher = task["teacher"]
    rows = [("teacher, 32-bit", teacher)]
    rows += [(f"student, {_FORMATS[form]}", one) for form, one in task["student"].items()]
    rows.append((f"teacher quantized after training, {_FORMATS[task['ptq']['format']]}", task["ptq"]))
    rows.append((f"student's size, no teacher, {_FORMATS[task['alone']['format']]}", task["alone"]))
    lines = [f"## {title}", "", f"| | {metric} | 95 % interval | bytes | ms a use |", "|---|---|---|---|---|"]
    for label, row in rows:
        low, high = row["ci95"]
        latency = row.get("latency_ms")
        lines.append(
            f"| {label} | {row[key]:.{decimals}f} | {low:.{decimals}f} to {high:.{decimals}f}"
            f" | {row['size_bytes']:,} | {'-' if latency is None else f'{latency:.3f}'} |"
        )
    lines.append("")
    first = next(iter(task["student"]))
    for label, difference in (
        ("Student less teacher", task["student"][first]["minus_teacher"]),
        ("Student less the quantized teacher", task["ptq"]["ours_minus_it"]),
        ("Student less the one without a teacher", task["alone"]["ours_minus_it"]),
    ):
        low, high = difference["ci95"]
        lines.append(
            f"- {label}: {difference['value']:+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f},"
            " paired bootstrap)."
        )
    conditions = task["conditions"]
    quick = ", quick" if conditions["quick"] else ""
    lines += [f"- Data: {task['source']}. Seed {conditions['seed']}{quick}; {teacher['n']} samples.", ""]
    return lines
