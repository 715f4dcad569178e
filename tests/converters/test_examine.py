"""What a file tells on its own: its answers, in two arithmetics, and where half precision would break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import FORMATS, Format, InputError, Program, convert, examine, suffix_of
from tests.converters._faulty import Stream

VALUES = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


class Loud(nn.Module):
    """Beyond float16's range in the middle, within it at the ends."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.mix(x)
        return self.head(torch.tanh(mixed * 6e4) + mixed), mixed.argmax(1)


@pytest.fixture(scope="module")
def loud() -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Program(Loud().eval(), {"x": VALUES[:1]}, ("scores", "choice"))


@pytest.mark.parametrize("format", FORMATS)
def test_answers_ranges_and_the_operator_that_overflows(loud: Program, tmp_path: Path, format: Format) -> None:
    path = convert(loud, tmp_path / f"a{suffix_of(format)}")

    (found,) = examine(path, {"x": VALUES.numpy()})

    with torch.no_grad():
        expected = {name: value.numpy() for name, value in loud(x=VALUES).items()}
        peak = 6e4 * float(loud.module.get_submodule("mix")(VALUES).abs().max())
    scores, choice = sorted(found.outputs, key=lambda output: output.name, reverse=True)
    assert (found.signature, found.n) == ("main", 5)
    assert (scores.shape, scores.dtype, scores.non_finite) == ((1, 3), "float32", 0)
    assert choice.shape == (1,)
    assert scores.low == pytest.approx(expected["scores"].min(), abs=1e-4)
    assert scores.high == pytest.approx(expected["scores"].max(), abs=1e-4)
    np.testing.assert_allclose(found.answers["scores"], expected["scores"], atol=1e-4)
    assert found.overflow is not None
    assert found.overflow.lower().startswith("mul, operator ")
    assert found.overflow.endswith(f"up to {peak:.3g}")


def test_a_package_of_half_precision_overflows_where_it_is_stored(loud: Program, tmp_path: Path) -> None:
    (found,) = examine(convert(loud, tmp_path / "a.mlpackage", precision="float16"), {"x": VALUES.numpy()})
    assert found.overflow is not None
    assert found.overflow.startswith("mul, operator ")
    assert found.overflow.endswith("up to inf")


def test_core_ml_in_half_precision_parts_from_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = Program(nn.Linear(8, 3), {"x": VALUES[:1]}, ("y",))
    (found,) = examine(convert(program, tmp_path / "a.mlpackage"), {"x": VALUES.numpy()})
    assert found.arithmetics == ("float32", "float16")
    assert 50 < found.outputs[0].apart_db < 90


def test_a_file_that_stays_in_range_says_so(tmp_path: Path) -> None:
    program = Program(nn.Linear(8, 3), {"x": VALUES[:1]}, ("y",))
    (found,) = examine(convert(program, tmp_path / "a.onnx"), {"x": VALUES.numpy()})
    assert found.overflow is None
    assert found.outputs[0].apart_db > 100


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_number_is_counted(tmp_path: Path, format: Format) -> None:
    module = nn.Linear(8, 3)
    path = convert(Program(module, {"x": VALUES[:1]}, ("y",)), tmp_path / f"a{suffix_of(format)}")
    broken = VALUES.clone()
    broken[2, 0] = torch.nan
    (found,) = examine(path, {"x": broken.numpy()})
    assert found.outputs[0].non_finite == 3
    assert np.isfinite([found.outputs[0].low, found.outputs[0].high]).all()


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = Stream().eval()
    cache = torch.zeros(1, 4, 1, 2)
    programs = [
        Program(module, {"sound": torch.zeros(1, 4, 1, length), "cache": cache}, ("scores", "new_cache"), name)
        for name, length in (("long", 9), ("short", 3))
    ]
    return convert(programs, tmp_path_factory.mktemp("stream") / "a.mlpackage")


def test_signatures_run_as_far_as_their_inputs_are_given(stream: Path) -> None:
    short = {"short/sound": np.ones((4, 4, 1, 3), np.float32), "short/cache": np.zeros((4, 4, 1, 2), np.float32)}
    long = {"long/sound": np.ones((2, 4, 1, 9), np.float32), "long/cache": np.zeros((2, 4, 1, 2), np.float32)}

    assert [(one.signature, one.n) for one in examine(stream, short)] == [("short", 4)]
    assert [(one.signature, one.n) for one in examine(stream, {**short, **long})] == [("long", 2), ("short", 4)]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"sound": (4, 4, 1, 3)}, r"names no signature; .* has \['long', 'short'\]"),
        ({"middle/sound": (4, 4, 1, 3)}, r"names signature 'middle', but .* has \['long', 'short'\]"),
        ({"short/sound": (4, 4, 1, 3), "short/cache": (3, 4, 1, 2)}, "give each as many"),
        ({"short/sound": ()}, "at least one"),
        ({"short/sound": (4, 4, 1, 3)}, r"it reads \['cache', 'sound'\]"),
        ({}, "No inputs were given"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(stream: Path, inputs: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        examine(stream, {name: np.zeros(shape, np.float32) for name, shape in inputs.items()})
