"""The whole loop on a small real task: budgets met on files, budgets that cannot be met, runs that were killed."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from converters import Format, Program, convert, load_program, read_integers, size_bytes
from mobiledistill import (
    Batch,
    Budget,
    BudgetError,
    CompressionResult,
    InputError,
    Picture,
    Predict,
    Recipe,
    Schedule,
    compress,
    devices,
    quantize,
    train_model,
)
from mobiledistill.distill import Hints, SoftTargets
from mobiledistill.teachers import Cached, TorchTeacher
from tests.networks import Residual, Stripes

ROOT = Path(__file__).parents[1]


class QuickHost(devices.Host):
    """The host, asked for few samples: these tests look at what becomes of a latency, not at how sure it is."""

    def measure(self, path: Path, format: Format, inputs: Any = None, **options: Any) -> devices.Measurement | None:
        return super().measure(path, format, inputs, **{**options, "processes": 2, "samples": 40, "limit_ms": None})


HOST = QuickHost()
SHORT = Schedule(
    cut_steps=2,
    cut=Recipe(epochs=1, learning_rate=1e-3),
    distill=Recipe(epochs=6),
    quantize=Recipe(epochs=2, learning_rate=5e-4),
    quick=Recipe(epochs=2),
    stretch=1.0,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    return train_model(Residual(24), Stripes(), Recipe(epochs=8, learning_rate=1e-2), workdir=folder)


@pytest.mark.slow
def test_a_size_budget_is_met_on_every_file(teacher: nn.Module, tmp_path: Path) -> None:
    result = compress(teacher, Stripes(), Budget(size_bytes=12_000), schedule=SHORT, device=HOST, workdir=tmp_path)
    assert result.met
    assert {check.format for check in result.limits} == {"tflite", "coreml", "onnx"}
    for artifact in result.artifacts.values():
        assert artifact.size_bytes == size_bytes(artifact.path) <= 12_000
        assert artifact.parity.integers_equal
        assert artifact.score.value > 80
    assert result.binding is not None
    assert result.binding.used > 0.9
    assert result.artifacts["coreml"].latency_ms is None
    assert result.artifacts["tflite"].latency_ms is not None
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["met"] is True
    assert (tmp_path / "report.html").stat().st_size > 5_000
    weights = [
        sorted(layer.weight.tobytes() for layer in read_integers(a.path)["main"]) for a in result.artifacts.values()
    ]
    assert weights[0] == weights[1] == weights[2]


def test_an_unreachable_budget_names_the_smallest_that_works(teacher: nn.Module, tmp_path: Path) -> None:
    ask = {"formats": ("onnx",), "schedule": SHORT, "device": HOST}
    with pytest.raises(BudgetError, match="the smallest value that worked is") as caught:
        compress(teacher, Stripes(), Budget(size_bytes=1_000), workdir=tmp_path / "a", **ask)  # type: ignore[arg-type]
    error = caught.value
    assert error.binding.name == "size_bytes"
    assert error.binding.format == "onnx"
    assert error.nearest.artifacts["onnx"].path.exists()
    assert not error.nearest.met
    smallest = Budget(size_bytes=error.smallest)
    assert compress(teacher, Stripes(), smallest, workdir=tmp_path / "b", **ask).met  # type: ignore[arg-type]


def test_the_smallest_latency_that_works_has_room_for_noise(teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="the smallest value that worked is") as caught:
        compress(
            teacher,
            Stripes(),
            Budget(latency_ms=1e-4),
            formats=("onnx",),
            schedule=SHORT,
            device=HOST,
            workdir=tmp_path,
        )
    measured = caught.value.binding.measured
    assert measured is not None
    assert 1.02 * measured < caught.value.smallest < 1.1 * measured
    assert f"{measured:,.6g}" in str(caught.value)
    assert f"{caught.value.smallest:,.6g} or above" in str(caught.value)


@pytest.mark.slow
def test_limits_may_differ_by_format_and_nothing_is_cut_without_need(teacher: nn.Module, tmp_path: Path) -> None:
    budget = Budget(size_bytes={"onnx": 500_000}, max_metric_drop=20)
    result = compress(
        teacher, Stripes(), budget, formats=("tflite", "onnx"), schedule=SHORT, device=HOST, workdir=tmp_path
    )
    assert result.plan.cuts_nothing
    assert result.ending.name == "NOTHING_CUT"
    assert [(check.format, check.name) for check in result.limits] == [
        ("onnx", "size_bytes"),
        (None, "max_metric_drop"),
    ]


@pytest.mark.long
def test_without_rounds_the_first_plan_is_trained_and_corrected_where_it_missed(
    teacher: nn.Module, tmp_path: Path
) -> None:
    schedule = replace(SHORT, rounds=0, distill=Recipe(epochs=2))

    def within(budget: Budget, name: str) -> CompressionResult:
        return compress(
            teacher,
            Stripes(),
            budget,
            formats=("tflite", "onnx"),
            schedule=schedule,
            device=HOST,
            workdir=tmp_path / name,
        )

    generous = within(Budget(size_bytes=500_000), "generous")
    assert generous.plan.cuts_nothing
    assert generous.rounds == []
    tight = within(Budget(size_bytes={"onnx": 9_000}), "tight")  # of ONNX nothing is known before a file was written
    assert tight.met
    assert [entry["trained"] for entry in tight.rounds] == [True]
    assert tight.rounds[0]["missed"]
    with pytest.raises(InputError, match="rounds of 0 or more"):
        replace(SHORT, rounds=-1)


@pytest.mark.parametrize(
    ("scheme", "format"),
    [
        (quantize.Palette(4), "coreml"),
        (quantize.Mixed(quantize.Int8(), {"head": quantize.WeightOnly(8)}), "onnx"),
    ],
)
def test_other_schemes_learn_and_are_measured_too(
    teacher: nn.Module, tmp_path: Path, scheme: quantize.Scheme, format: Format
) -> None:
    result = compress(
        teacher,
        Stripes(),
        Budget(size_bytes=14_000),
        quantize=scheme,
        formats=(format,),
        schedule=SHORT,
        device=HOST,
        workdir=tmp_path,
    )
    assert result.met
    assert result.artifacts[format].score.value > 80
    assert "quantize" in {phase for phase, *_ in result.history}


def test_the_search_weighs_bits_against_channels(teacher: nn.Module, tmp_path: Path) -> None:
    """What a signature exports may hold the student's layers under other names."""
    result = compress(
        teacher,
        _Wrapped(),
        Budget(size_bytes=10_000),
        formats=("onnx",),
        quantize=quantize.Int8Or4(),
        schedule=SHORT,
        device=HOST,
        workdir=tmp_path,
    )
    assert result.met
    assert set(result.plan.layer_bits.values()) == {4}
    assert f"{len(result.plan.layer_bits)} layers in 4" in result.report_path.read_text()
    (layers,) = read_integers(result.artifacts["onnx"].path).values()
    narrow = [layer for layer in layers if abs(layer.weight.astype(int)).max() <= 7]
    assert len(narrow) == len(result.plan.layer_bits)


