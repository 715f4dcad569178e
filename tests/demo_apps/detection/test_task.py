"""The cells task: batches, assignment, scores, pictures, and that something can be learned from it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from demo_apps.detection import Augmentation, CellsTask, Dataset, Detector, LabelledImage, TeachersBoxes, demo
from demo_apps.detection._assign import assign, detection_loss, holds_object
from demo_apps.detection._boxes import pairwise_iou
from demo_apps.detection._drawn import CLASSES, drawn_images
from demo_apps.detection._network import CELLS, BoxDecoding, cell_grid
from demo_apps.detection._try_out import answer_image
from mobiledistill import Equipped, Illustrated, InputError, Task
from mobiledistill.distill import Step

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    parts = drawn_images()
    return Dataset(CLASSES, parts["train"][:24], parts["val"][:6], parts["test"][:6], "drawn", synthetic=True)


@pytest.fixture(scope="module")
def task(drawn: Dataset) -> CellsTask:
    return CellsTask(drawn, augmentation=Augmentation())


def knowing(task: CellsTask) -> dict[bytes, LabelledImage]:
    everything = [image for split in ("train", "validation", "test") for image in task.images(split)]
    return {(image.pixels.astype(np.float32) / np.float32(255)).tobytes(): image for image in everything}


class Oracle:
    """Answers with the truth: each true box from one cell."""

    def __init__(self, task: CellsTask, shift: float = 0.0) -> None:
        self.known, self.shift = knowing(task), shift

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        count = len(inputs["image"])
        boxes, scores = np.zeros((count, CELLS, 4), np.float32), np.full((count, CELLS, 3), -9, np.float32)
        for row, pixels in enumerate(inputs["image"]):
            image = self.known[pixels.tobytes()]
            boxes[row, : len(image.boxes)] = image.boxes + self.shift
            scores[row, np.arange(len(image.labels)), image.labels] = 4
        return {"boxes": boxes, "scores": scores}


def test_it_is_a_task_with_assets_and_pictures(task: CellsTask) -> None:
    assert isinstance(task, Task)
    assert isinstance(task, Equipped)
    assert isinstance(task, Illustrated)
    contents = json.loads(task.assets()["detection.json"])
    assert contents["classes"] == ["Platelets", "RBC", "WBC"]
    assert (contents["image"]["width"], contents["image"]["height"]) == (320, 240)


def test_batches_depend_on_seed_and_epoch_and_nothing_else(drawn: Dataset, task: CellsTask) -> None:
    first = list(task.train_batches(3))
    torch.manual_seed(99)
    again = list(CellsTask(drawn, augmentation=Augmentation()).train_batches(3))

    assert [len(batch.inputs["image"]) for batch in first] == [8, 8, 8]
    assert all(torch.equal(a.inputs["image"], b.inputs["image"]) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a.targets["boxes"], b.targets["boxes"]) for a, b in zip(first, again, strict=True))
    other_seed = next(CellsTask(drawn, seed=1, augmentation=Augmentation()).train_batches(3))
    for different in (next(task.train_batches(4)), other_seed):
        assert not torch.equal(first[0].inputs["image"], different.inputs["image"])


def test_without_augmentation_an_epoch_is_every_image_once(drawn: Dataset) -> None:
    plain = CellsTask(drawn)
    seen = {image.numpy().tobytes() for batch in plain.train_batches(0) for image in batch.inputs["image"]}
    assert seen == {key for key, image in knowing(plain).items() if image.name.startswith("train")}


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_augmented_boxes_stay_on_their_cells(mosaic: float) -> None:
    """One black square on white: wherever the box says it is, it must be black, and nothing else may be."""
    pixels = np.full((3, 240, 320), 255, np.uint8)
    pixels[:, 60:120, 100:180] = 0
    image = LabelledImage("square", pixels, np.array([[100, 60, 180, 120]], np.float32), np.array([0]))
    change = Augmentation(mosaic=mosaic, brightness=0, colour=0)
    random, shapes = np.random.default_rng(0), set()
    for _ in range(40):
        sample = change([image], 0, random)
        dark = (sample.image.mean(0) < 0.2).numpy()
        for left, top, right, bottom in sample.boxes.round().astype(int):
            assert dark[top + 2 : bottom - 2, left + 2 : right - 2].mean() > 0.95
            shapes.add(bool(right - left > bottom - top))
            dark[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
        if len(sample.boxes) == (4 if mosaic else 1):
            assert not dark.any()
    assert shapes == {True, False}, "turned by 90 degrees or not"


def test_decoding_by_arithmetic() -> None:
    maps = [torch.zeros(1, channels, *size) for size in ((30, 40), (15, 20)) for channels in (3, 4)]
    maps[1][0, :, 2, 5] = torch.tensor([0.5, -0.25, np.log(2), 0])
    maps[3][0, 0, 0, 0] = 1

    boxes, scores = BoxDecoding()(*maps)

    assert boxes.shape == (1, CELLS, 4)
    assert scores.shape == (1, CELLS, 3)
    x, y = (5.5 + 0.5) * 8, (2.5 - 0.25) * 8
    assert boxes[0, 2 * 40 + 5].tolist() == pytest.approx([x - 40, y - 20, x + 40, y + 20])
    assert boxes[0, 1200].tolist() == pytest.approx([24 - 40, 8 - 40, 24 + 40, 8 + 40])
    centres, strides = cell_grid()
    assert centres[1200].tolist() == [8, 8]
    assert strides[1199:1201].tolist() == [8, 16]


def test_every_box_gets_cells_and_the_best_of_them_aims_at_one() -> None:
    true_boxes = torch.tensor([[[42.5, 41, 102.5, 101], [200, 100, 206, 105], [0, 0, 0, 0]]])
    labels = torch.tensor([[1, 0, -1]])
    centres, _ = cell_grid()
    boxes = torch.cat([centres - 28, centres + 28], dim=1)[None]
    wanted = assign(boxes, torch.zeros(1, CELLS, 3), true_boxes, labels)

    owners = wanted.scores[0].sum(1) > 0
    for box, label in ((true_boxes[0, 0], 1), (true_boxes[0, 1], 0)):
        mine = owners & (wanted.boxes[0] == box).all(1)
        assert 0 < int(mine.sum()) <= 10
        assert (wanted.scores[0][mine].argmax(1) == label).all()
        assert float(wanted.shares[0][mine].max()) == 1
    best = int((wanted.scores[0, :, 1]).argmax())
    assert centres[best].tolist() == [72, 72], "the nearest to (72.5, 71)"
    second = int(wanted.scores[0, :, 1].topk(2).indices[1])
    overlaps = pairwise_iou(true_boxes[0, :1], boxes[0])[0]
    assert float(wanted.scores[0, best, 1]) == 1
    assert float(wanted.scores[0, second, 1]) == pytest.approx(float(overlaps[second] / overlaps[best]) ** 4, rel=1e-2)
    assert float(wanted.scores[0, :, 0].max()) == 1, "the tiny box, which overlaps less, is not given up"
    assert wanted.scores[0, :, 2].sum() == 0
    cells = holds_object(true_boxes, labels)
    assert cells[0][owners].all()
    assert cells.sum() < 100


def test_the_loss_falls_when_answers_improve() -> None:
    true_boxes, labels = torch.tensor([[[40.0, 40, 100, 100]]]), torch.tensor([[1]])
    centres, _ = cell_grid()
    near, far = (torch.cat([centres - half, centres + half], dim=1)[None] for half in (29, 18))
    unsure = torch.full((1, CELLS, 3), -4.0)
    wanted = assign(near, unsure, true_boxes, labels)
    sure = torch.where(wanted.scores > 0, 2.0, -6.0)

    assert detection_loss(near, sure, wanted) < detection_loss(near, unsure, wanted)
    assert detection_loss(near, sure, wanted) < detection_loss(far, sure, wanted)


def test_a_batch_without_boxes_has_a_finite_loss() -> None:
    boxes, scores = torch.rand(2, CELLS, 4), torch.randn(2, CELLS, 3, requires_grad=True)
    wanted = assign(boxes, scores, torch.zeros(2, 1, 4), torch.full((2, 1), -1))
    loss = detection_loss(boxes, scores, wanted)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's

    assert torch.isfinite(loss)
    assert wanted.scores.sum() == 0
    assert scores.grad is not None
    assert (scores.grad >= 0).all(), "all scores should fall"


def test_one_who_knows_scores_1_and_one_who_is_off_scores_less(task: CellsTask) -> None:
    best = task.evaluate(Oracle(task), "test")
    off = task.evaluate(Oracle(task, shift=3.0), "test")

    assert best.value == 1
    assert best.n == 6
    assert best.ci95 == (1, 1)
    assert 0.2 < off.value < 0.95
    assert off.ci95[0] <= off.value <= off.ci95[1]


def test_calibration_images_are_training_images(drawn: Dataset, task: CellsTask) -> None:
    images = task.calibration_inputs()["image"]
    assert images.shape == (24, 3, 240, 320)
    assert images.dtype == np.float32
    assert all(knowing(task)[image.tobytes()].name.startswith("train") for image in images)


@pytest.mark.parametrize(("width", "blocks"), [(4, (0, 0, 0)), (6, (1, 2, 1))])
def test_the_network_fits_the_signature_at_any_size(task: CellsTask, width: int, blocks: tuple[int, int, int]) -> None:
    whole = task.exported(Detector(3, width, blocks).eval(), "main")
    boxes, scores = whole(torch.zeros(task.signatures["main"].inputs["image"].shape))
    outputs = task.signatures["main"].outputs
    assert boxes.shape == outputs["boxes"].shape
    assert scores.shape == outputs["scores"].shape


def test_channels_can_be_cut_and_the_graph_exported(task: CellsTask) -> None:
    from mobiledistill.prune import channel_groups, cut

    net = Detector(3, 4, (1, 1, 1)).eval()
    image = torch.rand(1, 3, 240, 320)

    def run(model: nn.Module) -> tuple[torch.Tensor, ...]:
        return tuple(task.exported(model, "main")(image))

    groups = channel_groups(net, run)
    scores = {group.name: torch.arange(group.channels, dtype=torch.float32) for group in groups}
    smaller = cut(net, run, {group.name: group.channels // 2 for group in groups}, scores)

    assert sum(p.numel() for p in smaller.parameters()) < 0.35 * sum(p.numel() for p in net.parameters())
    exported = torch.export.export(task.exported(smaller, "main").eval(), (image,)).module()
    for one, other in zip(exported(image), run(smaller), strict=True):
        torch.testing.assert_close(one, other)


def test_distillation_is_0_for_the_teachers_own_answers_and_pulls_towards_them(task: CellsTask) -> None:
    torch.manual_seed(0)
    centres, _ = cell_grid()
    boxes = torch.cat([centres - 20, centres + 20], dim=1)[None]
    teacher = {"boxes": boxes, "scores": torch.randn(1, CELLS, 3)}
    outputs = task.signatures["main"].outputs
    student = {name: value.clone().requires_grad_() for name, value in teacher.items()}
    hard = torch.tensor(7.0)

    same = TeachersBoxes(hard=0.5)(Step(student, teacher, outputs, hard))
    off = {"boxes": (boxes + 4).requires_grad_(), "scores": (teacher["scores"] + 1).requires_grad_()}
    loss = TeachersBoxes(hard=0.0)(Step(off, teacher, outputs, hard))
    loss.backward()  # type: ignore[no-untyped-call]  # torch's

    assert float(same.detach()) == pytest.approx(3.5, abs=1e-4)
    assert float(loss.detach()) > 0.05
    assert off["scores"].grad is not None
    assert (off["scores"].grad > 0).all()
    assert off["boxes"].grad is not None
    assert off["boxes"].grad.sum() > 0
    with pytest.raises(InputError, match="must not be negative"):
        TeachersBoxes(hard=-1)


def test_pictures_show_the_truth_and_each_model(task: CellsTask) -> None:
    pictures = task.pictures({"teacher": Oracle(task), "tflite": Oracle(task, shift=9.0)})

    assert len(pictures) == 3
    shown = np.asarray(Image.open(io.BytesIO(pictures[0].png)).convert("RGB")).astype(int)
    assert shown.shape == (360 + 60, 3 * 480 + 2 * 8, 3)
    truth, teacher, student = (shown[30:390, left : left + 480] for left in (0, 488, 976))
    assert np.array_equal(truth, teacher)
    assert np.abs(truth - student).max() > 100


def test_an_image_of_ones_own(task: CellsTask, tmp_path: Path) -> None:
    image = task.images("test")[0]
    (tmp_path / "detection.json").write_bytes(task.assets()["detection.json"])
    Image.fromarray(image.pixels.transpose(1, 2, 0)).save(tmp_path / "mine.png")

    answer = answer_image(Oracle(task), tmp_path, str(tmp_path / "mine.png"))

    counts = np.bincount(image.labels, minlength=3)
    assert answer.text == ", ".join(f"{n} {name}" for n, name in zip(counts, CLASSES, strict=True) if n)
    assert answer.picture is not None
    assert Image.open(io.BytesIO(answer.picture)).width == 800


@pytest.mark.parametrize(
    ("given", "assets", "message"),
    [
        ("missing.jpg", None, "missing.jpg cannot be read"),
        ("broken.jpg", None, "not an image that can be decoded"),
        ("", None, "cannot be read"),
        ("broken.jpg", "{}", "detection.json is missing or not as the run wrote it"),
        ("broken.jpg", "[", "detection.json is missing or not as the run wrote it"),
    ],
)
def test_what_cannot_be_tried_gets_one_line(
    task: CellsTask, tmp_path: Path, given: str, assets: str | None, message: str
) -> None:
    (tmp_path / "detection.json").write_text(task.assets()["detection.json"].decode() if assets is None else assets)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")

    with pytest.raises(InputError, match=message) as caught:
        answer_image(Oracle(task), tmp_path, str(tmp_path / given) if given else "")
    assert "\n" not in str(caught.value)


def test_the_demo_offers_the_task() -> None:
    cells = demo.tasks["cells"]
    assert cells.try_out is not None
    assert cells.try_out.option == "image"
    assert cells.budget is not None
    assert cells.budget.size_bytes == {"tflite": 300_000}


@pytest.mark.slow
def test_a_tiny_network_learns_drawn_cells() -> None:
    parts = drawn_images()
    task = CellsTask(
        Dataset(CLASSES, parts["train"][:32], parts["val"][:8], parts["test"][:8], "drawn", synthetic=True)
    )
    torch.manual_seed(0)
    net = Detector(3, 6, (0, 1, 0))
    whole = task.exported(net, "main")
    epochs = 9
    optimizer = torch.optim.AdamW(net.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=4 * epochs)
    for epoch in range(epochs):
        for batch in task.train_batches(epoch):
            optimizer.zero_grad()
            boxes, scores = whole(batch.inputs["image"])
            task.loss({"boxes": boxes, "scores": scores}, batch).backward()
            optimizer.step()
            rate.step()
    whole.eval()

    def predict(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> Arrays:
        with torch.no_grad():
            boxes, scores = whole(torch.from_numpy(np.asarray(inputs["image"])))
        return {"boxes": boxes.numpy(), "scores": scores.numpy()}

    assert task.matches(predict, "test").ap(0.5) > 0.3
