from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters._errors import ConversionError
from converters._integers import integer_differences, module_integers
from converters._onnx import ONNXModel, export_onnx, operators, read_integers
from converters._program import Precision, Program
from tests.converters._networks import ActivationGrid, example_input, float_net, freeze, quantized_net


def program_of(module: nn.Module, name: str = "main") -> Program:
    return Program(module, {"features": example_input()}, ("logits",), name)


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx([program_of(quantized_net())], tmp_path_factory.mktemp("int8") / "net.onnx")


def answers(module: nn.Module, path: Path, *, optimized: bool) -> tuple[np.ndarray, np.ndarray]:
    """The module's and the file's, on the same 32 inputs."""
    inputs = torch.randn(32, 1, 40, 101)
    with torch.no_grad():
        expected = module(inputs).numpy()
    model = ONNXModel(path, optimized=optimized)
    return expected, np.concatenate([model.run({"features": x[None].numpy()})["logits"] for x in inputs])


def sqnr_db(expected: np.ndarray, given: np.ndarray) -> float:
    return float(10 * np.log10(np.var(expected) / np.mean((expected - given) ** 2)))


def test_without_optimisations_a_quantized_file_is_the_simulation(int8_file: Path) -> None:
    expected, given = answers(quantized_net(), int8_file, optimized=False)
    np.testing.assert_array_equal(given, expected)


def test_with_optimisations_a_quantized_file_is_within_a_step(int8_file: Path) -> None:
    module = quantized_net()
    expected, given = answers(module, int8_file, optimized=True)
    steps = np.abs(given - expected) / module.head_grid.scale  # type: ignore[union-attr, operator]  # an ActivationGrid
    assert float((steps <= 1.001).mean()) >= 0.99
    assert sqnr_db(expected, given) > 28


