"""Three tasks, from a teacher to three formats, beside what one would do without this library.

python -m benchmarks.tasks [sentences detection translation] [--quick] [--json FILE] [--seed N] [--workdir DIR]

For each task: the teacher; our student through its TFLite, Core ML and ONNX file; the teacher quantized after training
("ptq"); and a student of the same size trained for the same number of epochs without a teacher ("alone"). All on the
official test split, each file through its own runtime, differences by bootstrap over the same samples. Speed is that
of one use on this computer, all files of a format interleaved; a measurement that other work disturbed is taken again
by the next call. Finished steps lie in the work folder and are not repeated, so the program can be stopped and started
at will. Beside the JSON a page is written, ``tasks.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._task_cases import CASES, Case
from benchmarks._task_page import page
from converters import Format
from mobiledistill._workdir import digest_of
from mobiledistill.devices import Host, Measurement, Subject, latency_per_use
from mobiledistill.distill import HardTargets
from mobiledistill.factorize import LowRank
from mobiledistill.prune import channel_groups, cut, without_blocks

_NO_LIMIT = md.Budget(size_bytes=1_000_000_000)


def main() -> None:
    """Runs the chosen tasks and writes the table and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(CASES), help=f"some of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="slices of the data and short trainings")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/tasks.json"), help="where the figures go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    if unknown := [name for name in options.tasks if name not in CASES]:
        parser.error(f"no such task: {', '.join(unknown)}; choose some of {', '.join(CASES)}")
    for name in options.tasks:
        found = measure(CASES[name], options.workdir, options.seed, options.quick)
        known = known_figures(options.json)
        known[name] = found
        keep_figures(options.json, known, page)
        print(json.dumps(known[name], indent=1), flush=True)


def measure(case: Case, workdir: Path, seed: int, quick: bool) -> dict[str, Any]:
    """Every row of one task."""
    demo: md.Demo = next(entry for entry in entry_points(group="mobiledistill.demos") if entry.name == case.demo).load()
    request = md.DemoRequest(demo.tasks[case.task].splits[0], None, seed, quick)
    ours = md.run_demo(case.task, demo.tasks[case.task], request, workdir=workdir / case.demo, progress=tell)
    folder = workdir / "tasks" / f"{case.name}-seed{seed}{'-quick' if quick else ''}"
    rivals = {
        "ptq": _quantized_after_training(ours, folder / "ptq"),
        "alone": _without_teacher(ours, demo.tasks[case.task], seed, folder / "alone"),
    }
    teacher = case.answers(ours.task, predict_of_module(ours.task, ours.teacher))
    students = {form: case.answers(ours.task, predict_of_file(one.path)) for form, one in ours.result.artifacts.items()}
    latency = _latency(ours, rivals, folder)
    found: dict[str, Any] = {
        "teacher": {**case.figures(ours.task, teacher), **_teacher_facts(ours), **latency["teacher"]},
        "student": {},
        "conditions": {
            "seed": seed,
            "quick": quick,
            "synthetic": bool(getattr(ours.task, "synthetic", False)),
            "torch": torch.__version__,
            "cpu": latency["cpu"],
            "latency": latency["verdict"],
        },
    }
    for form, answers in students.items():
        artifact = ours.result.artifacts[form]
        found["student"][form] = {
            **case.figures(ours.task, answers),
            "size_bytes": artifact.size_bytes,
            "latency_ms": latency["student"].get(form),
            "faster_than_teacher": latency["faster"].get(form),
            "sqnr_db": artifact.parity.sqnr_db,
            "minus_teacher": case.difference(ours.task, answers, teacher),
        }
    first = next(iter(students))
    for name, result in rivals.items():
        artifact = result.artifacts[first]
        answers = case.answers(ours.task, predict_of_file(artifact.path))
        found[name] = {
            **case.figures(ours.task, answers),
            "format": first,
            "size_bytes": artifact.size_bytes,
            "latency_ms": latency[name],
            "ours_minus_it": case.difference(ours.task, students[first], answers),
        }
    found["more"] = case.more(ours.task, predict_of_module(ours.task, ours.teacher), predict_of_file, ours.result)
    return found


def _quantized_after_training(ours: md.DemoRun, workdir: Path) -> md.CompressionResult:
    """The uncut teacher in integers, calibrated as the student is, and not trained again."""
    untrained = md.Recipe(epochs=0)
    schedule = md.Schedule(cut_steps=1, distill=untrained, quantize=untrained, rounds=1)
    first = next(iter(ours.result.artifacts))
    return md.compress(
        ours.teacher,
        ours.transfer,
        _NO_LIMIT,
        device=Unmeasured(),
        formats=(first,),
        schedule=schedule,
        workdir=workdir,
        progress=tell,
    )


def _without_teacher(ours: md.DemoRun, demo: md.DemoTask, seed: int, workdir: Path) -> md.CompressionResult:
    """A student of our student's size that starts from chance and never hears the teacher, for as many epochs."""
    epochs = {"quantize": 0, "float": 0}
    for phase, *_ in ours.result.history:
        epochs["quantize" if phase == "quantize" else "float"] += 1
    schedule = replace(
        demo.schedule,
        seed=seed,
        cut_steps=1,
        stretch=1.0,
        rounds=1,
        distill=replace(demo.schedule.distill, epochs=epochs["float"]),
        quantize=replace(demo.schedule.quantize, epochs=epochs["quantize"]),
    )
    first = next(iter(ours.result.artifacts))
    return md.compress(
        ours.teacher,
        ours.task,
        _NO_LIMIT,
        student=_untaught(ours, demo, seed),
        distill=HardTargets(),
        device=Unmeasured(),
        formats=(first,),
        schedule=schedule,
        workdir=workdir,
        progress=tell,
    )


