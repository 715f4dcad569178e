from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import (
    Color,
    ConversionError,
    CoreML,
    Image,
    InputError,
    ParityError,
    Precision,
    Program,
    convert,
    load,
    verify,
)
from converters._coreml import CoreMLModel
from converters._coreml._package import open_package
from converters._quiet import quiet
from tests.converters.coreml.conftest import Exported

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 20, 3)).astype(np.uint8)
GAINS = np.linspace(0.5, 2, 12, dtype=np.float32)[:, None]
LABELS = ("cat", "dog", "hen", "cow")


class Camera(nn.Module):
    """Reads an image and a number, answers scores and features."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.Linear(8, 4)

    def forward(self, image: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.relu(self.conv(image)).mean((2, 3))
        return self.head(features) * gain, features


def camera(channels: int = 3) -> Program:
    torch.manual_seed(0)
    inputs = {"image": torch.rand(1, channels, 16, 20), "gain": torch.ones(1, 1)}
    return Program(Camera(channels).eval(), inputs, ("scores", "features"))


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_picture_goes_in_as_pixels(color: Color, precision: Precision, tmp_path: Path) -> None:
    program = camera()
    details = CoreML(images={"image": Image(scale=1 / 127.5, bias=(-1.0, -0.9, -0.8), color=color)})

    path = convert(program, tmp_path / "net.mlpackage", precision=precision, details=details)

    turned = PIXELS[..., ::-1].copy() if color == "BGR" else PIXELS  # the bias goes by the channels that are read
    read = torch.from_numpy(turned).permute(0, 3, 1, 2) / 127.5 + torch.tensor([-1.0, -0.9, -0.8]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = program(image=read, gain=torch.from_numpy(GAINS))["scores"].numpy()
    for pixels in (PIXELS, PIXELS.transpose(0, 3, 1, 2)):
        answers = load(path).run({"image": pixels, "gain": GAINS})["scores"]
        np.testing.assert_allclose(answers, expected, rtol=1e-4 if precision == "float32" else 0.02, atol=1e-3)
    least_db = 80 if precision == "float32" else 45
    assert verify(path, program, {"image": PIXELS, "gain": GAINS}, precision, details).sqnr_db >= least_db
    assert verify(path, program, {"image": read.numpy(), "gain": GAINS}, precision, details).sqnr_db >= least_db
    assert verify(path, program, None, precision, details).sqnr_db >= least_db


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Image(scale=1 / 120, bias=(-1.0,)), id="scale"),
        pytest.param(Image(scale=1 / 127.5), id="bias"),
        pytest.param(Image(scale=1 / 127.5, bias=(-1.0,), color="BGR"), id="color"),
    ],
)
def test_a_picture_read_otherwise_is_noticed(other: Image, tmp_path: Path) -> None:
    program = camera()
    wanted = CoreML(images={"image": Image(scale=1 / 127.5, bias=(-1.0,))})

    path = convert(program, tmp_path / "net.mlpackage", details=CoreML(images={"image": other}))

    with pytest.raises(ParityError, match="departs from its module"):
        verify(path, program, {"image": PIXELS, "gain": GAINS}, details=wanted)


def test_pictures_are_images_in_the_spec_and_the_rest_stays_float32(tmp_path: Path) -> None:
    details = CoreML(images={"image": Image(scale=1 / 255, color="GRAYSCALE")}, target="iOS16")

    path = convert(camera(1), tmp_path / "net.mlpackage", precision="float16", details=details)

    spec = open_package(path).spec
    image, gain = spec.description.input
    colors = type(image.type.imageType).ColorSpace
    assert spec.specificationVersion == 7
    assert (image.type.imageType.width, image.type.imageType.height) == (20, 16)
    assert image.type.imageType.colorSpace == colors.Value("GRAYSCALE")
    assert gain.type.multiArrayType.dataType == gain.type.multiArrayType.FLOAT32
    assert load(path).run({"image": PIXELS[..., :1], "gain": GAINS})["scores"].shape == (12, 4)


def test_a_quantized_network_reads_pictures(quantized: Exported, tmp_path: Path) -> None:
    details = CoreML(images={"features": Image(scale=6 / 255, bias=(-3.0,), color="GRAYSCALE")})

    path = convert(quantized.program, tmp_path / "net.mlpackage", details=details)

    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 101, 1)).astype(np.uint8)
    parity = verify(path, quantized.program, {"features": pixels}, details=details)
    assert parity.integers_equal
    assert parity.max_steps is not None
    assert parity.max_steps <= 1


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_labels_make_a_dictionary_of_the_first_output(precision: Precision, tmp_path: Path) -> None:
    program = camera()

    path = convert(program, tmp_path / "net.mlpackage", precision=precision, details=CoreML(labels=LABELS))

    description = open_package(path).spec.description
    assert [end.name for end in description.output] == ["scores", "features", "scores_label"]
    assert [end.type.WhichOneof("Type") for end in description.output] == [
        *("dictionaryType", "multiArrayType", "stringType")
    ]
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == ("scores_label", "scores")
    read = {"image": np.random.default_rng(1).normal(size=(12, 3, 16, 20)).astype(np.float32), "gain": GAINS}
    answers = CoreMLModel(path).run({name: value[:1] for name, value in read.items()})
    assert answers["scores_label"].tolist() == [LABELS[int(answers["scores"].argmax())]]
    assert verify(path, program, read, precision).sqnr_db >= (80 if precision == "float32" else 45)


def test_a_classifier_is_spelled_as_coremltools_spells_one(tmp_path: Path) -> None:
    program = Program(nn.Linear(3, 2).eval(), {"x": torch.ones(1, 3)}, ("y",))
    with quiet():
        model = ct.convert(
            torch.export.export(program.module, (torch.ones(1, 3),)).run_decompositions({}),
            outputs=[ct.TensorType(name="y", dtype=np.float32)],
            classifier_config=ct.ClassifierConfig(["no", "yes"], "y_label", "y"),
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )

    path = convert(program, tmp_path / "net.mlpackage", details=CoreML(labels=("no", "yes")))

    ours, theirs = open_package(path).spec, model.get_spec()
    assert last_operation(ours) == last_operation(theirs)
    assert {str(end.type) for end in ours.description.output} == {str(end.type) for end in theirs.description.output}


def last_operation(spec: Any) -> str:
    """Without the names that each side chooses for itself."""
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    operation = block.operations[-1]
    operation.attributes.pop("name", None)
    operation.outputs[1].name = "numbers"
    operation.inputs["probabilities"].arguments[0].name = "x"
    return str(operation)


def test_words_of_the_author_are_in_the_file(tmp_path: Path) -> None:
    words = {"author": "A. Uthor", "licence": "Apache-2.0", "version": "1.2.3", "description": "Finds cats."}
    descriptions = {"image": "what is seen", "scores": "one for each animal"}
    details = CoreML(labels=LABELS, descriptions=descriptions, **words)  # type: ignore[arg-type]  # all are words

    path = convert(camera(), tmp_path / "net.mlpackage", details=details)

    with quiet():
        model = ct.models.MLModel(str(path), skip_model_load=True)
    assert (model.author, model.license, model.version, model.short_description) == tuple(words.values())
    assert model.input_description["image"] == "what is seen"
    assert model.output_description["scores"] == "one for each animal"


def test_two_functions_carry_words_too(tmp_path: Path) -> None:
    one = camera()
    programs = [one, Program(one.module, one.inputs, one.outputs, "again")]

    path = convert(programs, tmp_path / "net.mlpackage", details=CoreML(author="Me", descriptions={"gain": "loudness"}))

    description = open_package(path).spec.description
    assert description.metadata.author == "Me"
    assert [function.input[1].shortDescription for function in description.functions] == ["loudness"] * 2
    assert verify(path, programs).sqnr_db >= 80


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"images": {"picture": Image()}}, r"names 'picture'; the inputs are \['image', 'gain'\]"),
        ({"images": {"gain": Image()}}, r"'gain' of shape \(1, 1\) cannot be a RGB image"),
        ({"images": {"image": Image(color="GRAYSCALE")}}, r"a float input of shape \(1, 1, height, width\)"),
        ({"descriptions": {"img": "a picture"}}, r"descriptions\) names \['img'\]"),
        ({"labels": ("cat", "dog")}, "2 labels were given for 'scores', which has 4 entries"),
    ],
)
def test_what_the_program_does_not_have_is_refused(details: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ConversionError), match=message) as raised:
        convert(camera(), tmp_path / "net.mlpackage", details=CoreML(**details))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_images_and_labels_are_for_packages_of_one_function(tmp_path: Path) -> None:
    programs = [camera(), Program(camera().module, camera().inputs, camera().outputs, "again")]

    with pytest.raises(InputError, match="images and labels for files of one signature, 'main'"):
        convert(programs, tmp_path / "net.mlpackage", details=CoreML(labels=LABELS))


def test_wishes_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"'iOS15'\) is unknown; choose one of iOS16, iOS17, iOS18"):
        CoreML(target="iOS15")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(InputError, match="tuple of different words"):
        CoreML(labels=("cat", "cat"))
    with pytest.raises(InputError, match=r"'YUV'.* choose one of RGB, BGR, GRAYSCALE"):
        Image(color="YUV")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(InputError, match=r"bias=\(1, 2\)\) must hold 1 or 3 numbers"):
        Image(bias=(1, 2))
    with pytest.raises(InputError, match="leaves no picture"):
        Image(scale=0.0)


def test_details_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CoreML details were given for a onnx file"):
        convert(camera(), tmp_path / "net.onnx", details=CoreML())