def test_all_of_a_quantized_file_runs_in_integer_kernels(int8_file: Path, tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that such a file belongs to one machine
    onnxruntime.InferenceSession(str(int8_file), options, providers=["CPUExecutionProvider"])
    kernels = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    moves = {"Reshape", "Transpose"}
    assert [kernel for kernel in kernels if kernel not in moves] == [
        "QuantizeLinear",
        *["QLinearConv"] * 3,
        "QLinearAdd",
        *["QLinearConv"] * 2,
        "QLinearGlobalAveragePool",
        "QGemm",
        "DequantizeLinear",
    ]


@pytest.mark.parametrize(("precision", "least_db"), [("float32", 80), ("float16", 45)])
def test_a_float_file_answers_like_its_module(precision: Precision, least_db: float, tmp_path: Path) -> None:
    path = export_onnx([program_of(float_net())], tmp_path / "net.onnx", precision)
    for optimized in (True, False):
        assert sqnr_db(*answers(float_net(), path, optimized=optimized)) >= least_db


def test_float16_halves_the_bytes_and_leaves_integers_alone(tmp_path: Path, int8_file: Path) -> None:
    sizes = {
        precision: export_onnx([program_of(float_net(16))], tmp_path / f"{precision}.onnx", precision).stat().st_size
        for precision in ("float32", "float16")
    }
    assert sizes["float16"] < 0.54 * sizes["float32"]
    again = export_onnx([program_of(quantized_net())], tmp_path / "int8.onnx", "float16")
    assert again.read_bytes() == int8_file.read_bytes()


def test_the_integers_are_the_modules_own(int8_file: Path) -> None:
    program = program_of(quantized_net())
    read = read_integers(int8_file)
    assert list(read) == ["main"]
    assert len(read["main"]) == 6
    assert not integer_differences(module_integers(program), read["main"])
    departed = program_of(quantized_net())
    departed.module.head_grid.zero_point += 1  # type: ignore[operator, union-attr, assignment]
    assert len(integer_differences(module_integers(departed), read["main"])) == 1


class Tokens(nn.Module):
    """What the residual network lacks: a linear layer over a sequence, a limit of 6, a mean that drops its axes."""

    def __init__(self, grid: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv, self.linear, self.head = nn.Conv2d(1, 8, 3, stride=4), nn.Linear(24, 12), nn.Linear(8, 5)
        self.grids = nn.ModuleList(grid() for _ in range(5))

    def forward(self, features: Tensor) -> Tensor:
        x = self.grids[1](F.hardtanh(self.conv(self.grids[0](features)), 0, 6))
        x = self.grids[2](self.linear(x[..., :24]))
        x = self.grids[3](x.mean((2, 3)))
        return self.grids[4](self.head(x))


def test_other_shapes_of_layers_keep_their_integers(tmp_path: Path) -> None:
    module = Tokens(ActivationGrid).eval()
    with torch.no_grad():
        module(torch.randn(16, 1, 40, 101))
    freeze(module)
    path = export_onnx([program_of(module)], tmp_path / "net.onnx")
    assert not {"Clip", "ReduceMean", "Transpose"} & set(operators(path))
    layers = module_integers(program_of(module))
    assert len(layers) == 3
    assert not integer_differences(layers, read_integers(path)["main"])
    expected, given = answers(module, path, optimized=False)
    step = module.grids[4].scale
    assert float(np.abs(given - expected).max()) <= 1.001 * step  # type: ignore[operator]  # an ActivationGrid
    assert float((given == expected).mean()) > 0.99  # a mean is summed in another order
    expected, given = answers(module, path, optimized=True)
    assert float((np.abs(given - expected) <= 1.001 * step).mean()) >= 0.99  # type: ignore[operator]


class Limited(nn.Module):
    """Activations whose limits lie inside the grid behind them, and one whose limits are the grid's own."""

    def forward(self, features: Tensor) -> Tensor:
        x = on_grid(F.relu(features), 0.02, 0)
        y = on_grid(F.hardtanh(features, 0, 1), 0.01, -128)
        z = on_grid(F.hardtanh(features, 0, 6), 0.01, -128)
        return x + y + z


def on_grid(x: Tensor, scale: float, zero_point: int) -> Tensor:
    ops, grid = torch.ops.quantized_decomposed, (scale, zero_point, -128, 127, torch.int8)
    return ops.dequantize_per_tensor.default(ops.quantize_per_tensor.default(x, *grid), *grid)


def test_only_limits_that_the_grid_has_too_are_left_out(tmp_path: Path) -> None:
    path = export_onnx([program_of(Limited())], tmp_path / "net.onnx")
    assert [name for name in operators(path) if name in ("Relu", "Clip")] == ["Relu", "Clip"]
    for optimized in (True, False):
        expected, given = answers(Limited(), path, optimized=optimized)
        np.testing.assert_allclose(given, expected, atol=1e-6)


class Halves(nn.Module):
    """Returns what it was given, one value twice, and values under names that torch uses for others."""

    def forward(self, a: Tensor, val_0: Tensor) -> tuple[Tensor, ...]:
        product = a * 2 + val_0
        return product, product, a


def test_ends_carry_the_programs_names_whatever_torch_calls_them(tmp_path: Path) -> None:
    inputs = {"a": torch.randn(1, 3), "val_0": torch.randn(1, 3)}
    program = Program(Halves(), inputs, ("mul", "twin", "copy"))
    model = ONNXModel(export_onnx([program], tmp_path / "net.onnx"))
    assert dict(model.signatures["main"].inputs) == {"a": (1, 3), "val_0": (1, 3)}
    assert model.signatures["main"].outputs == ("mul", "twin", "copy")
    given = model.run({name: value.numpy() for name, value in inputs.items()})
    for name, value in program(**inputs).items():
        np.testing.assert_array_equal(given[name], value.numpy())


def test_several_signatures_are_a_folder(tmp_path: Path, int8_file: Path) -> None:
    programs = [program_of(quantized_net()), program_of(float_net(), "plain")]
    path = tmp_path / "net.onnx"
    path.write_bytes(b"an earlier export")
    assert export_onnx(programs, path) == path
    assert sorted(part.name for part in tmp_path.rglob("*")) == ["main.onnx", "net.onnx", "plain.onnx"]
    assert (path / "main.onnx").read_bytes() == int8_file.read_bytes()
    model = ONNXModel(path)
    assert list(model.signatures) == ["main", "plain"]
    features = {"features": example_input().numpy()}
    with torch.no_grad():
        expected = programs[1](features=example_input())["logits"].numpy()
    np.testing.assert_allclose(model.run(features, "plain")["logits"], expected, atol=1e-5)
    assert [len(layers) for layers in read_integers(path).values()] == [6, 0]
    assert list(ONNXModel(path / "plain.onnx").signatures) == ["plain"]
    export_onnx(programs[:1], path)
    assert path.read_bytes() == int8_file.read_bytes()


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.mkdir()
    (path / "thesis.txt").write_text("all my work")
    with pytest.raises(ConversionError, match=r"holds 'thesis\.txt', no export of ours; give another path"):
        export_onnx([program_of(float_net())], path)
    assert [part.name for part in tmp_path.rglob("*")] == ["net.onnx", "thesis.txt"]


class Unwritable(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return torch.special.bessel_j0(features)


def test_an_operator_without_counterpart_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ConversionError, match=r"^Signature .main. cannot become ONNX: \S*bessel_j0 has no counterpart there"
    ) as e:
        export_onnx([program_of(Unwritable())], tmp_path / "net.onnx")
    assert "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_signatures_need_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="each under a name of its own"):
        export_onnx([program_of(float_net()), program_of(float_net())], tmp_path / "net.onnx")
