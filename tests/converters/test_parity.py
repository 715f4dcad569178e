"""What verify lets pass and what it catches: planted faults, in each format, named by their layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import fx

from converters import FORMATS, Format, InputError, ParityError, Program, compare, convert, suffix_of, verify
from converters._integers import Grid, Inspection, grid_differences
from converters._parity import _judge_answers, _judge_exactness
from mobiledistill.quantize import calibrate, freeze, prepare
from tests.networks import Residual, settled

IMAGES = torch.randn(48, 1, 16, 16, generator=torch.Generator().manual_seed(0))
INPUTS: dict[str, NDArray[np.generic]] = {"image": IMAGES.numpy()}


@pytest.fixture(scope="module")
def module() -> fx.GraphModule:
    torch.manual_seed(0)
    prepared = prepare({"main": settled(Residual(12), IMAGES)})
    calibrate(prepared, {"main": {"image": IMAGES}}, 99.99)
    frozen = freeze(prepared)["main"]
    assert isinstance(frozen, fx.GraphModule)
    return frozen


def program(module: torch.nn.Module) -> Program:
    return Program(module, {"image": IMAGES[:1]}, ("logits",))


def bias_times_three(module: fx.GraphModule) -> None:
    module.get_submodule("head").bias *= 3  # type: ignore[operator]


def zero_point_shifted(module: fx.GraphModule) -> None:
    module.get_submodule("grid_second").zero_point_value += 2  # type: ignore[operator]


def weight_transposed(module: fx.GraphModule) -> None:
    layer = module.get_submodule("first")
    layer.weight.copy_(layer.weight.transpose(2, 3).clone())  # type: ignore[operator, union-attr]


def scale_off_by_two_percent(module: fx.GraphModule) -> None:
    layer = module.get_submodule("second")
    layer.weight_scale[0] *= 1.02  # type: ignore[operator]
    layer.weight[0] *= 1.02  # type: ignore[operator]


@pytest.mark.parametrize("format", FORMATS)
def test_the_modules_own_file_passes(module: fx.GraphModule, tmp_path: Path, format: Format) -> None:
    path = convert(program(module), tmp_path / f"a{suffix_of(format)}")
    parity = verify(path, program(module), INPUTS)
    assert parity.integers_equal
    assert parity.n == 48
    assert parity.max_steps is not None
    assert parity.max_steps <= 1.001


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("fault", "layer"),
    [
        (bias_times_three, "head"),
        (zero_point_shifted, "second"),
        (weight_transposed, "first"),
        (scale_off_by_two_percent, "second"),
    ],
)
def test_planted_faults_are_caught_and_named(
    module: fx.GraphModule, tmp_path: Path, format: Format, fault: Callable[[fx.GraphModule], None], layer: str
) -> None:
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        fault(wrong)
    path = convert(program(wrong), tmp_path / f"a{suffix_of(format)}")
    with pytest.raises(ParityError, match=f"First departing layer: {layer}"):
        verify(path, program(module), INPUTS)


@pytest.mark.parametrize("format", FORMATS)
def test_a_float_file_must_come_close(tmp_path: Path, format: Format) -> None:
    network = settled(Residual(12), IMAGES)
    path = convert(program(network), tmp_path / f"a{suffix_of(format)}")
    assert verify(path, program(network), INPUTS).sqnr_db >= 80
    with torch.no_grad():
        network.get_submodule("head").weight[0] += 0.05  # type: ignore[operator, index]
    with pytest.raises(ParityError, match="80 dB are due"):
        verify(path, program(network), INPUTS)


@pytest.mark.parametrize("format", FORMATS)
def test_half_precision_halves_the_weights_and_keeps_45_db(tmp_path: Path, format: Format) -> None:
    network = settled(Residual(48), IMAGES)
    whole = convert(program(network), tmp_path / f"a{suffix_of(format)}")
    half = convert(program(network), tmp_path / f"b{suffix_of(format)}", precision="float16")
    assert verify(half, program(network), INPUTS, "float16").sqnr_db >= 45
    assert _bytes(half) < 0.6 * _bytes(whole)


def test_compare_measures_noise_against_signal() -> None:
    signal = np.array([[1.0], [-1.0]])
    noisy = signal + np.array([[0.1], [-0.1]])
    assert compare({"y": signal}, {"y": noisy}).sqnr_db == pytest.approx(20.0)
    assert compare({"y": signal}, {"y": noisy}, {"y": 0.05}).max_steps == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"other": INPUTS}, r"for signatures \['other'\]; the programs are \['main'\]"),
        ({"main": INPUTS, **INPUTS}, r"\['image'\] stand beside signatures \['main'\]"),
    ],
    ids=["an unknown signature", "both forms at once"],
)
def test_inputs_go_by_signature(tmp_path: Path, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        verify(tmp_path, Program(torch.nn.Identity(), {"image": IMAGES[:1]}, ("same",)), inputs)


class Normed(torch.nn.Module):
    """Rounds what a norm returns: on the grid of a layer, and not at all at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = torch.nn.LayerNorm(16), torch.nn.Linear(16, 16)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layer(self.norm(image)), -1)


def test_float_outputs_of_integer_layers_are_judged_by_noise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    prepared = prepare({"main": Normed()})
    calibrate(prepared, {"main": {"image": IMAGES}}, 99.99)
    frozen = freeze(prepared)["main"]
    path = convert(program(frozen), tmp_path / "a.onnx")
    parity = verify(path, program(frozen), {"main": INPUTS})
    assert parity.integers_equal
    assert parity.max_steps is None

    wrong = copy.deepcopy(frozen)
    with torch.no_grad():
        wrong.get_submodule("norm").weight[:8] *= 1.3  # type: ignore[operator, index]  # no integer departs
    path = convert(program(wrong), tmp_path / "b.onnx")
    with pytest.raises(ParityError, match="dB are due"):
        verify(path, program(frozen), {"main": INPUTS})


