"""Teachers of every kind: one contract, then what each is for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from converters import Program, convert
from mobiledistill import InputError, Recipe, Task, train_model
from mobiledistill.distill import SoftTargets
from mobiledistill.teachers import Answers, Cached, Ensemble, FileTeacher, Specialist, Teacher, TorchTeacher
from tests.networks import Residual, Stripes, settled

TASK = Stripes()
BATCH = next(iter(TASK.train_batches(0)))


def _module(seed: int = 0) -> Residual:
    torch.manual_seed(seed)
    net = settled(Residual(), BATCH.inputs["image"])
    assert isinstance(net, Residual)
    return net


def _asked(teacher: Teacher, rows: slice = slice(None)) -> Tensor:
    return teacher.answers(TASK, {"image": BATCH.inputs["image"][rows]}).outputs["logits"]


def _asked_of(images: Tensor) -> Tensor:
    return TorchTeacher(_module()).answers(TASK, {"image": images}).outputs["logits"]


class Counted(Teacher):
    """Counts the samples that it is asked."""

    def __init__(self, teacher: Teacher) -> None:
        self.samples = 0
        self._teacher = teacher

    @property
    def fingerprint(self) -> str:
        return self._teacher.fingerprint

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        self.samples += len(next(iter(inputs.values())))
        return self._teacher.answers(task, inputs, signature, layers)

    def layer_shapes(self, task: Task, signature: str) -> Mapping[str, tuple[int, ...]]:
        return self._teacher.layer_shapes(task, signature)


@pytest.fixture(scope="module", params=["torch", "cached", "ensemble", "specialist", "onnx", "tflite", "coreml"])
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("teacher")
    own = TorchTeacher(_module())
    suffix = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}.get(request.param)
    if suffix:
        program = Program(_module(), {"image": BATCH.inputs["image"][:1]}, ("logits",))
        return FileTeacher(convert(program, folder / f"net{suffix}"))
    made: dict[str, Teacher] = {
        "torch": own,
        "cached": Cached(own, folder),
        "ensemble": Ensemble([own, TorchTeacher(_module(1))]),
        "specialist": Specialist(own, (0, 2)),
    }
    return made[request.param]


def test_it_answers_what_the_task_asks(teacher: Teacher) -> None:
    teacher.check(TASK)
    answers = _asked(teacher)
    assert answers.shape == (64, 4)
    assert answers.dtype is torch.float32
    assert not answers.requires_grad


def test_the_batch_around_a_sample_does_not_matter(teacher: Teacher) -> None:
    torch.testing.assert_close(_asked(teacher)[3:5], _asked(teacher, slice(3, 5)), rtol=1e-4, atol=1e-4)


def test_its_fingerprint_stays_and_is_its_own(teacher: Teacher) -> None:
    assert teacher.fingerprint == teacher.fingerprint
    assert teacher.fingerprint != TorchTeacher(_module(7)).fingerprint


def test_files_answer_as_the_module_that_they_were_written_from(teacher: Teacher) -> None:
    if isinstance(teacher, FileTeacher):
        torch.testing.assert_close(_asked(teacher), _asked(TorchTeacher(_module())), rtol=1e-3, atol=1e-3)


def test_a_teacher_may_compute_in_16_bits(capfd: pytest.CaptureFixture[str]) -> None:
    half = _asked(TorchTeacher(_module(), dtype=torch.bfloat16))
    full = _asked(TorchTeacher(_module()))
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)
    assert not torch.equal(half, full)


def test_layers_come_with_the_answers() -> None:
    teacher = TorchTeacher(_module())
    shapes = teacher.layer_shapes(TASK, "main")
    assert shapes["stem"] == (1, 8, 8, 8)
    assert list(shapes)[-1] == "head"
    seen = teacher.answers(TASK, BATCH.inputs, layers=["stem"]).layers["stem"]
    assert seen.shape == (64, 8, 8, 8)
    assert not seen.requires_grad


class TestCached:
    def test_a_sample_is_asked_once_whatever_the_order(self, tmp_path: Path) -> None:
        asked = Counted(TorchTeacher(_module()))
        cached = Cached(asked, tmp_path)
        first = _asked(cached)
        torch.testing.assert_close(_asked(cached, slice(10, 50, 3)), first[10:50:3], rtol=0, atol=0)
        mixed = torch.cat([BATCH.inputs["image"][5:7], 2 * BATCH.inputs["image"][:2]])
        answers = cached.answers(TASK, {"image": mixed}).outputs["logits"]
        torch.testing.assert_close(answers[:2], first[5:7], rtol=0, atol=0)
        assert asked.samples == 64 + 2
        torch.testing.assert_close(answers[2:], _asked_of(mixed[2:]))

    def test_answers_outlive_the_process(self, tmp_path: Path) -> None:
        cached = Cached(TorchTeacher(_module()), tmp_path)
        first = _asked(cached)
        cached.flush()
        asked = Counted(TorchTeacher(_module()))
        torch.testing.assert_close(_asked(Cached(asked, tmp_path)), first, rtol=0, atol=0)
        assert asked.samples == 0

    def test_code_that_changed_is_asked_anew(self, tmp_path: Path) -> None:
        class Louder(Stripes):
            def exported(self, model: nn.Module, signature: str) -> nn.Module:
                return nn.Sequential(model, nn.Softmax(1))

        cached = Cached(TorchTeacher(_module()), tmp_path)
        first = _asked(cached)
        Louder.__module__ = Cached.__module__  # as if its file had other contents
        louder = cached.answers(Louder(), {"image": BATCH.inputs["image"]}).outputs["logits"]
        torch.testing.assert_close(louder, torch.softmax(first, 1))

    def test_another_teacher_in_the_same_folder_is_asked_itself(self, tmp_path: Path) -> None:
        cached = Cached(TorchTeacher(_module()), tmp_path)
        _asked(cached)
        cached.flush()
        torch.testing.assert_close(_asked(Cached(TorchTeacher(_module(1)), tmp_path)), _asked(TorchTeacher(_module(1))))

    def test_a_damaged_shard_costs_its_answers_and_nothing_else(self, tmp_path: Path) -> None:
        cached = Cached(TorchTeacher(_module()), tmp_path)
        first = _asked(cached)
        cached.flush()
        (shard,) = tmp_path.rglob("*.safetensors")
        shard.write_bytes(shard.read_bytes()[:100])
        torch.testing.assert_close(_asked(Cached(TorchTeacher(_module()), tmp_path)), first)

    def test_no_more_is_kept_than_allowed(self, tmp_path: Path) -> None:
        asked = Counted(TorchTeacher(_module()))
        cached = Cached(asked, tmp_path, most_bytes=10 * 4 * 4)
        torch.testing.assert_close(_asked(cached), _asked(TorchTeacher(_module())))
        _asked(cached, slice(0, 8))
        _asked(cached, slice(0, 8))
        assert asked.samples == 64 + 8
        for _ in range(2):  # what is kept already leaves no room for these
            _asked(cached, slice(8, 16))
        assert asked.samples == 64 + 8 + 16
        with pytest.raises(InputError, match="most_bytes"):
            Cached(asked, tmp_path, most_bytes=0)


class TestEnsemble:
    def test_what_its_members_keep_is_written(self, tmp_path: Path) -> None:
        cached = Cached(TorchTeacher(_module()), tmp_path)
        both = Ensemble([TorchTeacher(_module(1)), Specialist(cached, (1, 3))])
        _asked(both)
        assert list(tmp_path.rglob("*.safetensors")) == []
        both.flush()
        assert len(list(tmp_path.rglob("*.safetensors"))) == 1

    def test_soft_targets_at_its_temperature_see_the_mean_of_the_softened_answers(self) -> None:
        one, other = TorchTeacher(_module()), TorchTeacher(_module(1))
        together = _asked(Ensemble([one, other], weights=[3, 1], temperature=2.0))
        expected = 0.75 * torch.softmax(_asked(one) / 2, 1) + 0.25 * torch.softmax(_asked(other) / 2, 1)
        torch.testing.assert_close(torch.softmax(together / 2, 1), expected, rtol=1e-4, atol=1e-5)

    def test_a_specialist_shares_its_classes_anew_and_touches_no_other(self) -> None:
        one, other = TorchTeacher(_module()), TorchTeacher(_module(1))
        plain = torch.softmax(_asked(one), 1)
        both = torch.softmax(_asked(Ensemble([one, Specialist(other, (1, 3))], temperature=1.0)), 1)
        torch.testing.assert_close(both[:, [0, 2]], plain[:, [0, 2]], rtol=1e-4, atol=1e-5)
        expert = torch.softmax(_asked(other)[:, [1, 3]], 1)
        mass = plain[:, [1, 3]].sum(1, keepdim=True)
        expected = mass * (plain[:, [1, 3]] / mass + expert) / 2
        torch.testing.assert_close(both[:, [1, 3]], expected, rtol=1e-4, atol=1e-5)

    def test_what_is_no_ensemble_is_refused(self) -> None:
        one = TorchTeacher(_module())
        for make in (
            lambda: Ensemble([one]),
            lambda: Ensemble([one, one], weights=[1.0]),
            lambda: Ensemble([one, one], weights=[1.0, -1.0]),
            lambda: Ensemble([one, one], temperature=0.0),
            lambda: Ensemble([Specialist(one, (0, 1)), Specialist(one, (2, 3))]),
            lambda: Specialist(one, (1,)),
            lambda: Specialist(one, (-1, 1)),
        ):
            with pytest.raises(InputError):
                make()


class TestFile:
    def test_names_go_by_order_or_as_told(self, tmp_path: Path) -> None:
        program = Program(_module(), {"pixels": BATCH.inputs["image"][:1]}, ("scores",))
        path = convert(program, tmp_path / "net.onnx")
        expected = _asked(TorchTeacher(_module()))
        torch.testing.assert_close(_asked(FileTeacher(path)), expected, rtol=1e-4, atol=1e-4)
        named = FileTeacher(path, names={"image": "pixels", "logits": "scores"})
        torch.testing.assert_close(_asked(named), expected, rtol=1e-4, atol=1e-4)
        with pytest.raises(InputError, match="say with names"):
            _asked(FileTeacher(path, names={"image": "picture"}))

    def test_what_is_no_file_or_damaged_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            FileTeacher(tmp_path / "nothing.onnx")
        (tmp_path / "bad.tflite").write_bytes(b"TFL3" * 40)
        with pytest.raises(InputError):
            FileTeacher(tmp_path / "bad.tflite")
        (tmp_path / "saved").mkdir()
        (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
        with pytest.raises(InputError, match="trust"):
            FileTeacher(tmp_path / "saved")

    def test_a_signature_that_it_does_not_have_is_told(self, tmp_path: Path) -> None:
        programs = [Program(_module(), {"image": BATCH.inputs["image"][:1]}, ("logits",), name) for name in ("a", "b")]
        teacher = FileTeacher(convert(programs, tmp_path / "net.tflite"))
        with pytest.raises(InputError, match="the signatures a, b, but not 'main'"):
            _asked(teacher)

    def test_it_has_no_layers(self, tmp_path: Path) -> None:
        program = Program(_module(), {"image": BATCH.inputs["image"][:1]}, ("logits",))
        assert FileTeacher(convert(program, tmp_path / "net.onnx")).layer_shapes(TASK, "main") == {}


def test_a_teacher_with_other_classes_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match="same classes"):
        train_model(Residual(), TASK, Recipe(epochs=1), workdir=tmp_path, teacher=Residual(classes=7))


def test_a_student_learns_from_any_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = train_model(Residual(16), TASK, Recipe(epochs=12, learning_rate=1e-2), workdir=tmp_path)
    cached = Cached(TorchTeacher(teacher), tmp_path)
    student = train_model(
        Residual(6),
        TASK,
        Recipe(epochs=12, learning_rate=1e-2),
        workdir=tmp_path,
        teacher=cached,
        distill=SoftTargets(hard=0.0, soft=1.0),
    )
    logits = student(BATCH.inputs["image"])
    assert (logits.argmax(1) == BATCH.targets["label"]).float().mean() > 0.8
    assert cached.hit_rate > 0.8