def _untaught(ours: md.DemoRun, demo: md.DemoTask, seed: int) -> nn.Module:
    """Our student's shape with first weights."""
    plan = ours.result.plan
    torch.manual_seed(seed + 1)
    if demo.student is not None and plan.width is not None and plan.depth is not None:
        return demo.student(plan.width, plan.depth)

    def run(model: nn.Module) -> tuple[torch.Tensor, ...]:
        outputs: list[torch.Tensor] = []
        for name, signature in ours.task.signatures.items():
            if signature.exported:
                inputs = ours.task.calibration_inputs(name).values()
                returned = ours.task.exported(model, name)(*(torch.as_tensor(value[:1]) for value in inputs))
                outputs += [returned] if isinstance(returned, torch.Tensor) else list(returned)
        return tuple(outputs)

    groups = channel_groups(ours.teacher, run)
    scores = {group.name: torch.arange(group.channels, 0.0, -1.0) // group.block for group in groups}
    student = without_blocks(cut(ours.teacher, run, plan.channels, scores), plan.dropped)
    student = LowRank().apply(student, plan.ranks) if plan.ranks else student
    for part in student.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    return student


class Unmeasured:
    """A device for students that are measured later, in turns with others."""

    name = "none"
    formats: tuple[Format, ...] = ()

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """Of no file."""
        return ()

    def measure(self, path: Path, fmt: Format, *_: Any, **__: Any) -> None:
        """Nothing."""
        return None


def _latency(ours: md.DemoRun, rivals: Mapping[str, md.CompressionResult], folder: Path) -> dict[str, Any]:
    """Milliseconds of one use of the float teacher, of the student, by format, and of its rivals, all in turns."""
    made = [artifact.path for result in (ours.result, *rivals.values()) for artifact in result.artifacts.values()]
    digest = hashlib.sha256("".join(map(digest_of, made)).encode()).hexdigest()[:12]
    kept = folder / f"latency-{digest}.json"  # of these very files
    if kept.exists() and (known := json.loads(kept.read_text()))["verdict"] == "valid":
        return dict(known)
    found: dict[str, Any] = {"teacher": {}, "student": {}, "faster": {}, "verdict": "valid", "cpu": ""}
    folder.mkdir(parents=True, exist_ok=True)
    for form, artifact in ours.result.artifacts.items():
        if form not in Host().formats:
            continue
        files = {"teacher": _float_teacher(ours, folder / f"teacher{artifact.path.suffix}"), "student": artifact.path}
        files |= {name: rival.artifacts[form].path for name, rival in rivals.items() if form in rival.artifacts}
        uses, measured = _uses(ours.task, form, files)
        found["cpu"] = measured[0].device.cpu
        found["verdict"] = next((one.verdict for one in measured if one.verdict != "valid"), found["verdict"])
        found["teacher"].setdefault("latency_ms", uses["teacher"])
        found["student"][form] = uses["student"]
        found["faster"][form] = uses["teacher"] / uses["student"]
        found |= {name: uses[name] for name in rivals if name in uses}
    kept.write_text(json.dumps(found))
    return found


def _float_teacher(ours: md.DemoRun, path: Path) -> Path:
    programs = [
        md.Program(
            ours.task.exported(ours.teacher, name),
            {key: torch.as_tensor(value) for key, value in _one_input(ours.task, name).items()},
            tuple(signature.outputs),
            name,
        )
        for name, signature in ours.task.signatures.items()
        if signature.exported
    ]
    return md.convert(programs, path)


def _uses(task: md.Task, form: Format, files: Mapping[str, Path]) -> tuple[dict[str, float], list[Measurement]]:
    """Milliseconds of one use of each file, and the measurements behind them."""
    signatures = {name: signature for name, signature in task.signatures.items() if signature.exported}
    asked = [(owner, name) for owner in files for name in signatures]
    measurements = Host().measure_interleaved(
        [Subject(files[owner], form, _one_input(task, name), signature=name) for owner, name in asked]
    )
    measured = dict(zip(asked, measurements, strict=True))
    calls = {name: signature.calls_per_use for name, signature in signatures.items()}
    uses = {
        owner: latency_per_use({name: measured[owner, name] for name in signatures}, calls).latency_ms
        for owner in files
    }
    return uses, measurements


def _one_input(task: md.Task, signature: str) -> dict[str, Any]:
    return {key: value[:1] for key, value in task.calibration_inputs(signature).items()}


def _teacher_facts(ours: md.DemoRun) -> dict[str, Any]:
    facts = ours.result.teacher
    return {"size_bytes": facts.size_bytes, "parameters": facts.parameters}


def predict_of_module(task: md.Task, model: nn.Module) -> md.Predict:
    """A module as an evaluation asks it: every signature by its name."""
    modules = {name: task.exported(model, name).eval() for name in task.signatures}

    def predict(inputs: Mapping[str, Any], signature: str = "main") -> dict[str, Any]:
        with torch.no_grad():
            returned = modules[signature](*(torch.as_tensor(value) for value in inputs.values()))
        values = (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)
        return {n: v.numpy() for n, v in zip(task.signatures[signature].outputs, values, strict=True)}

    return predict


def predict_of_file(path: Path) -> md.Predict:
    """A file likewise."""
    model = md.load(path)

    def predict(inputs: Mapping[str, Any], signature: str = "main") -> dict[str, Any]:
        return model.run(inputs, signature)

    return predict


if __name__ == "__main__":
    main()
