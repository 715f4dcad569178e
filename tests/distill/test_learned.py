"""Losses that look into layers or learn with the student: each on real pairs of networks, through a lesson."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mobiledistill import Batch, Head, InputError, Output, Signature, TensorSpec
from mobiledistill._lesson import Lesson
from mobiledistill.distill import (
    AdversarialExamples,
    AnnealedTargets,
    AttentionMaps,
    AttentionTransfer,
    AuxiliaryHead,
    BestPaths,
    Discriminator,
    HardTargets,
    Hints,
    LearnedTemperature,
    LearnedWeights,
    Loss,
    MutualLearning,
    SoftTargets,
)
from mobiledistill.teachers import TorchTeacher
from tests.distill._steps import noise, step_of, told
from tests.networks import Residual, Stripes

TASK = Stripes()


def _net(width: int, seed: int = 0) -> Residual:
    torch.manual_seed(seed)
    return Residual(width)


class Reader(nn.Module):
    """A Transformer encoder of any depth and width on sequences of 6 places."""

    def __init__(self, width: int, depth: int, heads: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Linear(3, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 4)

    def forward(self, places: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.embedding(places)).mean(1))
        return logits


class Reading(Stripes):
    """The same stripes, read as sequences."""

    signatures: Mapping[str, Signature] = {
        "main": Signature({"image": TensorSpec((1, 6, 3))}, {"logits": Output((1, 4), Head.CATEGORICAL)})
    }

    def __init__(self) -> None:
        super().__init__()
        self._data = {split: (images.reshape(len(images), -1)[:, :18].reshape(-1, 6, 3), labels)
                      for split, (images, labels) in self._data.items()}  # fmt: skip


LOSSES: dict[str, Loss] = {
    "hints": Hints(),
    "named hints": Hints({"second": "depthwise"}),
    "attention transfer": 100 * AttentionTransfer(),
    "auxiliary head": AuxiliaryHead("first"),
    "discriminator": SoftTargets() + 0.1 * Discriminator(),
    "discriminator of layers": SoftTargets() + 0.1 * Discriminator({"second": "second"}),
    "adversarial examples": AdversarialExamples(SoftTargets()),
    "adversarial examples of hints": AdversarialExamples(SoftTargets() + Hints()),
    "annealed": AnnealedTargets(),
    "learned temperature": LearnedTemperature(),
    "learned weights": LearnedWeights(SoftTargets(), Hints()),
    "mutual": HardTargets() + MutualLearning(_net(4, seed=5)),
    "then": SoftTargets(hard=0.0).then(SoftTargets()),
    "on": SoftTargets().on("logits"),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def _lesson(loss: Loss, width: int = 6) -> Lesson:
    lesson = Lesson(TASK, {"main": _net(width)}, TorchTeacher(_net(16, seed=1)), loss)
    torch.manual_seed(2)
    return lesson.train()


@every_loss
def test_a_student_gets_better_at_it(loss: Loss) -> None:
    lesson = _lesson(loss)
    batch = next(iter(TASK.train_batches(0)))
    optimizer = torch.optim.Adam(lesson.parameters(), lr=1e-2)
    values = []
    for _ in range(25):
        value = lesson(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.isfinite(values).all()
    assert np.mean(values[-5:]) < values[0]


@every_loss
def test_student_and_whatever_learns_with_it_get_gradients_and_the_teacher_none(loss: Loss) -> None:
    teacher = _net(16, seed=1)
    lesson = Lesson(TASK, {"main": _net(6)}, TorchTeacher(teacher), loss)
    lesson(next(iter(TASK.train_batches(0))), 0.7).backward()
    moved = {name for name, value in lesson.named_parameters() if value.grad is not None and bool(value.grad.any())}
    assert any(name.startswith("students.") for name in moved)
    assert {name for name, _ in lesson.named_parameters() if name.startswith("losses.")} <= moved
    assert all(value.grad is None for value in teacher.parameters())
    assert not any(parameter is own for parameter in teacher.parameters() for own in lesson.parameters())


@every_loss
def test_what_is_left_for_a_rounded_student_needs_no_layers(loss: Loss) -> None:
    rest = loss.of_outputs()
    if rest is not None:
        assert rest.of_outputs() is rest
        assert torch.isfinite(told(rest, step_of(noise(4, 3), noise(4, 3, seed=1))))


def test_hints_are_0_for_a_student_that_can_say_all_the_teacher_sees() -> None:
    net = _net(8)
    lesson = Lesson(TASK, {"main": net}, TorchTeacher(net), Hints({"stem": "stem"}))
    (adaptor,) = (module for module in lesson.losses.modules() if isinstance(module, nn.Conv2d))
    nn.init.dirac_(adaptor.weight)
    assert adaptor.bias is not None
    nn.init.zeros_(adaptor.bias)
    batch = next(iter(TASK.train_batches(0)))
    assert lesson.eval()(batch).item() == pytest.approx(0.0, abs=1e-6)
    nn.init.zeros_(adaptor.weight)
    assert lesson(batch).item() == pytest.approx(1.0)


def test_masked_hints_see_the_foreground_alone() -> None:
    lesson = Lesson(
        TASK, {"main": _net(6)}, TorchTeacher(_net(16, seed=1)), Hints({"stem": "stem"}, mask="seen")
    ).eval()
    batch = next(iter(TASK.train_batches(0)))
    left = torch.zeros(len(batch.inputs["image"]), 16, 16)
    left[:, :, :4] = 1
    noisy = batch.inputs["image"].clone()
    noisy[..., 12:] = 0

    def loss(image: Tensor, mask: Tensor) -> float:
        return float(lesson(Batch({"image": image}, {**batch.targets, "seen": mask})).detach())

    assert loss(noisy, left) == pytest.approx(loss(batch.inputs["image"], left))
    assert loss(noisy, 1 - left) != pytest.approx(loss(batch.inputs["image"], 1 - left))


def test_attention_transfer_does_not_care_how_many_channels_look() -> None:
    maps = noise(4, 1, 6, 6).relu() + 0.1

    class Copies(nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.maps = nn.Conv2d(1, count, 1, bias=False)
            nn.init.ones_(self.maps.weight)
            self.head = nn.Linear(count, 4)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.head(self.maps(image).mean((2, 3)))
            return logits

    loss = AttentionTransfer({"maps": "maps"})
    lesson = Lesson(TASK, {"main": Copies(3)}, TorchTeacher(Copies(7)), loss)
    labels = {"label": torch.zeros(4, dtype=torch.long)}
    assert lesson(Batch({"image": maps}, labels)).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("heads", [2, 4])
def test_transformers_of_other_depth_and_width_are_matched_layer_by_layer(heads: int) -> None:
    task = Reading()
    student, teacher = Reader(8, 2), Reader(16, 4, heads)
    lesson = Lesson(task, {"main": student}, TorchTeacher(teacher), Hints() + AttentionMaps())
    hints, maps = lesson.losses["main"].parts  # type: ignore[misc]
    assert hints.pairs == [
        ("embedding", "embedding"),
        ("encoder.layers.0", "encoder.layers.1"),
        ("encoder.layers.1", "encoder.layers.3"),
    ]
    assert maps.pairs == [("attention.0", "attention.1"), ("attention.1", "attention.3")]
    value = lesson.train()(next(iter(task.train_batches(0))))
    value.backward()
    assert student.encoder.layers[0].self_attn.in_proj_weight.grad.any()  # type: ignore[union-attr, operator]


def test_a_transformers_own_attention_costs_nothing() -> None:
    task, net = Reading(), Reader(8, 2)
    lesson = Lesson(task, {"main": net}, TorchTeacher(net), AttentionMaps()).eval()
    assert lesson(next(iter(task.train_batches(0)))).item() == pytest.approx(0.0, abs=1e-5)


def test_attention_maps_are_what_torch_computes() -> None:
    from mobiledistill._layers import run_with_layers

    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    rows = noise(3, 5, 8)
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    _, expected = attention(rows, rows, rows, attn_mask=causal, average_attn_weights=False)

    class Asked(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            seen: Tensor = attention(rows, rows, rows, attn_mask=causal, need_weights=False)[0]
            return seen

    _, found = run_with_layers(Asked(), [rows], ["attention.0"])
    torch.testing.assert_close(found["attention.0"], expected)


def test_the_temperature_climbs_the_loss_that_the_student_descends() -> None:
    lesson = _lesson(LearnedTemperature(hard=0.0, soft=1.0))
    (place,) = (value for name, value in lesson.named_parameters() if name.endswith("place"))
    batch = next(iter(TASK.train_batches(0)))
    with torch.no_grad():
        before = lesson(batch, 1.0).item()
    lesson(batch, 1.0).backward()
    assert place.grad is not None
    with torch.no_grad():
        place -= 0.5 * place.grad.sign()  # as any optimiser would step
        assert lesson(batch, 1.0).item() > before
        lesson.zero_grad()
    lesson(batch, 0.0).backward()
    assert place.grad is None or place.grad.item() == 0.0  # the curriculum begins with the first temperature


def test_adversarial_examples_cost_more_than_random_steps_of_their_length() -> None:
    plain, moved = _lesson(SoftTargets()), _lesson(AdversarialExamples(SoftTargets(), epsilon=0.2))
    moved.students.load_state_dict(plain.students.state_dict())
    plain.eval(), moved.eval()
    batch = next(iter(TASK.train_batches(0)))
    image = batch.inputs["image"]
    here = plain(batch).item()
    adversarial = moved(batch).item() - here
    for seed in range(3):
        step = 0.2 * image.std() * noise(*image.shape, seed=seed).sign()
        assert adversarial > plain(Batch({"image": image + step}, batch.targets)).item()


def test_best_paths_ask_for_the_order_and_not_for_the_frame() -> None:
    spoken = torch.full((1, 6, 4), -9.0)
    later = spoken.clone()
    for logits, frames in ((spoken, [1, 1, 0, 2, 0, 0]), (later, [0, 0, 1, 0, 2, 2])):
        for frame, token in enumerate(frames):
            logits[0, frame, token] = 9.0
    wrong = later.flip(1)
    assert told(BestPaths(), step_of(later, spoken, Head.CTC)).item() < 0.01
    assert told(BestPaths(), step_of(wrong, spoken, Head.CTC)).item() > 5
    assert told(BestPaths(), step_of(noise(2, 4), noise(2, 4, seed=1))).item() == 0.0  # no CTC head


def test_learned_weights_count_a_hopeless_loss_less() -> None:
    class Constant(SoftTargets):
        def __call__(self, step: Any) -> Tensor:
            return step.hard * 0 + 10.0

    lesson = _lesson(LearnedWeights(SoftTargets(), Constant()))
    optimizer = torch.optim.Adam(lesson.parameters(), lr=0.1)
    for batch in itertools.islice(TASK.train_batches(0), 8):
        optimizer.zero_grad()
        lesson(batch).backward()
        optimizer.step()
    (spread,) = (value for name, value in lesson.named_parameters() if name.endswith("spread"))
    assert spread[1] > spread[0]


def test_then_changes_the_loss_at_its_share() -> None:
    lesson = _lesson(HardTargets().then(2 * HardTargets(), at=0.25)).eval()
    batch = next(iter(TASK.train_batches(0)))
    first, second = lesson(batch, 0.24).item(), lesson(batch, 0.25).item()
    assert second == pytest.approx(2 * first)


def test_a_batch_without_labels_is_learned_from_the_teacher_alone() -> None:
    batch = next(iter(TASK.train_batches(0)))
    lesson = _lesson(SoftTargets()).eval()
    unlabelled = lesson(Batch(batch.inputs, {}, labelled=False))
    soft = _lesson(SoftTargets(hard=0.0, soft=0.7)).eval()
    assert unlabelled.item() == pytest.approx(soft(batch).item())
    unlabelled.backward()


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (Hints({"nowhere": "stem"}), "student has no layer 'nowhere'"),
        (Hints({"stem": "nowhere"}), "teacher has no layer 'nowhere'"),
        (Hints({"stem": "head"}), "different numbers of dimensions"),
        (AttentionTransfer({"head": "head"}), "compares outputs of 4 dimensions"),
        (AttentionMaps(), "scaled_dot_product_attention"),
        (AuxiliaryHead("nowhere"), "no layer 'nowhere'"),
        (SoftTargets().on("boxes"), "no output"),
    ],
)
def test_layers_and_outputs_that_do_not_exist_are_told(loss: Loss, match: str) -> None:
    with pytest.raises(InputError, match=match):
        _lesson(loss)


@pytest.mark.parametrize(
    "make",
    [
        lambda: -1 * SoftTargets(),
        lambda: SoftTargets() * float("nan"),
        lambda: SoftTargets().then(SoftTargets(), at=1.0),
        lambda: AnnealedTargets(start=0.0),
        lambda: LearnedTemperature(start=1.0),
        lambda: LearnedWeights(SoftTargets()),
        lambda: AdversarialExamples(epsilon=0.0),
        lambda: MutualLearning(),
        lambda: BestPaths(blank=-1),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(InputError):
        make()


def test_losses_of_layers_need_a_teacher_with_layers() -> None:
    with pytest.raises(InputError, match="none to look into"):
        Lesson(TASK, {"main": _net(6)}, None, Hints())


class Wrapped(nn.Module):
    """A network as training asks it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.net(image)
        return logits


