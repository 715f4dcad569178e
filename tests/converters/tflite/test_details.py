"""What a .tflite says about itself, as MediaPipe Tasks reads it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import ConversionError, Image, InputError, Program, TFLite, convert, load, verify
from tests.converters.tflite.conftest import PythonWith, run_in

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 16, 20, 3)).astype(np.uint8)
LABELS = ("cat", "dog", "hen", "übergroße Kuh")

CLASSIFY = """
import json, sys
import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
with vision.ImageClassifier.create_from_options(options) as classifier:
    for pixels in np.load(sys.argv[2]):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        (head,) = classifier.classify(image).classifications
        print(json.dumps([head.head_name, {one.category_name: one.score for one in head.categories}]))
"""

READ = """
import json, sys
from mediapipe.tasks.metadata import metadata_schema_py_generated as schema, schema_py_generated as model
file = model.Model.GetRootAs(open(sys.argv[1], "rb").read())
(entry,) = [file.Metadata(i) for i in range(file.MetadataLength())]
buffer = bytes(file.Buffers(entry.Buffer()).DataAsNumpy())
assert entry.Name() == b"TFLITE_METADATA" and schema.ModelMetadata.ModelMetadataBufferHasIdentifier(buffer, 0)
words = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(buffer))
plain = lambda value: value.decode() if isinstance(value, bytes) else (
    value.tolist() if hasattr(value, "tolist") else vars(value))
print(json.dumps(words, default=plain))
"""


class Camera(nn.Module):
    """Reads a picture, answers shares."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.head(torch.relu(self.conv(image)).mean((2, 3))), 1)


def camera(channels: int = 3) -> Program:
    torch.manual_seed(0)
    inputs = {"image": torch.rand(1, channels, 16, 20)}
    return Program(Camera(channels).eval(), inputs, ("shares",)).channels_last("image")


@pytest.fixture(scope="session")
def mediapipe(python_with: PythonWith) -> Path:
    return python_with("mediapipe==1.2.3")


def test_mediapipe_makes_the_networks_numbers_of_pixels_and_names_its_answers(mediapipe: Path, tmp_path: Path) -> None:
    program, image = camera(), Image(scale=1 / 60, bias=(-1.5,))
    details = TFLite(images={"image": image}, labels=LABELS)

    path = convert(program, tmp_path / "net.tflite", details=details)

    np.save(tmp_path / "pixels.npy", PIXELS)
    lines = run_in(mediapipe, CLASSIFY, path, tmp_path / "pixels.npy").splitlines()
    numbers = PIXELS / np.float32(60) - np.float32(1.5)
    shares = load(path).run({"image": numbers})["shares"]
    assert verify(path, program, {"image": numbers}, details=details).sqnr_db > 80
    assert np.ptp(shares, axis=0).max() > 0.005  # else every picture would be alike
    assert len(lines) == len(PIXELS)
    for line, expected in zip(lines, shares, strict=True):
        head, given = json.loads(line)
        assert head == "shares"
        assert given == pytest.approx(dict(zip(LABELS, map(float, expected), strict=True)), abs=1e-5)


def test_an_author_is_read_back(mediapipe: Path, tmp_path: Path) -> None:
    words = {"author": "Me", "licence": "MIT", "version": "1.2", "description": "Tells cats from dogs."}
    details = TFLite(images={"image": Image(color="GRAYSCALE")}, descriptions={"shares": "of one"}, **words)  # type: ignore[arg-type]

    path = convert(camera(1), tmp_path / "net.tflite", details=details)

    said = json.loads(run_in(mediapipe, READ, path))
    assert {said["author"], said["license"], said["version"], said["description"]} == set(words.values())
    (graph,) = said["subgraphMetadata"]
    (image,), (shares,) = graph["inputTensorMetadata"], graph["outputTensorMetadata"]
    assert (image["name"], image["content"]["contentProperties"]["colorSpace"]) == ("image", 2)
    assert image["processUnits"][0]["options"] == {"mean": [0.0], "std": [1.0]}
    assert (shares["name"], shares["description"], shares["associatedFiles"]) == ("shares", "of one", None)


def test_words_change_no_number_and_cost_some_hundred_bytes(tmp_path: Path) -> None:
    bare = convert(camera(), tmp_path / "bare.tflite")
    paths = [
        convert(camera(), tmp_path / f"{name}.tflite", details=TFLite(labels=LABELS, author="Me"))
        for name in ("one", "two")
    ]

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert 0 < paths[0].stat().st_size - bare.stat().st_size < 600
    assert zipfile.ZipFile(paths[0]).read("labels.txt").decode().splitlines() == list(LABELS)
    inputs = {"image": PIXELS.astype(np.float32)}
    np.testing.assert_array_equal(load(paths[0]).run(inputs)["shares"], load(bare).run(inputs)["shares"])


def test_only_a_description_needs_no_metadata(tmp_path: Path) -> None:
    bare = convert(camera(), tmp_path / "bare.tflite")
    said = convert(camera(), tmp_path / "said.tflite", details=TFLite(description="Tells cats from dogs."))
    assert said.stat().st_size - bare.stat().st_size < 40


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"images": {"photo": Image()}}, r"TFLite\(images\) names 'photo'; the inputs are \['image'\]"),
        ({"images": {"image": Image(color="GRAYSCALE")}}, r"cannot be a GRAYSCALE image of TFLite; .*channels_last"),
        ({"images": {"image": Image(color="BGR")}}, r"TFLite has no word for BGR"),
        ({"images": {"image": Image()}, "integer_inputs": True}, r"leave integer_inputs or images out"),
        ({"labels": ("cat", "cat")}, r"TFLite\(labels=\('cat', 'cat'\)\) must be a tuple of different words"),
        ({"labels": ("two\nlines", "cat")}, r"one line each"),
        ({"labels": LABELS[:3]}, r"3 labels were given for 'shares', which has 4 entries"),
        ({"descriptions": {"sound": "?"}}, r"TFLite\(descriptions\) names \['sound'\]"),
    ],
)
def test_what_cannot_be_said_is_refused(choices: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ConversionError), match=message):
        convert(camera(), tmp_path / "net.tflite", details=TFLite(**choices))
    assert not [*tmp_path.iterdir()]


def test_channels_first_cannot_be_a_picture(tmp_path: Path) -> None:
    program = Program(Camera(3).eval(), {"image": torch.rand(1, 3, 16, 20)}, ("shares",))
    with pytest.raises(InputError, match=r"of shape \(1, 3, 16, 20\) cannot be a RGB image of TFLite"):
        convert(program, tmp_path / "net.tflite", details=TFLite(images={"image": Image()}))