def test_grids_of_a_file_are_some_of_its_modules() -> None:
    own = [(lambda: "first", Grid(0.5, 0)), (lambda: "second", Grid(0.1, -128))]
    assert grid_differences(own, [Grid(0.1, -128), Grid(0.5 * (1 + 2.0**-11), 0)]) == []
    (stretched,) = grid_differences(own, [Grid(0.102, -128), Grid(0.102, -128), Grid(0.5, 0)])
    assert stretched.startswith("second: a grid of scale 0.102 and zero point -128 is none of the module's")
    assert grid_differences(own, [Grid(0.5, 1)])[0].startswith("first: ")
    assert grid_differences([], [Grid(0.5, 1)]) == ["the file puts values on grids, its module on none"]
    assert grid_differences([], []) == []


def test_missing_outputs_are_refused() -> None:
    with pytest.raises(InputError, match="lack the outputs"):
        compare({"y": np.zeros((1, 1))}, {"z": np.zeros((1, 1))})


def _bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in path.rglob("*")) if path.is_dir() else path.stat().st_size


def judged(errors_in_steps: NDArray[np.float64], step: float | None = 0.5, rounding_db: float = 30.0) -> None:
    """What is said of an ONNX file whose unoptimised answers depart by these errors from its module's."""
    reference = np.random.default_rng(0).normal(0, 20, errors_in_steps.shape)
    inspection = Inspection(layers=[], output_steps={"y": step}, quantized=True, rounds_float_arithmetic=False)
    exact = {"y": reference + errors_in_steps * (step or 0.5)}
    _judge_exactness(Path("a.onnx"), inspection, {"y": reference}, exact, rounding_db, {"y": reference}, exact)


def test_a_tie_may_move_what_is_behind_it_in_few_samples() -> None:
    errors = np.zeros((40, 200))
    errors[7, :8] = [1, 1, 2, 1, 1, -2, 1, 1]
    judged(errors)
    errors[10:15] = errors[7]  # six samples of forty: no longer few
    with pytest.raises(ParityError, match="equals its module on only"):
        judged(errors)


def test_one_sample_in_fifty_may_be_off_in_every_output() -> None:
    reference = np.random.default_rng(0).normal(0, 20, (64, 10))
    inspection = Inspection(layers=[], output_steps={"y": 0.5}, quantized=True, rounds_float_arithmetic=False)

    def judge(errors_in_steps: NDArray[np.float64]) -> None:
        answers = {"y": reference + 0.5 * errors_in_steps}
        found = compare({"y": reference}, answers)
        _judge_answers(Path("a.tflite"), inspection, {"y": reference}, answers, found, rounding_db=20.0)

    errors = np.zeros((64, 10))
    errors[7, :7] = 2  # 1.09 % of the values, as was met: one sample's luck
    judge(errors)
    errors[8:10] = errors[7]
    with pytest.raises(ParityError, match=r"97\.8 % of 'y' lie within one output step"):
        judge(errors)


def test_a_fault_in_every_sample_is_none_of_ties_however_few_values_it_moves() -> None:
    errors = np.zeros((40, 200))
    errors[:, 3] = 2  # half a percent of the values
    with pytest.raises(ParityError, match=r"equals its module on only 99\.5 % of 'y'"):
        judged(errors)


def test_ties_on_the_way_to_a_float_output_cost_less_than_rounding() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (40, 200))
    judged(noise * 0.3, step=None)  # 42.5 dB, 12 below rounding's noise
    with pytest.raises(ParityError, match=r"where 40\.0 dB are due"):
        judged(noise * 0.8, step=None)  # 34 dB


def test_behind_floats_the_module_in_64_bits_is_the_reference_and_either_way_of_running_may_reach_it() -> None:
    true = np.random.default_rng(0).normal(0, 20, (40, 200))
    noise = np.random.default_rng(1).normal(0, 1, (40, 200))
    inspection = Inspection(layers=[], output_steps={"y": None}, quantized=True, rounds_float_arithmetic=False)
    near, far = {"y": true + 0.1 * noise}, {"y": true + noise}

    def judge(unoptimized: dict[str, NDArray[np.float64]], answers: dict[str, NDArray[np.float64]]) -> None:
        _judge_exactness(Path("a.onnx"), inspection, far, unoptimized, 30.0, {"y": true}, answers)

    judge(near, far)
    judge(far, near)
    with pytest.raises(ParityError, match=r"64-bit floats: 26\.\d dB"):
        judge(far, far)  # as the module itself errs


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_no_match(wrong: float) -> None:
    right = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    broken = right.copy()
    broken[2, 1] = wrong
    assert compare({"y": right}, {"y": broken}).sqnr_db == -200
    assert compare({"y": broken}, {"y": right}).sqnr_db == -200
    assert compare({"y": broken}, {"y": broken}).sqnr_db == 200


@pytest.mark.parametrize(
    ("due", "answers", "words"),
    [
        ({}, {"y": np.ones(3)}, "nothing to compare"),
        (
            {"y": np.ones((2, 3))},
            {"y": np.ones((2, 4))},
            r"is due as float64 \(2, 3\), but the answers are float64 \(2, 4\)",
        ),
        ({"y": np.array(["a"])}, {"y": np.ones(1)}, "give numbers of the same shape"),
        ({"y": np.ones((0, 3))}, {"y": np.ones((0, 3))}, "at least one"),
    ],
)
def test_what_cannot_be_compared_is_named(
    due: dict[str, np.ndarray], answers: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare(due, answers)