@pytest.mark.parametrize("size_bytes", [10_000, 500])
def test_where_time_is_limited_all_layers_keep_the_fast_kernels(
    teacher: nn.Module, tmp_path: Path, size_bytes: int
) -> None:
    """The nearest budget to one that cannot be kept is no exception."""
    ask: dict[str, Any] = {"quantize": quantize.Int8Or4(), "schedule": SHORT, "device": HOST, "workdir": tmp_path}
    try:
        result = compress(teacher, Stripes(), Budget(size_bytes=size_bytes, latency_ms=50), formats=("onnx",), **ask)
    except BudgetError as error:
        result = error.nearest
    assert result.met == (size_bytes == 10_000)
    assert result.plan.layer_bits == {}


class _Wrapped(Stripes):
    """Exports its model within another module."""

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        return nn.Sequential(model)


@pytest.mark.parametrize("scheme", [quantize.Fp16(), None])
def test_floats_keep_a_budget_too(teacher: nn.Module, tmp_path: Path, scheme: quantize.Scheme) -> None:
    limit = 14_000 if scheme else 24_000
    result = compress(
        teacher,
        Stripes(),
        Budget(size_bytes=limit),
        formats=("onnx",),
        quantize=scheme,
        schedule=SHORT,
        device=HOST,
        workdir=tmp_path,
    )
    assert result.met
    assert result.artifacts["onnx"].parity.integers_equal is None
    assert result.artifacts["onnx"].size_bytes > 0.9 * limit


