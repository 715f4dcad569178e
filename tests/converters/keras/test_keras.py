"""Keras models become every format, under their own names, and answer as Keras does; what hides code stays shut."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from converters import (
    FORMATS,
    Format,
    InputError,
    KerasModel,
    MissingExtraError,
    ModelFileError,
    ParityError,
    convert,
    load,
    load_keras,
    size_bytes,
    suffix_of,
    verify,
)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_answers_as_its_model_and_is_slim(cnn: KerasModel, tmp_path: Path, format: Format) -> None:
    assert cnn.inputs == {"image": ((1, 16, 16, 3), "float32")}
    assert cnn.outputs == ("logits",)
    path = convert(cnn, tmp_path / f"net{suffix_of(format)}", precision="float16")
    assert 45 <= verify(path, cnn, precision="float16").sqnr_db < 80
    assert size_bytes(path) < 2600  # 365 weights are 730 bytes


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_several_inputs_and_outputs_attention_and_recurrent_layers(saved: Path, tmp_path: Path, format: Format) -> None:
    source = load_keras(saved / "several.keras")
    assert source.outputs == ("scores", "boxes")
    path = convert(source, tmp_path / f"net{suffix_of(format)}")
    known = dict(np.load(saved / "several.npz"))
    samples = {name: known[name].astype(dtype) for name, (_, dtype) in source.inputs.items()}
    assert verify(path, source, samples).n == 5
    answers = load(path).run(samples)
    for name in source.outputs:
        np.testing.assert_allclose(answers[name], known[name], atol=1e-4)  # what Keras's own predict said


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_a_saved_model_that_is_trusted(saved: Path, tmp_path: Path, format: Format) -> None:
    source = load_keras(saved / "cnn", trust=True)
    path = convert(source, tmp_path / f"net{suffix_of(format)}")
    assert verify(path, source).sqnr_db >= 80
    assert size_bytes(path) < 3500  # 365 weights are 1,460 bytes


def test_a_file_of_another_model_is_found_out(saved: Path, cnn: KerasModel, tmp_path: Path) -> None:
    path = convert(cnn, tmp_path / "net.onnx")
    _shift_first_weight(path)
    with pytest.raises(ParityError, match=r"departs from its module: .* where 80 dB are due"):
        verify(path, cnn)


def test_a_saved_model_is_not_opened_without_trust(saved: Path) -> None:
    with pytest.raises(InputError, match=r"can run code: say that you trust it \(trust=True, --trust\)"):
        load_keras(saved / "cnn")


def test_code_inside_a_keras_file_is_not_run(saved: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be opened by Keras in safe mode .*[Ll]ambda"):
        load_keras(saved / "lambda.keras")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cnn.h5", r"old HDF5 format, .* save it with model\.save"),
        ("none.keras", "does not exist"),
        ("text.txt", r"neither a \.keras file nor the folder of a SavedModel"),
        ("garbage.keras", "cannot be opened by Keras"),
        ("open.keras", r"reads 'frames' of shape \(None, None, 6\), .* keras\.Input"),
    ],
)
def test_what_cannot_be_read_is_refused(saved: Path, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "garbage.keras").write_bytes(np.random.default_rng(0).bytes(4096))
    if (saved / name).exists():
        shutil.copy(saved / name, tmp_path)
    with pytest.raises(InputError, match=words):
        load_keras(tmp_path / name)


def test_without_tensorflow_the_extra_is_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobiledistill\[tensorflow\]'"):
        load_keras(saved / "cnn.keras")


def _shift_first_weight(path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
