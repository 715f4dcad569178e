"""Whole networks through all formats: what they compute, how large they are, and that state carries them on."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import (
    FORMATS,
    Format,
    ParityError,
    Program,
    convert,
    load,
    module_integers,
    size_bytes,
    suffix_of,
    verify,
)
from converters._integers import inspect_module
from mobiledistill.quantize import calibrate, freeze, prepare
from tests.converters._references import Pyramid, Stream, empty_caches, settle_norms

CHUNK = 8
SOUNDS = torch.randn(24, 1, 16, 6 * CHUNK, generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(24, 3, 64, 96, generator=torch.Generator().manual_seed(0))
STREAM_INPUTS = ("features", "cache_0", "cache_1", "cache_2")
STREAM_OUTPUTS = ("logits", "new_cache_0", "new_cache_1", "new_cache_2")


@pytest.fixture(scope="module")
def stream() -> nn.Module:
    torch.manual_seed(0)
    network = Stream()
    values = (SOUNDS, *empty_caches(network, len(SOUNDS)))
    settle_norms(network, *values)
    prepared = prepare({"main": network})
    calibrate(prepared, {"main": dict(zip(STREAM_INPUTS, values, strict=True))}, 99.99)
    return freeze(prepared)["main"]


def in_chunks(stream: nn.Module) -> tuple[Tensor, list[Tensor], dict[str, np.ndarray]]:
    """Answers, last state, and what the chunks read, of one after the other."""
    state = empty_caches(Stream(), len(SOUNDS))
    answers, read = [], []
    with torch.no_grad():
        for chunk in SOUNDS.split(CHUNK, 3):
            read.append((chunk, *state))
            answer, *state = stream(chunk, *state)
            answers.append(answer)
    inputs = {
        name: torch.cat(values).numpy() for name, values in zip(STREAM_INPUTS, zip(*read, strict=True), strict=True)
    }
    return torch.cat(answers, 3), state, inputs


def stream_program(stream: nn.Module) -> Program:
    _, _, inputs = in_chunks(stream)
    return Program(stream, {name: torch.from_numpy(value[:1]) for name, value in inputs.items()}, STREAM_OUTPUTS)


def test_a_stream_in_chunks_is_the_whole_at_once(stream: nn.Module) -> None:
    with torch.no_grad():
        whole, *last = stream(SOUNDS, *empty_caches(Stream(), len(SOUNDS)))

    answers, state, _ = in_chunks(stream)

    assert whole.std() > 0
    assert torch.equal(answers, whole)
    assert all(torch.equal(one, other) for one, other in zip(state, last, strict=True))


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_reaches_every_format(stream: nn.Module, format: Format, tmp_path: Path) -> None:
    program = stream_program(stream)
    _, _, inputs = in_chunks(stream)

    path = convert(program, tmp_path / f"a{suffix_of(format)}")
    parity = verify(path, program, {name: values[::6] for name, values in inputs.items()})

    assert parity.integers_equal
    weights = sum(layer.weight.size for layer in module_integers(program))
    assert size_bytes(path) < weights + {"tflite": 9_500, "coreml": 13_000, "onnx": 6_500}[format]
    model, state = load(path), {name: values[:1] for name, values in inputs.items() if name != "features"}
    for chunk in SOUNDS[:1].split(CHUNK, 3):
        answers = model.run({"features": chunk.numpy(), **state})
        state = {name: answers[f"new_{name}"] for name in state}
    with torch.no_grad():
        whole, *_ = stream(SOUNDS[:1], *empty_caches(Stream()))
    np.testing.assert_allclose(answers["logits"], whole[..., -CHUNK:], atol=1e-5)


def test_a_stream_in_tflite_is_all_integer(stream: nn.Module, tmp_path: Path) -> None:
    from converters._tflite import operators

    names = operators(convert(stream_program(stream), tmp_path / "a.tflite"))

    ends = len(STREAM_INPUTS)
    assert names[:ends] == ["QUANTIZE"] * ends
    assert names[-ends:] == ["DEQUANTIZE"] * ends
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(names[ends:-ends])


@pytest.fixture(scope="module")
def pyramid() -> nn.Module:
    torch.manual_seed(0)
    network = Pyramid()
    settle_norms(network, IMAGES)
    prepared = prepare({"main": network})
    calibrate(prepared, {"main": {"image": IMAGES}}, 99.99)
    return freeze(prepared)["main"]


def pyramid_program(pyramid: nn.Module) -> Program:
    return Program(pyramid, {"image": IMAGES[:1]}, ("boxes", "scores"))


def test_heads_that_scales_share_are_stored_once_and_boxes_stay_float(pyramid: nn.Module) -> None:
    layers = [layer.name for layer in module_integers(pyramid_program(pyramid))]

    assert layers.count("tower.0") == layers.count("boxes") == 3
    assert inspect_module(pyramid_program(pyramid)).output_steps == {"boxes": None, "scores": None}


@pytest.mark.parametrize("format", FORMATS)
def test_a_pyramid_reaches_every_format(pyramid: nn.Module, format: Format, tmp_path: Path) -> None:
    program = pyramid_program(pyramid)

    path = convert(program, tmp_path / f"a{suffix_of(format)}")
    parity = verify(path, program, {"main": {"image": IMAGES.numpy()}})

    assert parity.integers_equal
    assert parity.max_steps is None
    assert parity.sqnr_db > 50
    weights = sum({layer.name: layer.weight.size for layer in module_integers(program)}.values())
    assert size_bytes(path) < weights + {"tflite": 14_500, "coreml": 22_000, "onnx": 10_500}[format]


def test_a_pyramid_moves_integers(pyramid: nn.Module, tmp_path: Path) -> None:
    from converters._tflite import operators

    names = operators(convert(pyramid_program(pyramid), tmp_path / "a.tflite"))

    integer = names[1 : names.index("DEQUANTIZE")]
    assert names[0] == "QUANTIZE"
    assert integer.count("CONV_2D") == 17
    assert integer.count("RESIZE_NEAREST_NEIGHBOR") == 2
    assert "QUANTIZE" not in names[1:]
    assert names.count("TRANSPOSE") == 1  # the image's own


def test_a_wrong_box_layer_is_caught(pyramid: nn.Module, tmp_path: Path) -> None:
    wrong = copy.deepcopy(pyramid)
    with torch.no_grad():
        wrong.get_submodule("boxes").bias[0] += 0.2  # type: ignore[operator, index]  # a tensor
    path = convert(pyramid_program(wrong), tmp_path / "a.onnx")

    with pytest.raises(ParityError, match=r"dB are due\. First departing layer: boxes: bias is up to"):
        verify(path, pyramid_program(pyramid), {"main": {"image": IMAGES.numpy()}})
