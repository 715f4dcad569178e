"""Reads folders in COCO's form: JSON files that list images and boxes, and the images beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from demo_apps.detection._image import LabelledImage, fit_image, fitted_boxes, read_image
from mobiledistill import InputError

__all__ = ["is_coco", "read_coco"]

_MOST_JSON_BYTES = 500_000_000
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_Box = tuple[float, float, float, float]


def is_coco(folder: Path) -> bool:
    """Whether a folder holds COCO's JSON files."""
    return bool(_json_files(folder))


def read_coco(folder: Path) -> tuple[tuple[str, ...], dict[str, tuple[LabelledImage, ...]]]:
    """The classes, by their ids, and the images of each split that is there.

    A JSON file lies in ``annotations``, in the folder itself, or in a folder called after its split, and says in its
    own name or its folder's which split it is: ``annotations/instances_val.json``, ``valid/_annotations.coco.json``.
    One that says nothing is ``train``. Crowds and empty boxes are skipped.

    Raises:
        InputError: a JSON file is not of COCO's form, or an image is missing or damaged.
    """
    contents = {path: _contents(path) for path in _json_files(folder)}
    names: dict[int, str] = {}
    for path, content in contents.items():
        for category in content["categories"]:
            number, name = _field(category, "id", int, path), _field(category, "name", str, path)
            if names.setdefault(number, name) != name:
                raise InputError(
                    f"{path} calls category {number} {name!r}, another file {names[number]!r}: make them one."
                )
    ids = sorted(names)
    splits: dict[str, list[LabelledImage]] = {}
    for path, content in contents.items():
        splits.setdefault(_split_of(folder, path), []).extend(_images(folder, path, content, ids))
    return tuple(names[number] for number in ids), {name: tuple(images) for name, images in splits.items()}


def _json_files(folder: Path) -> list[Path]:
    places = (folder, folder / "annotations", *(folder / name for name in _SPLITS))
    return sorted(path for place in places if place.is_dir() for path in place.glob("*.json") if path.is_file())


def _split_of(folder: Path, path: Path) -> str:
    """By the folder in the data folder that a JSON file lies in, else by a word of its own name."""
    if path.parent != folder and path.parent.name in _SPLITS:
        return _SPLITS[path.parent.name]
    words = path.stem.lower().replace("-", "_").replace(".", "_").split("_")
    words = [word.rstrip("0123456789") for word in words]  # instances_val2017
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), "train")


def _contents(path: Path) -> Mapping[str, list[Any]]:
    if path.stat().st_size > _MOST_JSON_BYTES:
        raise InputError(f"{path} has more than {_MOST_JSON_BYTES // 1_000_000} MB: give a smaller data set.")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({str(error).splitlines()[0]}): write it anew.") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise InputError(
            f"{path} is not of COCO's form: it needs the lists 'images', 'annotations' and 'categories'."
            " Move JSON files of other kinds elsewhere."
        )
    return content


def _field(entry: Any, key: str, kind: type[Any], path: Path) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{path}: an entry needs {key!r} as {kind.__name__}, but is {str(entry)[:80]!r}: correct it.")
    return value


def _images(folder: Path, path: Path, content: Mapping[str, list[Any]], ids: list[int]) -> list[LabelledImage]:
    boxes: dict[int, list[tuple[_Box, int]]] = {_field(image, "id", int, path): [] for image in content["images"]}
    for annotation in content["annotations"]:
        image, category = _field(annotation, "image_id", int, path), _field(annotation, "category_id", int, path)
        if image not in boxes or category not in ids:
            raise InputError(f"{path}: an annotation names image {image} and category {category}: list both.")
        left, top, width, height = _numbers(annotation, path)
        if width > 0 and height > 0 and not annotation.get("iscrowd"):
            boxes[image].append(((left, top, left + width, top + height), ids.index(category)))
    return [
        _labelled(folder, path, _field(image, "file_name", str, path), boxes[image["id"]])
        for image in content["images"]
    ]


def _numbers(annotation: Any, path: Path) -> _Box:
    values = _field(annotation, "bbox", list, path)
    if len(values) != 4 or not all(isinstance(value, int | float) and np.isfinite(value) for value in values):
        raise InputError(f"{path}: a bbox is {values!r}, but needs four numbers (x, y, width, height): correct it.")
    return (float(values[0]), float(values[1]), float(values[2]), float(values[3]))


def _labelled(folder: Path, path: Path, name: str, boxes: list[tuple[_Box, int]]) -> LabelledImage:
    pixels, scale = fit_image(read_image(_image_path(folder, path, name)))
    labels = np.array([label for _, label in boxes], np.int64)
    return LabelledImage(PurePosixPath(name).stem, pixels, fitted_boxes([box for box, _ in boxes], scale), labels)


def _image_path(folder: Path, path: Path, name: str) -> Path:
    """Where an image lies: beside its JSON file, or in one of the usual folders; never outside the data folder."""
    split = path.stem.lower().split("_")[-1]
    places = (path.parent, folder, folder / split, folder / _split_of(folder, path), folder / "images")
    for place in places:
        candidate = place / name
        if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
            return candidate
    raise InputError(f"{path} lists the image {name!r}, which is not in {folder}: add it, or take it out of the list.")