def test_a_family_gives_its_widest_member_that_fits(teacher: nn.Module, tmp_path: Path) -> None:
    class Deep(nn.Sequential):
        def __init__(self, width: int, depth: int) -> None:
            more = [layer for _ in range(depth - 1) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
            pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
            super().__init__(nn.Conv2d(1, width, 5, 2), nn.ReLU(), *more, *pool)

    ask = {"formats": ("onnx",), "schedule": SHORT, "device": HOST, "student": Deep}
    result = compress(teacher, Stripes(), Budget(size_bytes=6_000), workdir=tmp_path, **ask)  # type: ignore[arg-type]
    assert result.met
    compared = {entry["depth"]: entry["quick_loss"] for entry in result.rounds if "quick_loss" in entry}
    assert set(compared) == {1, 2, 3}
    assert result.plan.depth == min(compared, key=lambda depth: compared[depth])
    assert result.plan.width is not None
    assert result.binding is not None
    assert result.binding.used > 0.9


def test_whether_a_block_goes_a_short_training_decides(tmp_path: Path) -> None:
    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x + self.second(torch.relu(self.first(x))))

    torch.manual_seed(0)
    blocks = [Block(16), Block(16)]
    module = nn.Sequential(
        nn.Conv2d(1, 16, 5, 4), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    )
    train_model(module, Stripes(), Recipe(epochs=2, learning_rate=1e-2), workdir=tmp_path / "teacher")
    with torch.no_grad():
        blocks[1].second.weight.zero_()  # without it nothing changes, so that leaving it out is predicted to be free
    ask: dict[str, Any] = {"formats": ("onnx",), "schedule": SHORT, "device": HOST, "workdir": tmp_path / "run"}

    result = compress(module, Stripes(), Budget(size_bytes=9_000), **ask)

    assert result.met
    compared = {tuple(entry["dropped"]): entry["quick_loss"] for entry in result.rounds if "quick_loss" in entry}
    assert set(compared) == {("3",), ()}
    assert result.plan.dropped == min(compared, key=lambda dropped: compared[dropped])
    again = compress(module, Stripes(), Budget(size_bytes=9_000), **ask)
    assert again.plan == result.plan


