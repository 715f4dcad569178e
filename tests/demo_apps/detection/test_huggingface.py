"""Detectors from Hugging Face: tiny ones with random weights, read from folders as real ones are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from demo_apps.detection._boxes import Detections
from demo_apps.detection._data import Dataset
from demo_apps.detection._huggingface import DetrTeacher, YolosTeacher, relabelled
from demo_apps.detection._image import HEIGHT, WIDTH, LabelledImage, Pixels
from demo_apps.detection._task import CellsTask
from mobiledistill import InputError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = {0: "N/A", 1: "cat", 2: "dog", 3: "tree"}
SIZE = {"shortest_edge": 48, "longest_edge": 80}
Teacher = type[DetrTeacher] | type[YolosTeacher]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Teacher, Path]:
    named = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    trunk = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    detr = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone_config=trunk,
        num_queries=12,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        **named,
    )
    yolos = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 48],
        patch_size=16,
        num_detection_tokens=12,
        **named,
    )
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        DetrTeacher: saved(
            root / "detr", transformers.DetrForObjectDetection(detr), transformers.DetrImageProcessorPil(size=SIZE)
        ),
        YolosTeacher: saved(
            root / "yolos", transformers.YolosForObjectDetection(yolos), transformers.YolosImageProcessorPil(size=SIZE)
        ),
    }


def saved(folder: Path, model: Any, processor: Any) -> Path:
    """With weights so large that its boxes lie apart and carry several labels."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                apart = "query_position" in name or "detection_tokens" in name
                weight.normal_(0, 2.0 if apart else 0.5 if name.startswith("bbox") else 0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(params=[DetrTeacher, YolosTeacher])
def kind(request: pytest.FixtureRequest) -> Teacher:
    chosen: Teacher = request.param
    return chosen


def image(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8)


def test_it_finds_what_the_pipeline_of_transformers_finds(kind: Teacher, folders: dict[Teacher, Path]) -> None:
    classes = ["dog", "cat", "tree", "N/A"]
    teacher = kind.from_pretrained(folders[kind], classes)
    [found] = teacher.detect([image(60, 90)], least_score=0.3)
    pipeline = transformers.pipeline(
        "object-detection", model=teacher.checkpoint.model, image_processor=teacher.checkpoint.processor
    )
    wanted = pipeline(Image.fromarray(image(60, 90).transpose(1, 2, 0)), threshold=0.3)
    wanted.sort(key=lambda answer: -answer["score"])
    assert len(wanted) > 3
    assert [classes[label] for label in found.labels] == [answer["label"] for answer in wanted]
    np.testing.assert_allclose(found.scores, [answer["score"] for answer in wanted], rtol=1e-4)
    corners = [[answer["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for answer in wanted]
    np.testing.assert_allclose(found.boxes, np.clip(corners, 0, [90, 60, 90, 60]), atol=1.01)  # theirs are whole pixels


@pytest.mark.parametrize(("height", "width"), [(60, 90), (120, 45), (240, 320)])
def test_boxes_are_in_pixels_of_the_image_given(
    kind: Teacher, folders: dict[Teacher, Path], height: int, width: int
) -> None:
    teacher = kind.from_pretrained(folders[kind], list(LABELS.values()))
    pixels = image(height, width)
    [found] = teacher.detect([pixels], least_score=0.0)
    inputs = teacher.checkpoint.processor(Image.fromarray(pixels.transpose(1, 2, 0)), return_tensors="pt")
    with torch.no_grad():
        outputs = teacher.checkpoint.model(pixel_values=inputs["pixel_values"])
    scores = outputs.logits[0].softmax(1)[:, :-1].max(1).values.numpy()
    x, y, w, h = outputs.pred_boxes[0].numpy()[np.argsort(-scores, kind="stable")].T  # centres and sizes, 0 to 1
    corners = np.stack([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height], 1)
    np.testing.assert_allclose(found.boxes, corners.clip(0, [width, height, width, height]), atol=0.01)
    assert (np.ptp(found.boxes, axis=0) > 0.5).sum() >= 3  # of four sides: one may lie beyond the image for all


def test_labels_are_mapped_and_unknown_ones_dropped(kind: Teacher, folders: dict[Teacher, Path]) -> None:
    names = list(LABELS.values())
    [every] = kind.from_pretrained(folders[kind], names).detect([image(60, 90)], least_score=0.0)
    teacher = kind.from_pretrained(folders[kind], ["stone", "life"], {"cat": "life", "tree": "life"})
    [found] = teacher.detect([image(60, 90)], least_score=0.0)
    alive = np.isin(every.labels, [names.index("cat"), names.index("tree")])
    assert 0 < alive.sum() < len(alive)
    np.testing.assert_array_equal(found.boxes, every.boxes[alive])
    np.testing.assert_array_equal(found.scores, every.scores[alive])
    assert set(found.labels.tolist()) == {1}


def test_an_image_is_answered_alike_alone_and_among_others(kind: Teacher, folders: dict[Teacher, Path]) -> None:
    teacher = kind.from_pretrained(folders[kind], ["cat", "dog", "tree"])
    small, large = image(40, 60), image(96, 96, seed=1)
    together = teacher.detect([small, large], least_score=0.0)
    for pixels, answer in zip((small, large), together, strict=True):
        [alone] = teacher.detect([pixels], least_score=0.0)
        np.testing.assert_array_equal(answer.boxes, alone.boxes)


def test_nothing_sure_enough_is_no_box(kind: Teacher, folders: dict[Teacher, Path]) -> None:
    [found] = kind.from_pretrained(folders[kind], ["cat"]).detect([image(60, 90)], least_score=1.0)
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(
    ("classes", "labels", "words"),
    [
        (["cat"], {"cta": "cat"}, "knows no label 'cta'; it knows 'N/A', 'cat', 'dog', 'tree'"),
        (["cat"], {"cat": "cart"}, "The label 'cat' shall be 'cart', but the classes are 'cat'"),
        (["RBC", "WBC"], None, "is called as one of the classes 'RBC', 'WBC': say with labels"),
        (["cat"], {}, "is called as one of the classes"),
    ],
)
def test_a_mapping_that_cannot_be(
    kind: Teacher, folders: dict[Teacher, Path], classes: list[str], labels: dict[str, str] | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        kind.from_pretrained(folders[kind], classes, labels)


@pytest.mark.parametrize("pixels", [np.zeros((60, 90, 3), np.uint8), np.zeros((3, 60, 90), np.float32)])
def test_an_image_of_another_layout(kind: Teacher, folders: dict[Teacher, Path], pixels: Any) -> None:
    with pytest.raises(InputError, match=r"must be \(3, height, width\), uint8"):
        kind.from_pretrained(folders[kind], ["cat"]).detect([pixels])


def test_each_refuses_the_checkpoint_of_the_other(folders: dict[Teacher, Path]) -> None:
    with pytest.raises(InputError, match="holds a model of type 'detr', but YolosForObjectDetection needs 'yolos'"):
        YolosTeacher.from_pretrained(folders[DetrTeacher], ["cat"])
    with pytest.raises(InputError, match="holds a model of type 'yolos', but DetrForObjectDetection needs 'detr'"):
        DetrTeacher.from_pretrained(folders[YolosTeacher], ["cat"])


class Surely:
    """Finds one box, at a place that the first pixel tells, with a score of 0.7."""

    def detect(self, images: Sequence[Pixels], *, least_score: float) -> list[Detections]:
        place = [float(pixels[0, 0, 0]) for pixels in images]
        found = [
            Detections(
                np.array([[left, 10, left + 20, 40]], np.float32), np.array([0.7], np.float32), np.array([1], np.int64)
            )
            for left in place
        ]
        return [answer.above(least_score) for answer in found]


def labelled(name: str, first: int) -> LabelledImage:
    pixels = np.full((3, HEIGHT, WIDTH), first, np.uint8)
    return LabelledImage(name, pixels, np.array([[0, 0, 5, 5]], np.float32), np.array([0], np.int64))


DATASET = Dataset(
    ("plant", "animal"), (labelled("a", 30), labelled("b", 50)), (labelled("c", 0),), (labelled("d", 0),), "here", False
)


def test_a_task_learns_from_relabelled_images() -> None:
    changed = relabelled(DATASET, Surely())
    assert (changed.validation, changed.test) == (DATASET.validation, DATASET.test)
    assert "by a teacher" in changed.source
    [batch] = CellsTask(changed).train_batches(0)
    targets = batch.targets["boxes"][:, 0].numpy()
    np.testing.assert_array_equal(targets[targets[:, 0].argsort()], [[30, 10, 50, 40], [50, 10, 70, 40]])
    assert batch.targets["labels"][:, 0].tolist() == [1, 1]


def test_a_teacher_that_finds_nothing() -> None:
    with pytest.raises(InputError, match=r"finds nothing in 2 training images with a score of 0\.8 or more"):
        relabelled(DATASET, Surely(), least_score=0.8)