class TwoWays(Stripes):
    """Files hold ``main``; training asks ``lesson``, whose layers have other paths."""

    signatures: Mapping[str, Signature] = {
        "main": Stripes.signatures["main"],
        "lesson": replace(Stripes.signatures["main"], exported=False),
    }

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        for batch in super().train_batches(epoch):
            yield replace(batch, signature="lesson")

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        return model if signature == "main" else Wrapped(model)


def test_layers_are_those_of_the_signatures_that_training_asks() -> None:
    task, student = TwoWays(), _net(6)
    students = {name: task.exported(student, name) for name in task.signatures}
    loss = SoftTargets() + Hints({"net.second": "net.depthwise"})
    lesson = Lesson(task, students, TorchTeacher(_net(16, seed=1)), loss)
    assert [name for name, _ in lesson.losses.named_parameters()] == [
        "lesson.parts.1.adaptors.0.weight",
        "lesson.parts.1.adaptors.0.bias",
    ]
    batch = next(iter(task.train_batches(0)))
    assert lesson.eval()(batch) > lesson(replace(batch, signature="main"))  # soft targets alone, where nobody looks
    with pytest.raises(InputError, match="no layer 'second'"):
        Lesson(task, students, TorchTeacher(_net(16, seed=1)), Hints({"second": "depthwise"}))