def test_a_given_student_is_used_as_it_is_where_it_fits(teacher: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(1)
    student = Residual(6)
    budget = Budget(size_bytes=30_000)
    result = compress(
        teacher, Stripes(), budget, student=student, formats=("tflite",), schedule=SHORT, device=HOST, workdir=tmp_path
    )
    assert result.plan.cuts_nothing
    shapes = [tuple(layer.weight.shape) for layer in read_integers(result.artifacts["tflite"].path)["main"]]
    assert shapes[0] == (6, 1, 3, 3)


@pytest.mark.long
def test_several_signatures_share_one_budget(tmp_path: Path) -> None:
    image = Stripes.signatures["main"]

    class Both(Stripes):
        signatures = {  # noqa: RUF012  (the protocol's own form)
            "main": image,
            "confidence": replace(image, calls_per_use=3.0),
            "lesson": replace(image, exported=False),
        }

        def exported(self, model: nn.Module, signature: str) -> nn.Module:
            return _Confidence(model) if signature == "confidence" else model

        def train_batches(self, epoch: int) -> Iterator[Batch]:
            return (replace(batch, signature="lesson") for batch in super().train_batches(epoch))

        def assets(self) -> dict[str, bytes]:
            return {"labels.txt": b"four directions"}

        def pictures(self, predicts: Mapping[str, Predict]) -> list[Picture]:
            answers = {name: predict(self.calibration_inputs())["logits"].shape for name, predict in predicts.items()}
            return [Picture(str(answers), b"\x89PNG of a test")]

    class _Confidence(nn.Module):
        """How sure the model is of each class, nothing below zero."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Tensor:
            return torch.relu(self.model(image))

    teacher = train_model(Residual(16), Both(), Recipe(epochs=4, learning_rate=1e-2), workdir=tmp_path / "teacher")
    result = compress(
        teacher,
        Both(),
        Budget(size_bytes=9_000, latency_ms=50),
        formats=("tflite",),
        schedule=SHORT,
        device=HOST,
        workdir=tmp_path / "run",
    )
    artifact = result.artifacts["tflite"]
    assert result.met
    assert read_integers(artifact.path).keys() == {"main", "confidence"}  # the lesson was for training alone
    assert result.history
    assert artifact.latency is not None
    assert artifact.latency_ms is not None
    assert artifact.latency_ms > 2 * artifact.latency.p50_ms  # four calls a use
    assert (artifact.path.parent / "assets" / "labels.txt").read_bytes() == b"four directions"
    ((caption, picture),) = result.pictures
    assert caption == "{'teacher': (128, 4), 'tflite': (128, 4)}"
    assert picture.read_bytes() == b"\x89PNG of a test"
    assert result.report_path is not None
    assert "data:image/png;base64," in result.report_path.read_text()


@pytest.mark.slow
def test_a_latency_budget_is_met_on_measured_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = train_model(Residual(96), Stripes(), Recipe(epochs=2, learning_rate=1e-2), workdir=tmp_path / "teacher")
    ask = {"formats": ("tflite",), "schedule": SHORT, "device": HOST}
    uncut = compress(wide, Stripes(), Budget(latency_ms=50), workdir=tmp_path / "a", **ask)  # type: ignore[arg-type]
    assert uncut.plan.cuts_nothing
    assert uncut.teacher.quantized_latency is not None
    limit = 0.7 * uncut.teacher.quantized_latency.p50_ms
    result = compress(wide, Stripes(), Budget(latency_ms=limit), workdir=tmp_path / "b", **ask)  # type: ignore[arg-type]
    assert result.met
    assert not result.plan.cuts_nothing
    assert (result.artifacts["tflite"].latency_ms or limit) < limit


@pytest.mark.long
def test_a_share_of_the_teachers_latency_is_met_where_it_can_be_measured(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = train_model(Residual(96), Stripes(), Recipe(epochs=2, learning_rate=1e-2), workdir=tmp_path / "teacher")
    result = compress(
        wide,
        Stripes(),
        Budget(latency_share=0.2),
        formats=("tflite", "coreml"),
        schedule=SHORT,
        device=HOST,
        workdir=tmp_path / "run",
    )
    assert result.met
    assert not result.plan.cuts_nothing
    tflite, coreml = result.limits
    assert (tflite.name, tflite.limit, coreml.status) == ("latency_share", 0.2, "unmeasured")
    assert result.teacher.use is not None
    assert tflite.measured == (result.artifacts["tflite"].latency_ms or 0.0) / result.teacher.use.latency_ms
    assert 0.0 < tflite.measured < 0.2


def test_a_latency_that_other_work_disturbed_is_measured_again_before_anything_is_trained_again(
    teacher: nn.Module, tmp_path: Path
) -> None:
    class Disturbed(QuickHost):
        """Slow, and rightly unsure, whenever it sees a trained file for the first time."""

        seen: set[bytes]

        def measure(self, path: Path, format: Format, inputs: Any = None, **options: Any) -> devices.Measurement | None:
            found = super().measure(path, format, inputs, **options)
            if "artifacts" not in path.parts or path.read_bytes() in self.seen or found is None:
                return found
            self.seen.add(path.read_bytes())
            samples = tuple(tuple(1000 * sample for sample in run) for run in found.samples_ms)
            slow = {"samples_ms": samples, "verdict": "invalid", "reasons": ("other work",)}
            latencies = {name: 1000 * getattr(found, name) for name in ("latency_ms", "p50_ms", "p90_ms")}
            interval = {"ci95_ms": tuple(1000 * end for end in found.ci95_ms)}
            return found.model_copy(update={**slow, **latencies, **interval})

    device = Disturbed()
    device.seen = set()
    result = compress(
        teacher,
        Stripes(),
        Budget(latency_ms=10),
        formats=("onnx",),
        schedule=replace(SHORT, distill=Recipe(epochs=2)),
        device=device,
        workdir=tmp_path,
    )
    assert device.seen
    assert result.met
    assert not any(entry["trained"] for entry in result.rounds)


def test_a_student_that_learned_nothing_reaches_nothing(teacher: nn.Module, tmp_path: Path) -> None:
    idle = Schedule(cut_steps=1, distill=Recipe(epochs=0), quantize=Recipe(epochs=0), quick=Recipe(epochs=0))
    torch.manual_seed(3)
    with pytest.raises(BudgetError, match="keep size_bytes = 6,000 on onnx answer no better than one that never looks"):
        compress(
            teacher,
            Stripes(),
            Budget(size_bytes=6_000),
            student=_Deaf(),
            formats=("onnx",),
            schedule=idle,
            device=HOST,
            workdir=tmp_path,
        )


class _Deaf(nn.Module):
    """Answers the same to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.ear = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        heard = torch.relu(self.ear(image) - 100.0)
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(heard, 1).flatten(1))
        return logits


