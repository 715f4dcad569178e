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
_MORE = {
    "sentences": {"cer": "CER %"},
    "detection": {"ap50": "AP50", "ap75": "AP75"},
    "translation": {"chrf": "chrF", "bleu_one_reference": "BLEU, one reference"},
}
_FORMATS = {"tflite": "TFLite", "coreml": "Core ML", "onnx": "ONNX"}


def page(found: Mapping[str, Any]) -> str:
    """Markdown: one table a task, differences with their intervals below it."""
    lines = ["# Three tasks through one API", "", "Made by `python -m benchmarks.tasks` from `tasks.json`.", ""]
    for name, (title, metric, key, decimals) in _HEADINGS.items():
        if name in found:
            lines += _section(found[name], title, metric, key, decimals, _MORE[name])
    return "\n".join(lines)


def _section(
    task: Mapping[str, Any], title: str, metric: str, key: str, decimals: int, more: Mapping[str, str]
) -> list[str]:
    rows = [("teacher, 32-bit", task["teacher"])]
    rows += [(f"student, {_FORMATS[form]}", one) for form, one in task["student"].items()]
    rows.append((f"teacher quantized after training, {_FORMATS[task['ptq']['format']]}", task["ptq"]))
    rows.append((f"student's size, no teacher, {_FORMATS[task['alone']['format']]}", task["alone"]))
    columns = [metric, "95 % interval", *more.values(), "bytes", "ms a use", "faster"]
    lines = [f"## {title}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label, row in rows:
        low, high = row["ci95"]
        latency, faster = row.get("latency_ms"), row.get("faster_than_teacher")
        cells = [f"{row[key]:.{decimals}f}", f"{low:.{decimals}f} to {high:.{decimals}f}"]
        cells += [f"{row[name]:.{decimals}f}" for name in more]
        cells += [f"{row['size_bytes']:,}", "-" if latency is None else f"{latency:.2f}"]
        cells.append("-" if faster is None else f"{faster:.1f}x")
        lines.append(f"| {label} | {' | '.join(cells)} |")
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
    if "teacher_beam" in task["more"]:
        beams = (task["more"]["teacher_beam"], task["more"][first]["beam"])
        lines.append(
            "- With the beam over the dictionary: teacher {:.1f}, student {:.1f}.".format(*(b[key] for b in beams))
        )
        factors = [f"{_FORMATS[form]} {task['more'][form]['real_time_factor']:.4f}" for form in task["student"]]
        lines.append(f"- Seconds of work a second of speech, one core: {', '.join(factors)} (Core ML: our executor).")
    if "signature" in task["teacher"]:
        lines.append(f"- BLEU as sacrebleu counts it: `{task['teacher']['signature']}`.")
    conditions = task["conditions"]
    data = "synthetic data" if conditions["synthetic"] else "real data"
    quick = ", the quick way" if conditions["quick"] else ""
    lines.append(
        f"- {task['teacher']['n']} test samples, {data}, seed {conditions['seed']}{quick}. All files of a format"
        f" timed in turns, one thread of {conditions['cpu']}, a measurement that is {conditions['latency']}."
    )
    return [*lines, ""]
