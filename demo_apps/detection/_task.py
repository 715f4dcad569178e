"""The task: where the cells are in a picture of blood, and of which kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from demo_apps.detection._assign import assign, detection_loss, holds_object
from demo_apps.detection._augment import Augmentation, Sample
from demo_apps.detection._average_precision import Matches, match
from demo_apps.detection._boxes import Detections, Floats, keep_best
from demo_apps.detection._data import Dataset, load_images
from demo_apps.detection._image import HEIGHT, PADDING, WIDTH, LabelledImage
from demo_apps.detection._network import CELLS, CellDetector
from demo_apps.detection._pictures import draw_boxes, png_of, side_by_side
from mobiledistill import Batch, Head, Metric, Output, Picture, Predict, Score, Signature, Split, TensorSpec

__all__ = ["ASSET", "LEAST_SCORE", "MOST_OVERLAP", "CellsTask", "cells", "detect"]

ASSET = "detection.json"
"""The file that lies beside the exported ones: classes, input size, thresholds."""

LEAST_SCORE = 0.4
"""What an app should show; average precision counts everything from 0.01 on."""

MOST_OVERLAP = 0.6
"""Of two boxes of one class that overlap more, the surer one stays."""

_CALIBRATION_IMAGES = 48
_EVALUATION_BATCH = 8
_PICTURES = 3
_PICTURE_SCALE = 1.5


def cells(data: Path | None = None, seed: int = 0, *, part: float = 1.0) -> CellsTask:
    """The blood cells task on the best data that can be found.

    Args:
        data: a folder with images and boxes, in Pascal VOC's or COCO's form; None: ``MOBILEDISTILL_DATA``, the
            user's cache, the network, and where none of them has any, drawn cells. ``task.source`` says which.
        seed: of the order of the batches and of what is done to the images.
        part: of each split's images that are used, 0 to 1; drawn ones are few, and all used.

    Example:
        >>> task = cells()  # doctest: +SKIP
        >>> next(task.train_batches(epoch=0)).inputs["image"].shape  # doctest: +SKIP
        torch.Size([8, 3, 240, 320])

    Raises:
        InputError: the data folder does not exist or holds no images with boxes, or one of them is damaged.
    """
    return CellsTask(load_images(data, part=part), seed=seed, augmentation=Augmentation())


class CellsTask:
    """Where the objects are, and of which class: what ``mobiledistill.Task`` asks for, on one data set.

    One signature, ``main``: ``image`` of shape (1, 3, 240, 320), RGB in 0..1, to ``boxes`` of shape (1, 1500, 4) in
    pixels of that image and ``scores`` of shape (1, 1500, classes), logits. :func:`detect` makes a list of that.

    Args:
        dataset: the images.
        seed: of the order of the batches and of what is done to the images.
        batch_size: images in a training batch, at most.
        augmentation: what is done to training images; None: nothing.

    Attributes:
        source: where the images come from, for people.
        classes: their names.
    """

    name = "cells"
    metric = Metric("AP", "", decimals=3)

    def __init__(
        self,
        dataset: Dataset,
        *,
        seed: int = 0,
        batch_size: int = 8,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.source = dataset.source
        self.synthetic = dataset.synthetic
        self.classes = dataset.classes
        self.seed = seed
        self.batch_size = batch_size
        self.signatures: Mapping[str, Signature] = {
            "main": Signature(
                inputs={"image": TensorSpec((1, 3, HEIGHT, WIDTH))},
                outputs={
                    "boxes": Output((1, CELLS, 4), Head.REGRESSION, mask="has_object"),
                    "scores": Output((1, CELLS, len(dataset.classes)), Head.BINARY),
                },
            )
        }
        self._augmentation = augmentation
        self._images: dict[Split, tuple[LabelledImage, ...]] = {
            "train": dataset.train,
            "validation": dataset.validation,
            "test": dataset.test,
        }

    def images(self, split: Split) -> tuple[LabelledImage, ...]:
        """The images of a split."""
        return self._images[split]

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch: every training image once, in an order and with changes that ``seed`` and ``epoch`` fix."""
        images = self._images["train"]
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(images))
        for chosen in np.array_split(order, ceil(len(order) / self.batch_size)):
            yield _batch([self._sample(int(number), random) for number in chosen])

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Cross-entropy of the scores and generalized IoU loss of the boxes, on the cells that fit best."""
        boxes, scores = outputs["boxes"], outputs["scores"]
        wanted = assign(boxes.detach(), scores.detach(), batch.targets["boxes"], batch.targets["labels"])
        return detection_loss(boxes, scores, wanted)

    def evaluate(self, predict: Predict, split: Split) -> Score:
        """COCO's AP (mean over overlaps 0.5 to 0.95), 0 to 1, with its interval by bootstrap over images."""
        matches = self.matches(predict, split)
        return Score(matches.ap(), matches.images, matches.interval())

    def matches(self, predict: Predict, split: Split) -> Matches:
        """What ``predict`` finds on a split, matched with the truth: AP, AP50, AP75, and paired differences."""
        images = self._images[split]
        return match(images, detect(predict, [image.pixels for image in images]), len(self.classes))

    def calibration_inputs(self, signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """48 training images as they are, spread evenly, shape ``(48, 3, 240, 320)``."""
        images = self._images["train"]
        count = min(_CALIBRATION_IMAGES, len(images))
        chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
        return {"image": _as_input([images[number].pixels for number in chosen])}

    def exported(self, model: nn.Module, signature: str) -> nn.Module:
        """The model with its box decoding."""
        return CellDetector(model)

    def assets(self) -> Mapping[str, bytes]:
        """``detection.json``: the classes, what the image must be, and the thresholds."""
        contents = {
            "classes": list(self.classes),
            "image": {"width": WIDTH, "height": HEIGHT, "colours": "RGB", "range": [0, 1], "padding": PADDING},
            "least_score": LEAST_SCORE,
            "most_overlap": MOST_OVERLAP,
        }
        return {ASSET: (json.dumps(contents, indent=1) + "\n").encode()}

    def pictures(self, predicts: Mapping[str, Predict]) -> Sequence[Picture]:
        """Three validation images with the boxes of the truth and of each model, side by side."""
        images = sorted(self._images["validation"], key=lambda image: (-len(set(image.labels.tolist())), image.name))
        return [self._picture(image, predicts) for image in images[:_PICTURES]]

    def _picture(self, image: LabelledImage, predicts: Mapping[str, Predict]) -> Picture:
        photograph = Image.fromarray(image.pixels.transpose(1, 2, 0))
        drawn = {"truth": draw_boxes(photograph, image.boxes, image.labels, scale=_PICTURE_SCALE)}
        for name, predict in predicts.items():
            [found] = detect(predict, [image.pixels], least_score=LEAST_SCORE)
            drawn[name] = draw_boxes(photograph, found.boxes, found.labels, scale=_PICTURE_SCALE)
        return Picture(image.name, png_of(side_by_side(list(drawn.items()), self.classes)))

    def _sample(self, number: int, random: np.random.Generator) -> Sample:
        images = self._images["train"]
        if self._augmentation is not None:
            return self._augmentation(images, number, random)
        image = images[number]
        return Sample(torch.from_numpy(image.pixels).float() / 255, image.boxes, image.labels)


def detect(
    predict: Predict,
    pixels: Sequence[NDArray[np.uint8]],
    *,
    least_score: float = 0.01,
    most_overlap: float = MOST_OVERLAP,
) -> list[Detections]:
    """What a model finds in images of shape ``(3, 240, 320)``: its answers, and of those that overlap the surest."""
    found: list[Detections] = []
    for start in range(0, len(pixels), _EVALUATION_BATCH):
        outputs = predict({"image": _as_input(pixels[start : start + _EVALUATION_BATCH])}, "main")
        probabilities = 1 / (1 + np.exp(-outputs["scores"].astype(np.float32)))
        for boxes, scores in zip(outputs["boxes"].astype(np.float32), probabilities, strict=True):
            found.append(keep_best(boxes, scores, least_score=least_score, most_overlap=most_overlap))
    return found


def _as_input(pixels: Sequence[NDArray[np.uint8]]) -> Floats:
    stacked: Floats = np.stack(pixels).astype(np.float32) / np.float32(255)
    return stacked


def _batch(samples: Sequence[Sample]) -> Batch:
    """Samples with as many places for boxes as the fullest image needs; labels of -1 fill the rest."""
    most = max(1, *(len(sample.labels) for sample in samples))
    boxes = np.zeros((len(samples), most, 4), np.float32)
    labels = np.full((len(samples), most), -1, np.int64)
    for row, sample in enumerate(samples):
        boxes[row, : len(sample.labels)] = sample.boxes
        labels[row, : len(sample.labels)] = sample.labels
    targets = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}
    targets["has_object"] = holds_object(targets["boxes"], targets["labels"])
    return Batch({"image": torch.stack([sample.image for sample in samples])}, targets)
