"""A Transformer of three signatures, of which two are exported: integer layers around a float core."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import (
    FORMATS,
    ConversionError,
    Format,
    Model,
    Program,
    convert,
    load,
    module_integers,
    size_bytes,
    suffix_of,
    verify,
)
from mobiledistill.quantize import calibrate, freeze, prepare
from mobiledistill.quantize._modules import ActivationQuantizer
from tests.converters._transformer import CACHE, HEADS, LONGEST, MEMORY, WIDTH, Encode, Step, Whole, sentences, trained

TOKENS = 8
STEP_INPUTS = ("token", "position", "source", *MEMORY, *CACHE)
Sentences = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def held_out() -> Sentences:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return sentences(16, TOKENS)


@pytest.fixture(scope="module")
def frozen(held_out: Sentences) -> nn.ModuleDict:
    source, target = held_out
    model = trained()
    signatures = {"encode": Encode(model), "step": Step(model), "whole": Whole(model)}
    prepared = prepare(signatures)
    _, read = in_steps(signatures, held_out)
    step = dict(zip(STEP_INPUTS, read[5], strict=True))
    whole = {"source": source, "target": target}
    calibrate(prepared, {"encode": {"source": source}, "step": step, "whole": whole}, 99.99)
    return freeze(prepared)


def in_steps(modules: Mapping[str, nn.Module], both: Sentences) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Logits of all steps, and what each of them read."""
    source, target = both
    answers, read = [], []
    with torch.no_grad():
        memory = modules["encode"](source)
        caches = [torch.zeros(len(source), HEADS, LONGEST, WIDTH // HEADS) for _ in CACHE]
        for place in range(TOKENS):
            read.append((target[:, place : place + 1], torch.tensor([place]), source, *memory, *caches))
            logits, *caches = modules["step"](*read[-1])
            answers.append(logits)
    return torch.stack(answers, 1), read


def programs(frozen: nn.ModuleDict, both: Sentences) -> list[Program]:
    _, read = in_steps(frozen, both)
    step = {name: value[:1] for name, value in zip(STEP_INPUTS, read[3], strict=True)}
    outputs = ("logits", *(f"new_{name}" for name in CACHE))
    return [
        Program(frozen["encode"], {"source": both[0][:1]}, MEMORY, "encode"),
        Program(frozen["step"], step, outputs, "step"),
    ]


def test_steps_with_a_cache_are_the_whole_at_once(frozen: nn.ModuleDict, held_out: Sentences) -> None:
    stepwise, _ = in_steps(frozen, held_out)

    with torch.no_grad():
        torch.testing.assert_close(stepwise, frozen["whole"](*held_out), atol=1e-5, rtol=0)


def test_signatures_share_their_grids(frozen: nn.ModuleDict) -> None:
    grids = {
        name: {part for part in module.modules() if isinstance(part, ActivationQuantizer)}
        for name, module in frozen.items()
    }

    assert grids["whole"] == grids["encode"] | grids["step"]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_transformer_reaches_every_format(
    frozen: nn.ModuleDict, held_out: Sentences, format: Format, tmp_path: Path
) -> None:
    both = programs(frozen, held_out)
    _, read = in_steps(frozen, held_out)
    spread = [[value.expand(len(held_out[0])) if value.dim() == 1 else value for value in step] for step in read[::3]]
    samples = {
        name: torch.cat(parts).numpy() for name, parts in zip(STEP_INPUTS, zip(*spread, strict=True), strict=True)
    }

    path = convert(both, tmp_path / f"a{suffix_of(format)}")
    parity = verify(path, both, {"encode": {"source": held_out[0].numpy()}, "step": samples})

    assert parity.integers_equal
    assert parity.sqnr_db > 60
    assert parity.n == 16 + 48
    weights = {layer.name: layer.weight.size for program in both for layer in module_integers(program)}
    assert size_bytes(path) < sum(weights.values()) + {"tflite": 58_000, "coreml": 62_000, "onnx": 40_000}[format]
    assert_steps_agree(load(path), frozen, held_out)


def assert_steps_agree(model: Model, frozen: nn.ModuleDict, both: Sentences) -> None:
    """The file's caches, fed back to the file, say what the module says."""
    source, target = both[0][:1], both[1][:1]
    expected, _ = in_steps(frozen, (source, target))
    memory = model.run({"source": source.numpy()}, "encode")
    caches = {name: np.zeros((1, HEADS, LONGEST, WIDTH // HEADS), np.float32) for name in CACHE}
    for place in range(TOKENS):
        step = {"token": target[:, place : place + 1].numpy(), "position": np.array([place]), "source": source.numpy()}
        answers = model.run({**step, **memory, **caches}, "step")
        caches = {name: answers[f"new_{name}"] for name in CACHE}
    np.testing.assert_allclose(answers["logits"], expected[:, -1], atol=0.05 * float(expected.std()))


def test_a_signature_cannot_be_called_like_a_method_of_modules() -> None:
    with pytest.raises(ConversionError, match="'train' has the name of an attribute of torch modules"):
        prepare({"train": nn.Identity()})
