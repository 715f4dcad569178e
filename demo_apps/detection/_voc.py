"""Reads folders in Pascal VOC's form: JPEGImages, Annotations, ImageSets/Main."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from demo_apps.detection._image import LabelledImage, fit_image, fitted_boxes, read_image
from mobiledistill import InputError

__all__ = ["is_voc", "read_voc"]

_MOST_XML_BYTES = 2_000_000
_ENDINGS = (".jpg", ".jpeg", ".png")


def is_voc(folder: Path) -> bool:
    """Whether a folder looks like Pascal VOC."""
    return all((folder / part).is_dir() for part in ("JPEGImages", "Annotations", "ImageSets/Main"))


def read_voc(folder: Path) -> tuple[tuple[str, ...], dict[str, tuple[LabelledImage, ...]]]:
    """The classes, sorted, and the images of each of the lists ``train``, ``val`` and ``test`` that is there.

    Empty boxes (no width or no height) are skipped.

    Raises:
        InputError: an image has no annotation or an annotation no image, or one of them is damaged.
    """
    names = {part: _listed(folder / "ImageSets" / "Main" / f"{part}.txt") for part in ("train", "val", "test")}
    _check_pairs(folder)
    annotations = {
        name: _annotation(folder / "Annotations" / f"{name}.xml") for part in names.values() for name in part
    }
    classes = tuple(sorted({thing.name for things in annotations.values() for thing in things}))
    splits = {
        part: tuple(_labelled(folder, name, annotations[name], classes) for name in listed)
        for part, listed in names.items()
        if listed
    }
    return classes, splits


@dataclass(frozen=True)
class _Object:
    name: str
    box: tuple[float, float, float, float]


def _listed(path: Path) -> list[str]:
    """The names in an image list: the first word of each line."""
    if not path.exists():
        return []
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def _check_pairs(folder: Path) -> None:
    """Refuses an annotation without its image; an image without annotation matters only where a list names it."""
    for path in sorted((folder / "Annotations").glob("*.xml")):
        if _image_path(folder, path.stem) is None:
            raise InputError(
                f"{path} describes an image that is not in {folder / 'JPEGImages'}: add {path.stem}.jpg, or delete the"
                " annotation."
            )


def _image_path(folder: Path, name: str) -> Path | None:
    candidates = (folder / "JPEGImages" / f"{name}{ending}" for ending in _ENDINGS)
    return next((path for path in candidates if path.exists()), None)


def _labelled(folder: Path, name: str, things: Sequence[_Object], classes: tuple[str, ...]) -> LabelledImage:
    path = _image_path(folder, name)
    if path is None:
        raise InputError(f"{folder} lists the image {name!r}, but JPEGImages/{name}.jpg is missing: add it.")
    pixels, scale = fit_image(read_image(path))
    labels = np.array([classes.index(thing.name) for thing in things], np.int64)
    return LabelledImage(name, pixels, fitted_boxes([thing.box for thing in things], scale), labels)


def _annotation(path: Path) -> list[_Object]:
    """The objects of an annotation file, empty ones left out."""
    try:
        text = path.read_bytes()
        if len(text) > _MOST_XML_BYTES:
            raise InputError(f"{path} has more than {_MOST_XML_BYTES:,} bytes, so it is no annotation of one image.")
        root = ElementTree.fromstring(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): every listed image needs an annotation.") from None
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is not well-formed XML ({error}): write it anew.") from None
    things = [_object(node, path) for node in root.iter("object")]
    return [thing for thing in things if thing.box[2] > thing.box[0] and thing.box[3] > thing.box[1]]


def _object(node: ElementTree.Element, path: Path) -> _Object:
    name = (node.findtext("name") or "").strip()
    texts = [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
    except ValueError:
        raise InputError(
            f"{path}: an object's bndbox is {texts}, but needs four numbers (xmin, ymin, xmax, ymax): correct it."
        ) from None
    if not name or not np.isfinite([left, top, right, bottom]).all():
        raise InputError(f"{path}: an object has no name, or a box that is not finite: correct it.")
    return _Object(name, (left, top, right, bottom))
