"""The images: where they come from, and how they are split."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from demo_apps.detection._coco import is_coco, read_coco
from demo_apps.detection._drawn import CLASSES, drawn_images
from demo_apps.detection._image import LabelledImage
from demo_apps.detection._voc import is_voc, read_voc
from mobiledistill import InputError, MissingExtraError

__all__ = ["ARCHIVE_URL", "DRAWN_SOURCE", "Dataset", "folder_digest", "load_images"]

ARCHIVE_URL = "https://github.com/Shenggan/BCCD_Dataset/archive/d272fb14cdff6e473fafeeeba32aba5f560e9e43.zip"
"""BCCD, photographs of blood (MIT licence), at the commit that the demo was measured with."""

DRAWN_SOURCE = "drawn cells (no photographs found)"

# Of the unpacked files, since the host may pack them anew: see folder_digest.
_DIGEST = "9b9c8c784a87b6ec7f3c13089acd16228ebde5723caeb5dc0fdce78e598a52f3"
_PARTS = ("JPEGImages", "Annotations", "ImageSets")
_HELD_BACK = 10  # one training image in ten, for each part that a data set lacks
_MOST_BYTES_IN_ARCHIVE = 100_000_000
_CONNECT_AND_READ_SECONDS = (5, 30)


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
        part: share of each split's images that is used, 0 to 1.
        cache: where a download is kept; None: the user's cache folder.
        archive_url: where the download comes from; what it unpacks to must match a fixed checksum.

    Raises:
        InputError: ``data`` holds no images with boxes, a file is damaged, or a download is not what it should be.
            That nothing can be reached is no error: then the cells are drawn.
    """
    if data is not None:
        return _from_folder(_data_folder(data), f"{data}", part)
    named = os.environ.get("MOBILEDISTILL_DATA")
    if named:
        folder = _named_by_environment(Path(named))
        if folder is not None:
            return _from_folder(folder, named, part)
    cache = cache if cache is not None else _user_cache()
    if cache is not None:
        unpacked = cache / "bccd"
        if unpacked.is_dir() or _download(archive_url, unpacked):
            return _from_folder(unpacked, f"{unpacked}", part)
    return _dataset(CLASSES, drawn_images(), DRAWN_SOURCE, part, synthetic=True)


def folder_digest(folder: Path) -> str:
    """The sha256 over names and contents of a VOC folder's files, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for part in _PARTS for path in (folder / part).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _data_folder(data: Path) -> Path:
    if not data.is_dir():
        raise InputError(f"The data folder {data} does not exist: give one with images and boxes, or leave it out.")
    folder = _find_folder(data)
    if folder is None:
        raise InputError(
            f"The data folder {data} holds no images with boxes: give a folder with JPEGImages, Annotations and"
            " ImageSets/Main (Pascal VOC), or one with COCO's JSON files beside the images."
        )
    return folder


def _named_by_environment(data: Path) -> Path | None:
    """The images below MOBILEDISTILL_DATA, which may well hold the data of other demos only."""
    if not data.is_dir():
        raise InputError(
            f"MOBILEDISTILL_DATA is {data}, which is not a folder: set it to a folder that holds bccd, or unset it."
        )
    return _find_folder(data)


def _find_folder(data: Path) -> Path | None:
    return next((folder for folder in (data / "bccd", data) if is_voc(folder) or is_coco(folder)), None)


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


def _user_cache() -> Path | None:
    try:
        import pooch
    except ImportError:
        return None
    return Path(pooch.os_cache("mobiledistill"))


def _download(url: str, unpacked: Path) -> bool:
    """Fetches the archive and unpacks its images; False when it cannot be reached."""
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("pooch", "demos") from error
    logger = pooch.get_logger()
    verbosity = logger.level
    try:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=unpacked.parent) as aside:
            logger.setLevel("ERROR")
            fetch = pooch.HTTPDownloader(timeout=_CONNECT_AND_READ_SECONDS)
            archive = Path(pooch.retrieve(url, None, fname="bccd.zip", path=aside, downloader=fetch))
            whole = Path(aside) / "bccd"
            _unpack(archive, whole, url)
            whole.rename(unpacked)
    except OSError:  # no network, no such page, or no place to keep it
        return False
    finally:
        logger.setLevel(verbosity)
    return True


def _unpack(archive: Path, folder: Path, url: str) -> None:
    """Writes the archive's images and annotations, and checks that they are the expected ones."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as packed:
            wanted = {entry: place for entry in packed.infolist() if (place := _place(entry.filename)) is not None}
            if sum(entry.file_size for entry in wanted) > _MOST_BYTES_IN_ARCHIVE:
                raise InputError(
                    f"{url} unpacks to more than {_MOST_BYTES_IN_ARCHIVE // 1_000_000} MB of images, so it is not the"
                    " data set: fetch it by hand and name its folder with --data."
                )
            for entry, place in wanted.items():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes(packed.read(entry))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(
            f"{url} did not send a readable zip archive ({error}): try again, or fetch it by hand and name its folder"
            " with --data."
        ) from error
    if folder_digest(folder) != _DIGEST:
        raise InputError(
            f"The images from {url} do not have the expected checksum: try again, or fetch the data set by hand and"
            " name its folder with --data."
        )


def _place(name: str) -> str | None:
    """Where an archive's entry belongs: below one of the three known folders, or nowhere; nothing can escape."""
    parts = [part for part in name.split("/")[1:] if part]
    known = len(parts) >= 3 and parts[0] == "BCCD" and parts[1] in _PARTS and not name.endswith("/")
    return None if not known or ".." in parts or "\\" in name else "/".join(parts[1:])