def test_losses_that_look_at_no_layer_ask_for_none() -> None:
    class Blind(TorchTeacher):
        def layer_shapes(self, task: Any, signature: str) -> Mapping[str, tuple[int, ...]]:
            raise AssertionError("nobody needs these")

    for loss in LOSSES.values():
        if not loss.reads_layers:
            Lesson(TASK, {"main": _net(6)}, Blind(_net(16)), loss)
    assert {name for name, loss in LOSSES.items() if loss.reads_layers} == {
        "hints", "named hints", "attention transfer", "auxiliary head", "discriminator of layers",
        "adversarial examples of hints", "learned weights",
    }  # fmt: skip


def test_moved_inputs_are_not_put_to_a_teacher_that_reads_others() -> None:
    batch = next(iter(TASK.train_batches(0)))
    apart = replace(batch, teacher_inputs={"image": 2 * batch.inputs["image"]})
    assert torch.isfinite(_lesson(SoftTargets())(apart))
    with pytest.raises(InputError, match="read different ones"):
        _lesson(AdversarialExamples(SoftTargets()))(apart)


def test_on_needs_an_output() -> None:
    with pytest.raises(InputError, match="one output or more"):
        SoftTargets().on()


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 8.0), (0.5, 5.0), (1.0, 2.0)])
def test_an_annealed_temperature_goes_from_start_to_end(progress: float, temperature: float) -> None:
    step = replace(step_of(noise(6, 4), noise(6, 4, seed=1)), progress=progress)
    assert told(AnnealedTargets(start=8.0, end=2.0), step).item() == pytest.approx(
        told(SoftTargets(temperature), step).item()
    )


def test_peers_learn_the_labels_the_student_and_the_student_them() -> None:
    peer = _net(5, seed=5)
    lesson = _lesson(MutualLearning(peer)).eval()
    batch = next(iter(TASK.train_batches(0)))
    with torch.no_grad():
        student, other = lesson.students["main"](batch.inputs["image"]), peer.eval()(batch.inputs["image"])
        apart = [
            functional.kl_div(one.log_softmax(1), two.softmax(1), reduction="batchmean")
            for one, two in ((student, other), (other, student))
        ]
        labels = functional.cross_entropy(other, batch.targets["label"])
        assert lesson(batch).item() == pytest.approx(float(sum(apart) + labels), rel=1e-4)
