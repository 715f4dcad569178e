"""Detectors from Hugging Face as teachers: their boxes, in the task's classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from PIL import Image

from demo_apps._pretrained import Checkpoint, Kind, load_checkpoint
from demo_apps.detection._boxes import Detections
from demo_apps.detection._data import Dataset
from demo_apps.detection._image import Pixels
from mobiledistill import InputError

__all__ = ["BoxTeacher", "DetrTeacher", "YolosTeacher", "relabelled"]


class BoxTeacher(Protocol):
    """Whatever finds boxes in images."""

    def detect(self, images: Sequence[Pixels], *, least_score: float) -> list[Detections]:
        """What is in each image of shape ``(3, height, width)``, the surest first."""
        ...


@dataclass(frozen=True, eq=False)
class _CheckpointTeacher:
    """A checkpoint of one kind, and what its labels are called in the task.

    Attributes:
        checkpoint: the model and its image processor.
        classes: by the number of each label that counts, the number of the task's class.
    """

    kind: ClassVar[Kind]

    checkpoint: Checkpoint
    classes: Mapping[int, int]

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        classes: Sequence[str],
        labels: Mapping[str, str] | None = None,
        *,
        revision: str | None = None,
    ) -> Self:
        """Loads a checkpoint.

        Args:
            name_or_folder: a folder that ``save_pretrained`` wrote, or a name on the hub.
            classes: the task's, in its order.
            labels: from names of the checkpoint's labels to names of the task's classes; boxes with other labels are
                dropped. None: labels that are called as a class is.
            revision: on the hub.

        Raises:
            MissingExtraError: ``transformers`` is not installed.
            InputError: the checkpoint is missing, damaged or of another kind, or ``labels`` names what is not there.
        """
        checkpoint = load_checkpoint(name_or_folder, cls.kind, revision)
        return cls(checkpoint, _mapped(checkpoint, classes, labels))

    def detect(self, images: Sequence[Pixels], *, least_score: float = 0.05) -> list[Detections]:
        """What is in each image: boxes in its own pixels, the surest first.

        Args:
            images: RGB of any size, each of shape ``(3, height, width)``, uint8.
            least_score: boxes below are dropped, 0 to 1.
        """
        return [_detected(self.checkpoint, self.classes, pixels, least_score) for pixels in images]


class DetrTeacher(_CheckpointTeacher):
    """``DetrForObjectDetection``, an encoder-decoder on a convolutional trunk (Carion et al. 2020).

    Example:
        >>> vehicles = {"person": "person", "car": "vehicle", "bus": "vehicle"}
        >>> teacher = DetrTeacher.from_pretrained(  # doctest: +SKIP
        ...     "facebook/detr-resnet-50", ("person", "vehicle"), vehicles, revision="no_timm"
        ... )
        >>> teacher.detect([pixels])[0].boxes.shape  # doctest: +SKIP
        (7, 4)
    """

    kind = Kind("detr", "DetrForObjectDetection", "DetrImageProcessorPil")


class YolosTeacher(_CheckpointTeacher):
    """``YolosForObjectDetection``, a plain vision Transformer with box tokens (Fang et al. 2021)."""

    kind = Kind("yolos", "YolosForObjectDetection", "YolosImageProcessorPil")


def relabelled(dataset: Dataset, teacher: BoxTeacher, *, least_score: float = 0.5) -> Dataset:
    """The same images with the teacher's boxes on those of ``train``; validation and test keep the truth.

    Args:
        dataset: what ``load_images`` found.
        teacher: whose boxes the task's training shall aim at.
        least_score: boxes that the teacher is less sure of are left out, 0 to 1.

    Example:
        >>> dataset = load_images(Path("street"))  # doctest: +SKIP
        >>> task = CellsTask(relabelled(dataset, teacher), augmentation=Augmentation())  # doctest: +SKIP

    Raises:
        InputError: the teacher finds nothing in any image.
    """
    answers = teacher.detect([image.pixels for image in dataset.train], least_score=least_score)
    train = tuple(
        replace(image, boxes=found.boxes, labels=found.labels)
        for image, found in zip(dataset.train, answers, strict=True)
    )
    if not any(len(image.labels) for image in train):
        raise InputError(
            f"The teacher finds nothing in {len(train)} training images with a score of {least_score} or more: lower"
            " least_score, or map more of its labels to the classes of the task."
        )
    return replace(dataset, train=train, source=f"{dataset.source}, training boxes by a teacher")


def _mapped(checkpoint: Checkpoint, classes: Sequence[str], labels: Mapping[str, str] | None) -> dict[int, int]:
    """Numbers of the checkpoint's labels to numbers of the task's classes."""
    names: dict[int, str] = checkpoint.model.config.id2label
    if labels is None:
        labels = {name: name for name in classes if name in names.values()}
    for label, class_name in labels.items():
        if label not in names.values():
            raise InputError(f"{checkpoint.folder} knows no label {label!r}; it knows {_listed(names.values())}.")
        if class_name not in classes:
            raise InputError(f"The label {label!r} shall be {class_name!r}, but the classes are {_listed(classes)}.")
    if not labels:
        raise InputError(
            f"No label of {checkpoint.folder} is called as one of the classes {_listed(classes)}: say with labels which"
            f" of {_listed(names.values())} is which class."
        )
    return {number: classes.index(labels[name]) for number, name in names.items() if name in labels}


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(repr, names))


def _detected(checkpoint: Checkpoint, classes: Mapping[int, int], pixels: Pixels, least_score: float) -> Detections:
    """What is in one image: alone, since padding to the size of others changes what YOLOS finds."""
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"An image has shape {pixels.shape} and type {pixels.dtype}, but must be (3, height, width), uint8."
        )
    height, width = pixels.shape[1:]
    inputs = checkpoint.processor(Image.fromarray(pixels.transpose(1, 2, 0)), return_tensors="pt")
    with torch.inference_mode():
        outputs = checkpoint.model(pixel_values=inputs["pixel_values"])
    [found] = checkpoint.processor.post_process_object_detection(
        outputs, threshold=least_score, target_sizes=[(height, width)]
    )
    boxes, scores, labels = (found[name].numpy() for name in ("boxes", "scores", "labels"))
    order = np.argsort(-scores, kind="stable")
    kept = [place for place in order.tolist() if int(labels[place]) in classes]
    edges = np.array([width, height, width, height], np.float32)
    return Detections(
        boxes[kept].astype(np.float32).clip(0, edges),
        scores[kept].astype(np.float32),
        np.array([classes[int(labels[place])] for place in kept], np.int64),
    )
