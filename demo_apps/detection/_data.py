"""The images: where they come from, and how they are split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from demo_apps._public_data import PublicData, locate
from demo_apps.detection._coco import is_coco, read_coco
from demo_apps.detection._drawn import CLASSES, drawn_images
from demo_apps.detection._image import LabelledImage
from demo_apps.detection._voc import is_voc, read_voc
from mobiledistill import InputError

__all__ = ["ARCHIVE_URL", "DRAWN_SOURCE", "Dataset", "load_images"]

ARCHIVE_URL = "https://github.com/Shenggan/BCCD_Dataset/archive/d272fb14cdff6e473fafeeeba32aba5f560e9e43.zip"
"""BCCD, photographs of blood (MIT licence), at the commit that the demo was measured with."""

DRAWN_SOURCE = "drawn cells (no photographs found)"

# Of the unpacked files, since the host may pack them anew: see digest_of_files.
_DIGEST = "9b9c8c784a87b6ec7f3c13089acd16228ebde5723caeb5dc0fdce78e598a52f3"
_PARTS = ("JPEGImages", "Annotations", "ImageSets")
_HELD_BACK = 10  # one training image in ten, for each part that a data set lacks


@dataclass(frozen=True)
class Dataset:
    """What was found.

    Attributes:
        classes: names of the classes; labels are places in it.
        train: images to learn from.
        validation: images that every choice is made on.
        test: images that are looked at once.
        source: one line for people: the folder, the download, or that it is drawn.
        synthetic: whether the demo drew the images itself.
    """

    classes: tuple[str, ...]
    train: tuple[LabelledImage, ...]
    validation: tuple[LabelledImage, ...]
    test: tuple[LabelledImage, ...]
    source: str
    synthetic: bool


def load_images(
    data: Path | None = None, *, part: float = 1.0, cache: Path | None = None, archive_url: str = ARCHIVE_URL
) -> Dataset:
    """Finds images: ``data``, else ``MOBILEDISTILL_DATA``, else the cache, else the network, else draws some.

    Args:
        data: a folder in Pascal VOC's form (JPEGImages, Annotations, ImageSets/Main) or COCO's (JSON files beside
            the images), or one that holds such a folder called ``bccd``.
        part: share of each split's images that is used, 0 to 1; drawn ones are few, and all used.
        cache: where a download is kept; None: the user's cache folder.
        archive_url: where the download comes from; what it unpacks to must match a fixed checksum.

    Raises:
        InputError: ``data`` holds no images with boxes, a file is damaged, or a download is not what it should be.
            That nothing can be reached is no error: then the cells are drawn.
    """
    found = locate(_public_data(archive_url), data, cache)
    if found is None:
        return _dataset(CLASSES, drawn_images(), DRAWN_SOURCE, 1.0, synthetic=True)  # few as they are
    folder, source = found
    return _from_folder(folder, source, part)


def _public_data(archive_url: str) -> PublicData:
    return PublicData(
        name="bccd",
        holds="bccd",
        looks_like=(
            "images with boxes (JPEGImages, Annotations and ImageSets/Main of Pascal VOC, or COCO's JSON files beside"
            " the images)"
        ),
        find=_find_folder,
        files=_files,
        kept=_place,
        archive_url=archive_url,
        digest=_DIGEST,
    )


def _find_folder(data: Path) -> Path | None:
    return next((folder for folder in (data / "bccd", data) if is_voc(folder) or is_coco(folder)), None)


def _files(folder: Path) -> list[Path]:
    return [path for part in _PARTS for path in (folder / part).rglob("*") if path.is_file()]


def _from_folder(folder: Path, source: str, part: float) -> Dataset:
    classes, splits = read_voc(folder) if is_voc(folder) else read_coco(folder)
    return _dataset(classes, splits, source, part, synthetic=False)


def _dataset(
    classes: tuple[str, ...],
    splits: Mapping[str, tuple[LabelledImage, ...]],
    source: str,
    part: float,
    *,
    synthetic: bool,
) -> Dataset:
    """Three splits of what was read, where a data set has but one or two; every choice by hash of the file name."""
    given = {name: list(images) for name, images in splits.items()}
    train = given.get("train", [])
    for missing in (name for name in ("val", "test") if not given.get(name)):
        chosen = [image for image in train if _lot(image, missing) % _HELD_BACK == 0]
        train = [image for image in train if _lot(image, missing) % _HELD_BACK]
        given[missing] = chosen
    parts = {"training": train, "validation": given["val"], "test": given["test"]}
    for name, images in parts.items():
        if not any(len(image.labels) for image in images):
            raise InputError(
                f"The {name} part of {source} has no image with a box, but all three parts need one: add images."
            )
    kept = {name: tuple(_first(images, part)) for name, images in parts.items()}
    return Dataset(classes, kept["training"], kept["validation"], kept["test"], source, synthetic)


def _lot(image: LabelledImage, purpose: str) -> int:
    return int(hashlib.sha256(f"{purpose} {image.name}".encode()).hexdigest(), 16)


def _first(images: list[LabelledImage], part: float) -> list[LabelledImage]:
    return images[: max(1, ceil(len(images) * part))]


def _place(name: str) -> str | None:
    """Where an archive's entry belongs: below one of the three known folders, or nowhere; nothing can escape."""
    parts = [part for part in name.split("/")[1:] if part]
    known = len(parts) >= 3 and parts[0] == "BCCD" and parts[1] in _PARTS and not name.endswith("/")
    return None if not known or ".." in parts or "\\" in name else "/".join(parts[1:])
