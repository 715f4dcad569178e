"""The detection page: what it computes is what Python computes, and it answers as the command line does."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from converters import Format
from demo_apps.detection import CellsTask, Dataset, Detector, keep_best
from demo_apps.detection._drawn import CLASSES, drawn_images
from demo_apps.detection._image import fit_image
from demo_apps.detection._try_out import try_out
from tests.demo_apps.pages.conftest import FORMATS, Opened, Tried

GOLDEN = Path(__file__).parents[1] / "detection" / "golden" / "keep_best.json"


@pytest.fixture(scope="module")
def bccd(data_root: Path) -> Path:
    folder = data_root / "bccd" / "JPEGImages"
    if not folder.is_dir():
        pytest.skip(f"needs BCCD, and {folder} is no folder")
    return folder


@pytest.fixture(scope="module")
def tried(opened: Opened) -> Tried:
    """A student that was never trained, but finds something in every photograph: its norms know pictures."""
    torch.manual_seed(0)
    parts = drawn_images()
    dataset = Dataset(CLASSES, parts["train"][:8], parts["val"][:2], parts["test"][:2], "drawn", synthetic=True)
    task = CellsTask(dataset)
    net = Detector(len(CLASSES), width=4, blocks=(1, 1, 1))
    for head in net.heads:
        nn.init.constant_(head.scores.answer.bias, -2.0)
        nn.init.normal_(head.scores.answer.weight, std=1.0)
        nn.init.normal_(head.boxes.answer.weight, std=0.3)
    [batch] = task.train_batches(0)
    with torch.no_grad():
        for _ in range(30):
            net(batch.inputs["image"])
    return opened("cells", try_out, task, net)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_photograph_is_answered_as_the_command_line_answers_it(tried: Tried, bccd: Path, fmt: Format) -> None:
    tried.chosen(fmt)
    for file in sorted(bccd.iterdir())[:3]:
        answer = tried.given_file(file)
        assert answer == tried.here(fmt, str(file))
        assert answer != "nothing found"
        with Image.open(file) as photograph:
            assert tried.tab.evaluate("document.querySelector('#picture').width") == photograph.width


@pytest.mark.parametrize("size", [(320, 240), (241, 457), (1600, 300), (7, 5)])
def test_pictures_of_any_shape_are_read_alike(tried: Tried, bccd: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    with Image.open(sorted(bccd.iterdir())[5]) as photograph:
        photograph.resize(size).save(tmp_path / "picture.png")
    assert tried.given_file(tmp_path / "picture.png") == tried.here("onnx", str(tmp_path / "picture.png"))


def test_what_is_no_picture_is_told(tried: Tried, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"This is no picture.")
    assert "no picture that this browser can decode" in tried.given_file(tmp_path / "text.png")


def test_the_camera_is_looked_through(tried: Tried) -> None:
    """The browser's own test signal."""
    camera = "document.querySelector('#camera')"
    tried.tab.evaluate(f"{camera}.click()")
    tried.tab.wait_for(f"{camera}.textContent === 'Take it'")
    assert tried.asked(lambda: tried.tab.evaluate(f"{camera}.click()"))
    assert tried.tab.text("#camera") == "Camera"
    assert tried.tab.evaluate("document.querySelector('#viewfinder').hidden") is True


def test_the_golden_boxes_stay(tried: Tried) -> None:
    call = "(b, p, classes, limits) => core.keepBest(new Float32Array(b), new Float32Array(p), classes, limits)"
    for case in json.loads(GOLDEN.read_text())["cases"]:
        boxes = np.array(case["boxes"], np.float32).reshape(-1, 4)
        scores = np.array(case["probabilities"], np.float32).reshape(len(boxes), -1)
        defaults = {"least_score": 0.01, "most_overlap": 0.6}
        limits = defaults | {name: case[name] for name in ("least_score", "most_overlap", "most") if name in case}
        found = tried.tab.call(
            "core.js", call, boxes.ravel().tolist(), scores.ravel().tolist(), scores.shape[1], limits
        )
        assert [one["box"] for one in found] == case["kept"]["boxes"], case["name"]
        assert [one["score"] for one in found] == case["kept"]["scores"], case["name"]
        assert [one["label"] for one in found] == case["kept"]["labels"], case["name"]


def test_the_same_boxes_stay(tried: Tried) -> None:
    call = "(b, p, classes, limits) => core.keepBest(new Float32Array(b), new Float32Array(p), classes, limits)"
    for seed in range(20):
        draw = np.random.default_rng(seed)
        corners = draw.integers(0, 12, (40, 2))
        boxes = np.concatenate([corners, corners + draw.integers(-1, 8, (40, 2))], 1).astype(np.float32)
        scores = (draw.integers(0, 9, (40, 3)) / 8).astype(np.float32)  # many are equally sure
        due = keep_best(boxes, scores, most=10, most_overlap=0.4)
        limits = {"least_score": 0.01, "most_overlap": 0.4, "most": 10}
        found = tried.tab.call("core.js", call, boxes.ravel().tolist(), scores.ravel().tolist(), 3, limits)
        assert [one["label"] for one in found] == due.labels.tolist()
        np.testing.assert_array_equal([one["box"] for one in found], due.boxes)
        np.testing.assert_array_equal([one["score"] for one in found], due.scores)


@pytest.mark.parametrize(("size", "levels"), [((640, 480), 0), ((320, 240), 0), ((31, 7), 0), ((100, 333), 1)])
def test_pictures_are_scaled_to_the_same_bytes(tried: Tried, size: tuple[int, int], levels: int) -> None:
    """But for one level in those taller than twice their width, whose columns Pillow scales first since 13."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    pixels[..., 3] = 255
    due, scale = fit_image(Image.fromarray(pixels[..., :3]))
    call = """(data, width, height) => {
      const picture = {width, height, data: new Uint8ClampedArray(data)};
      const {values, scale} = core.fitImage(picture, {width: 320, height: 240, padding: 114});
      return [Array.from(values, (value) => Math.round(255 * value)), scale];
    }"""
    found, found_scale = tried.tab.call("core.js", call, pixels.ravel().tolist(), *size)
    assert np.abs(np.reshape(found, due.shape) - due.astype(int)).max() <= levels
    assert found_scale == pytest.approx(scale)


def test_a_jpeg_is_decoded_to_the_same_pixels(tried: Tried, bccd: Path) -> None:
    """So the two answers differ by nothing but the runtime."""
    file = sorted(bccd.iterdir())[0]
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        due = np.asarray(image.convert("RGB"))
    tried.given_file(file)
    call = """async (bytes) => {
      const options = {colorSpaceConversion: "none", premultiplyAlpha: "none"};
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)]), options);
      const pen = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
      pen.drawImage(bitmap, 0, 0);
      return Array.from(pen.getImageData(0, 0, bitmap.width, bitmap.height).data);
    }"""
    found = tried.tab.evaluate(f"({call})({list(file.read_bytes())})")
    pixels = np.reshape(found, (*due.shape[:2], 4))[..., :3]
    np.testing.assert_array_equal(pixels, due)
