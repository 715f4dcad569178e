"""Images with boxes: VOC and COCO folders, what is wrong with them, and what is drawn where there are none."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo_apps._public_data import digest_of_files, unpack
from demo_apps.detection import _data, load_images
from demo_apps.detection._drawn import drawn_images
from demo_apps.detection._image import PADDING
from mobiledistill import InputError

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def jpeg(width: int = 64, height: int = 48) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 40)).save(file, "JPEG")
    return file.getvalue()


def write_voc(folder: Path, *, boxes: tuple[tuple[object, ...], ...] = (("RBC", 8, 4, 40, 44),)) -> Path:
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{split}_0\n")
        (folder / "JPEGImages" / f"{split}_0.jpg").write_bytes(jpeg())
        xml = "".join(OBJECT.format(*box) for box in boxes)
        (folder / "Annotations" / f"{split}_0.xml").write_text(f"<annotation>{xml}</annotation>")
    return folder


def coco(file_name: str = "a.jpg", bbox: object = (8, 4, 32, 40), **more: object) -> dict[str, object]:
    return {
        "images": [{"id": 7, "file_name": file_name, "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": bbox, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [5, 5, 0, 9], "iscrowd": 0},
        ],
        "categories": [{"id": 3, "name": "cell"}, {"id": 9, "name": "dust"}],
        **more,
    }


def write_coco(folder: Path, places: dict[str, str]) -> Path:
    """JSON files by place, each with its own image beside them at the second place."""
    for number, (place, image) in enumerate(places.items()):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(json.dumps(coco(Path(image).name)))
        (folder / image).write_bytes(jpeg(64 + number))
    return folder


def test_a_voc_folder(tmp_path: Path) -> None:
    dataset = load_images(write_voc(tmp_path / "bccd", boxes=(("WBC", 8, 4, 40, 44), ("RBC", 1, 1, 9, 9))).parent)

    assert dataset.classes == ("RBC", "WBC")
    assert [image.name for image in dataset.train] == ["train_0"]
    assert [image.name for image in dataset.test] == ["test_0"]
    assert dataset.train[0].pixels.shape == (3, 240, 320)
    assert dataset.train[0].boxes.tolist() == [[40, 20, 200, 220], [5, 5, 45, 45]]  # 320 / 64 = 5 times
    assert dataset.train[0].labels.tolist() == [1, 0]
    assert not dataset.synthetic


def test_empty_boxes_are_skipped(tmp_path: Path) -> None:
    boxes = (("RBC", 8, 4, 40, 44), ("RBC", 50, 9, 50, 9), ("RBC", 5, 9, 9, 9))
    assert len(load_images(write_voc(tmp_path, boxes=boxes)).train[0].boxes) == 1


def test_an_image_of_another_shape_is_padded_and_its_boxes_scaled_alike(tmp_path: Path) -> None:
    write_voc(tmp_path, boxes=(("RBC", 0, 0, 10, 20),))
    (tmp_path / "JPEGImages" / "train_0.jpg").write_bytes(jpeg(60, 120))

    image = load_images(tmp_path).train[0]

    assert image.boxes.tolist() == [[0, 0, 20, 40]]
    assert (image.pixels[:, :, 121:] == PADDING).all()
    assert (image.pixels[0, :, :119] > 150).all()


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        ("JPEGImages/val_0.jpg", b"not an image", "not an image that can be decoded"),
        ("JPEGImages/val_0.jpg", jpeg(200, 200)[:700], "not an image that can be decoded, or is cut short"),
        ("JPEGImages/val_0.jpg", None, "val_0.xml describes an image that is not in"),
        ("Annotations/val_0.xml", None, "every listed image needs an annotation"),
        ("Annotations/val_0.xml", b"<annotation>", "not well-formed XML"),
        ("Annotations/val_0.xml", OBJECT.format("RBC", 1, "x", 3, 4).encode(), "needs four numbers"),
        ("Annotations/val_0.xml", OBJECT.format("RBC", 1, "nan", 3, 4).encode(), "not finite"),
        ("Annotations/val_0.xml", OBJECT.format("", 1, 2, 3, 4).encode(), "has no name"),
        ("Annotations/lonely.xml", b"<annotation/>", "lonely.xml describes an image that is not in"),
        ("ImageSets/Main/val.txt", b"nobody\n", "nobody"),
        ("Annotations/val_0.xml", b"<annotation/>", "validation part .* has no image with a box"),
    ],
)
def test_a_damaged_voc_folder_gets_one_line(tmp_path: Path, place: str, content: bytes | None, message: str) -> None:
    write_voc(tmp_path)
    if content is None:
        (tmp_path / place).unlink()
    else:
        (tmp_path / place).write_bytes(content)

    with pytest.raises(InputError, match=message) as caught:
        load_images(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "places",
    [
        {
            "annotations/instances_train2017.json": "train2017/a.jpg",
            "annotations/instances_val2017.json": "val2017/b.jpg",
            "annotations/instances_test.json": "images/c.jpg",
        },
        {
            "train/_annotations.coco.json": "train/a.jpg",
            "valid/_annotations.coco.json": "valid/b.jpg",
            "test/_annotations.coco.json": "test/c.jpg",
        },
        {"train.json": "a.jpg", "val.json": "b.jpg", "test.json": "images/c.jpg"},
    ],
)
def test_coco_folders_of_the_usual_forms(tmp_path: Path, places: dict[str, str]) -> None:
    dataset = load_images(write_coco(tmp_path, places))

    assert dataset.classes == ("cell", "dust")
    assert [part[0].name for part in (dataset.train, dataset.validation, dataset.test)] == ["a", "b", "c"]
    assert dataset.train[0].boxes.tolist() == [[40, 20, 200, 220]], "crowds and empty boxes are skipped"
    assert dataset.train[0].labels.tolist() == [0]


def test_one_coco_file_is_split_by_hash_of_the_names(tmp_path: Path) -> None:
    content = coco()
    content["images"] = [{"id": number, "file_name": f"{number}.jpg"} for number in range(60)]
    content["annotations"] = [
        {"id": number, "image_id": number, "category_id": 3, "bbox": [1, 1, 9, 9]} for number in range(60)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    for number in range(60):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg())

    dataset = load_images(tmp_path)
    parts = [{image.name for image in part} for part in (dataset.train, dataset.validation, dataset.test)]

    assert parts[0] | parts[1] | parts[2] == {f"{number}" for number in range(60)}
    assert sum(map(len, parts)) == 60
    assert all(len(part) >= 2 for part in parts[1:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "not of COCO's form"),
        (json.dumps({"images": []}), "not of COCO's form"),
        (json.dumps(coco(bbox=[1, 2, 3])), "needs four numbers"),
        (json.dumps(coco(bbox=[1, 2, 3, "x"])), "needs four numbers"),
        (json.dumps(coco(bbox=None)), "needs 'bbox' as list"),
        (json.dumps(coco(images=["a"])), "needs 'id' as int"),
        (json.dumps(coco(images=[])), "names image 7 and category 3"),
        (json.dumps(coco("missing.jpg")), "'missing.jpg', which is not in"),
        (json.dumps(coco("../../outside.jpg")), "which is not in"),
    ],
)
def test_json_of_the_wrong_form_gets_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "outside.jpg").write_bytes(jpeg())
    folder = tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg())
    (folder / "train.json").write_text(content)

    with pytest.raises(InputError, match=message) as caught:
        load_images(folder)
    assert "\n" not in str(caught.value)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no images with boxes"):
        load_images(tmp_path)


def test_the_environment_names_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_voc(tmp_path / "bccd")
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(tmp_path))
    assert load_images().source == str(tmp_path)
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="not a folder"):
        load_images()


def test_where_nothing_can_be_found_cells_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBILEDISTILL_DATA", raising=False)
    dataset = load_images(cache=tmp_path, archive_url="http://127.0.0.1:9/bccd.zip", part=0.25)

    assert dataset.synthetic
    assert "drawn" in dataset.source
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [64, 24, 24]
    assert not list(tmp_path.iterdir())


def test_drawn_cells_are_the_same_every_time_and_lie_in_their_boxes() -> None:
    one, two = drawn_images(), drawn_images()
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one["test"], two["test"], strict=True))
    assert {int(label) for image in one["train"] for label in image.labels} == {0, 1, 2}
    for image in one["test"]:
        background = np.median(image.pixels.reshape(3, -1), axis=1)
        for left, top, right, bottom in image.boxes.round().astype(int):
            inside = image.pixels[:, top:bottom, left:right].reshape(3, -1).mean(1)
            assert np.abs(inside - background).max() > 8


def archive(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in names.items():
            packed.writestr(name, content)
    return path


def test_a_download_keeps_what_lies_in_the_known_folders(tmp_path: Path) -> None:
    original = write_voc(tmp_path / "original")
    files = {
        f"BCCD_Dataset-1/BCCD/{path.relative_to(original)}": path.read_bytes()
        for path in original.rglob("*")
        if path.is_file()
    }
    site = tmp_path / "site"
    site.mkdir()
    archive(site / "bccd.zip", {**files, "x/BCCD/JPEGImages/../../../evil": b"", "x/README": b""})
    wanted = replace(_data._public_data("http://here"), digest=digest_of_files(original, _data._files(original)))

    unpack(wanted, site / "bccd.zip", tmp_path / "bccd")

    assert load_images(tmp_path / "bccd").classes == ("RBC",)
    assert not list(tmp_path.rglob("evil"))
    with pytest.raises(InputError, match="expected checksum"):
        unpack(wanted, archive(site / "b.zip", dict(list(files.items())[1:])), tmp_path / "other")


@pytest.fixture
def bccd(data_root: Path) -> Path:
    root = data_root / "bccd"
    if not root.is_dir():
        pytest.skip(f"needs BCCD, and {data_root} has no folder bccd")
    return root


def test_the_real_images_have_the_official_split_and_the_expected_checksum(bccd: Path) -> None:
    dataset = load_images(bccd)

    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [205, 87, 72]
    assert dataset.classes == ("Platelets", "RBC", "WBC")
    counts = np.bincount(np.concatenate([image.labels for image in dataset.test]))
    assert counts.tolist() == [69, 805, 71]
    assert digest_of_files(bccd, _data._files(bccd)) == _data._DIGEST