def test_another_call_never_touches_a_run(teacher: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"budget": "another"}')
    with pytest.raises(InputError, match="holds another run"):
        compress(teacher, Stripes(), Budget(size_bytes=12_000), schedule=SHORT, device=HOST, workdir=tmp_path)
    assert (tmp_path / "run.json").read_text() == '{"budget": "another"}'


def test_another_device_or_model_is_another_run(teacher: nn.Module, tmp_path: Path) -> None:
    ask: dict[str, Any] = {"formats": ("onnx",), "schedule": SHORT, "workdir": tmp_path}
    compress(teacher, Stripes(), Budget(size_bytes=500_000), device=HOST, **ask)

    elsewhere = QuickHost()
    elsewhere.name = "elsewhere"  # type: ignore[misc]  # final, but this is a test
    with pytest.raises(InputError, match="differs in device"):
        compress(teacher, Stripes(), Budget(size_bytes=500_000), device=elsewhere, **ask)
    other = copy.deepcopy(teacher)  # the same weights in layers that compute something else
    for part in other.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 0.1
    with pytest.raises(InputError, match="differs in teacher"):
        compress(other, Stripes(), Budget(size_bytes=500_000), device=HOST, **ask)


@pytest.mark.parametrize("quantize", ["int8", quantize.Int8])
def test_a_scheme_is_an_object(teacher: nn.Module, tmp_path: Path, quantize: Any) -> None:
    with pytest.raises(InputError, match=r"quantize must be a scheme such as quantize\.Int8\(\)"):
        compress(teacher, Stripes(), Budget(size_bytes=9_000), quantize=quantize, workdir=tmp_path)


def test_a_limit_on_a_format_that_is_not_written_is_refused(teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limits only coreml, but the files are onnx"):
        compress(teacher, Stripes(), Budget(size_bytes={"coreml": 9_000}), formats=("onnx",), workdir=tmp_path)


JOB = """
import torch
from mobiledistill import Recipe, Schedule, train_model
from tests.networks import Residual, Stripes

task = Stripes

def teacher():
    torch.manual_seed(0)
    return train_model(Residual(24), Stripes(), Recipe(epochs=4, learning_rate=1e-2), workdir={folder!r})

def schedule():
    return Schedule(cut_steps=2, cut=Recipe(epochs=2, learning_rate=1e-3), distill=Recipe(epochs=6),
                    quantize=Recipe(epochs=2, learning_rate=5e-4), stretch=1.0)
"""


@pytest.mark.long
def test_a_run_killed_at_five_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB.format(folder=str(tmp_path / "teacher")))

    def start(workdir: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mobiledistill", "compress", str(job), "--size", "7kB", "--formats", "onnx"]
        return subprocess.Popen(
            [*command, "--workdir", str(tmp_path / workdir), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def answer(process: subprocess.Popen[str]) -> dict[str, object]:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        found: dict[str, object] = json.loads(out)
        return found

    whole = answer(start("whole"))
    for moment in ("search", "cut 1/2", "distill    2", "quantize   1", "convert"):
        process = start("killed")
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(moment):
                break
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = answer(start("killed"))
    assert resumed["plan"] == whole["plan"]
    assert resumed["score"] == whole["score"]
    first, second = (load_program(tmp_path / run / "artifacts" / "student.pt2") for run in ("whole", "killed"))
    for name, value in first.module.state_dict().items():
        torch.testing.assert_close(second.module.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["file", "several", "cached"])
def test_teachers_of_other_kinds_teach_too(teacher: nn.Module, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(2)
    student: nn.Module | None = Residual(6)
    if kind == "file":
        image = torch.zeros(1, 1, 16, 16)
        given: Any = convert(Program(teacher.eval(), {"image": image}, ("logits",)), tmp_path / "teacher.onnx")
    elif kind == "several":
        given = [teacher, TorchTeacher(teacher, dtype=torch.bfloat16)]
    else:
        given, student = Cached(TorchTeacher(teacher), tmp_path), None  # it can be cut all the same
    result = compress(
        given,
        Stripes(),
        Budget(size_bytes=14_000),
        student=student,
        distill=SoftTargets() + 0.3 * Hints() if kind == "cached" else None,
        formats=("onnx",),
        schedule=replace(SHORT, rounds=0),
        device=HOST,
        workdir=tmp_path / "run",
    )
    assert result.met
    assert result.score.value > 40  # a quarter is chance
    assert (result.teacher.size_bytes is None) == (kind == "several")
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    found = {one["illness"] for one in json.loads((tmp_path / "run" / "doctor.json").read_text())}
    assert found <= {"slow teacher", "starved"}  # which depend on what else the machine does
    assert (kind == "cached") == bool(list(tmp_path.glob("answers-*/*.safetensors")))


class Doubled(Stripes):
    """Every batch comes twice."""

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        for batch in super().train_batches(epoch):
            yield from (batch, batch)


def test_what_the_doctor_saw_outlives_the_process_that_trained(teacher: nn.Module, tmp_path: Path) -> None:
    def notes() -> tuple[str, ...]:
        schedule = replace(SHORT, rounds=0, cut_steps=1, distill=Recipe(epochs=1), quantize=Recipe(epochs=1))
        budget = Budget(size_bytes=14_000)
        return compress(
            teacher, Doubled(), budget, formats=("onnx",), schedule=schedule, device=HOST, workdir=tmp_path
        ).notes

    (first,) = notes()
    assert "different ones" in first
    assert notes() == (first,)  # every phase is recalled


def test_what_the_doctor_saw_is_in_the_report(teacher: nn.Module, tmp_path: Path) -> None:
    result = compress(
        teacher,
        Stripes(),
        Budget(size_bytes=14_000),
        distill=SoftTargets(temperature=100.0),
        formats=("onnx",),
        schedule=replace(SHORT, rounds=0, cut_steps=1),
        device=HOST,
        workdir=tmp_path,
    )
    (note,) = result.notes
    assert note.startswith("The doctor, before training: at temperature 100")
    assert "lowered the temperature to 4" in note
    assert "The doctor, before training" in (tmp_path / "report.html").read_text()


def test_a_teacher_that_is_no_module_cannot_be_cut_or_compared_in_speed(teacher: nn.Module, tmp_path: Path) -> None:
    image = torch.zeros(1, 1, 16, 16)
    path = convert(Program(teacher.eval(), {"image": image}, ("logits",)), tmp_path / "teacher.onnx")
    with pytest.raises(InputError, match="give student="):
        compress(path, Stripes(), Budget(size_bytes=14_000), workdir=tmp_path / "a")
    with pytest.raises(InputError, match="latency_ms"):
        compress(
            path,
            Stripes(),
            Budget(latency_share=0.5),
            student=Residual(6),
            formats=("onnx",),
            device=HOST,
            workdir=tmp_path / "b",
        )
    with pytest.raises(InputError, match="not int"):
        compress(3, Stripes(), Budget(size_bytes=14_000), workdir=tmp_path / "c")  # type: ignore[arg-type]
