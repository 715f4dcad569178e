from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import CoreML, Program, verify
from converters._coreml import CoreMLModel, FileSignature, export_coreml
from converters._coreml._package import open_package
from converters._coreml._slim import load_program
from converters._errors import ConversionError
from tests.converters.coreml._programs import noise
from tests.converters.coreml.conftest import Exported


class Calls(nn.Module):
    """A module around one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def program_of(function: Callable[[Tensor], Tensor], *shape: int) -> Program:
    return Program(Calls(function), {"x": torch.randn(shape)}, ("y",))


def partials(folder: Path) -> list[str]:
    return [part.name for part in folder.iterdir() if part.name.startswith(".")]


def test_a_quantized_package_answers_as_its_module_does(quantized: Exported) -> None:
    parity = verify(quantized.path, quantized.program, noise(quantized.program, 50))

    assert parity.max_steps is not None
    assert parity.max_steps <= 1.0
    assert parity.integers_equal


def test_a_float_package_comes_within_80_db(floats: Exported) -> None:
    assert verify(floats.path, floats.program, noise(floats.program, 20)).sqnr_db >= 80


def test_a_half_precision_package_is_half_as_large_and_comes_within_45_db(floats: Exported, halves: Exported) -> None:
    assert verify(halves.path, halves.program, noise(halves.program, 20), "float16").sqnr_db >= 45
    weights = [exported.path / "Data/com.apple.CoreML/weights/weight.bin" for exported in (floats, halves)]
    assert weights[1].stat().st_size < 0.6 * weights[0].stat().st_size


@pytest.mark.parametrize("kind", ["quantized", "floats", "halves"])
def test_names_and_float_types_are_the_programs(kind: str, request: pytest.FixtureRequest) -> None:
    model = CoreMLModel(request.getfixturevalue(kind).path)

    answers = model.run({"features": np.zeros((1, 1, 40, 101), np.float32)})

    assert model.signatures == {"main": FileSignature({"features": (1, 1, 40, 101)}, ("logits",))}
    assert {name: (value.shape, value.dtype) for name, value in answers.items()} == {
        "logits": ((1, 10), np.dtype(np.float32))
    }


def test_nothing_reaches_the_terminal(floats: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_coreml([floats.program], tmp_path / "net.mlpackage")

    assert capfd.readouterr() == ("", "")


def test_the_same_program_gives_the_same_bytes(quantized: Exported, tmp_path: Path) -> None:
    again = export_coreml([quantized.program], tmp_path / "net.mlpackage")

    files = [part.relative_to(again) for part in again.rglob("*") if part.is_file()]
    assert len(files) == 3
    assert all((again / part).read_bytes() == (quantized.path / part).read_bytes() for part in files)


def test_the_oldest_target_that_has_all_is_taken(
    floats: Exported, quantized: Exported, two_signatures: Exported, tmp_path: Path
) -> None:
    def version(path: Path) -> int:
        return int(open_package(path).spec.specificationVersion)

    assert [version(exported.path) for exported in (floats, quantized, two_signatures)] == [7, 8, 9]
    newer = export_coreml([floats.program], tmp_path / "net.mlpackage", details=CoreML(target="iOS18"))
    assert version(newer) == 9


def test_what_a_target_lacks_is_refused_by_name(quantized: Exported, floats: Exported, tmp_path: Path) -> None:
    path = tmp_path / "net.mlpackage"
    twin = Program(floats.program.module, floats.program.inputs, ("logits",), "again")

    with pytest.raises(ConversionError, match="iOS16 lacks quantized activations, which need iOS17"):
        export_coreml([quantized.program], path, details=CoreML(target="iOS16"))
    with pytest.raises(ConversionError, match=r"iOS17 lacks the functions \['main', 'again'\], which need iOS18"):
        export_coreml([floats.program, twin], path, details=CoreML(target="iOS17"))
    network = quantized.program.module.get_submodule("stem")
    weights_only = Program(nn.Sequential(network), {"x": torch.randn(1, 1, 8, 8)}, ("y",))
    with pytest.raises(ConversionError, match="iOS16 lacks quantized weights"):
        export_coreml([weights_only], path, details=CoreML(target="iOS16"))
    assert not list(tmp_path.iterdir())


def test_two_signatures_share_one_package_and_its_weights(quantized: Exported, two_signatures: Exported) -> None:
    inputs = {"features": noise(quantized.program, 1)["features"]}
    alone, both = CoreMLModel(quantized.path), CoreMLModel(two_signatures.path)
    weights = [exported.path / "Data/com.apple.CoreML/weights/weight.bin" for exported in (quantized, two_signatures)]

    assert {name: signature.outputs for name, signature in both.signatures.items()} == {
        "again": ("scores",),
        "main": ("logits",),
    }
    expected = alone.run(inputs)["logits"]
    assert np.array_equal(both.run(inputs)["logits"], expected)
    assert np.array_equal(both.run(inputs, "again")["scores"], expected)
    assert weights[1].stat().st_size == weights[0].stat().st_size


def test_a_single_signature_keeps_a_name_of_its_own(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    path = export_coreml([Program(module, {"x": torch.ones(1, 4)}, ("y",), "encode")], tmp_path / "net.mlpackage")

    model = CoreMLModel(path)

    assert list(model.signatures) == ["encode"]
    answer = model.run({"x": np.ones((1, 4), np.float32)}, "encode")["y"]
    np.testing.assert_allclose(answer, module(torch.ones(1, 4)).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("names", [[], ["main", "main"]])
def test_signatures_need_names_of_their_own(names: list[str], floats: Exported, tmp_path: Path) -> None:
    programs = [Program(floats.program.module, floats.program.inputs, ("logits",), name) for name in names]

    with pytest.raises(ConversionError, match="at least one, each under a name of its own"):
        export_coreml(programs, tmp_path / "net.mlpackage")


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: F.max_pool2d(x, 2), id="pooling without stride"),
        pytest.param(lambda x: F.gelu(x, approximate="tanh"), id="gelu by tanh"),
        pytest.param(F.celu, id="default decompositions"),
        pytest.param(lambda x: F.hardswish(F.group_norm(x, 2)), id="group norm"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x), id="attention"),
        pytest.param(lambda x: torch.zeros_like(x > 0, dtype=x.dtype).masked_fill(x > 0, -3.0) + x, id="zeros"),
        pytest.param(lambda x: F.rms_norm(x, [8], torch.arange(8.0), 1e-6), id="root mean square norm"),
        pytest.param(lambda x: F.rms_norm(x, [8, 8]), id="root mean square norm of two axes"),
        pytest.param(nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1), id="a decoder's transposed convolution"),
        pytest.param(lambda x: torch.cat(x[:, 1:].chunk(3, 1)[::-1], 1).flatten(1).softmax(-1), id="moves"),
    ],
)
def test_what_coremltools_refuses_or_overlooks(function: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    program = program_of(function, 1, 4, 8, 8)

    path = export_coreml([program], tmp_path / "net.mlpackage")

    assert verify(path, program).sqnr_db >= 80


def test_a_group_norm_in_halves_squares_nothing_that_overflows(tmp_path: Path) -> None:
    norm = nn.GroupNorm(2, 4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 1.5, 2.0]))
        norm.bias.copy_(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    program = Program(norm, {"x": 400 * torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))}, ("y",))

    path = export_coreml([program], tmp_path / "net.mlpackage", "float16")

    assert verify(path, program, precision="float16").sqnr_db >= 60
    kinds = [
        operation.op_type for operation in next(iter(load_program(open_package(path)).functions.values())).operations
    ]
    assert [kind for kind in kinds if kind != "const"] == [
        "cast",
        "reshape",
        "layer_norm",
        "reshape",
        "batch_norm",
        "cast",
    ]


def test_a_root_mean_square_norm_in_halves_squares_nothing_that_overflows(tmp_path: Path) -> None:
    norm = nn.RMSNorm(64)
    program = Program(norm, {"x": 400 * torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(0))}, ("y",))

    path = export_coreml([program], tmp_path / "net.mlpackage", "float16")

    assert verify(path, program, precision="float16").sqnr_db >= 60


def test_an_operator_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.mlpackage"

    with pytest.raises(ConversionError, match=r"cannot become Core ML: aten\.special_bessel_j0 has no") as raised:
        export_coreml([program_of(torch.special.bessel_j0, 1, 4)], path)

    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_an_old_package_is_replaced_and_stays_whole_when_that_fails(tmp_path: Path) -> None:
    path = export_coreml([program_of(torch.relu, 1, 4)], tmp_path / "net.mlpackage")
    x = np.array([[-1, 0, 1, 2]], np.float32)

    with pytest.raises(ConversionError):
        export_coreml([program_of(torch.special.bessel_j0, 1, 4)], path)
    assert CoreMLModel(path).run({"x": x})["y"].tolist() == [[0, 0, 1, 2]]
    export_coreml([program_of(torch.neg, 1, 4)], path)

    assert CoreMLModel(path).run({"x": x})["y"].tolist() == [[1, 0, -1, -2]]
    assert not partials(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"nowhere/net.mlpackage cannot be written"):
        export_coreml([program_of(torch.relu, 1, 4)], tmp_path / "nowhere" / "net.mlpackage")


def test_an_input_that_is_not_read_stays(tmp_path: Path) -> None:
    class First(nn.Module):
        def forward(self, x: Tensor, unread: Tensor) -> Tensor:
            return 2 * x

    one = np.ones((1, 2), np.float32)
    program = Program(First(), {"x": torch.ones(1, 2), "unread": torch.ones(1, 2)}, ("y",))

    path = export_coreml([program], tmp_path / "net.mlpackage")

    assert CoreMLModel(path).run({"x": one, "unread": one})["y"].tolist() == [[2, 2]]


def test_one_value_may_be_returned_twice_and_an_input_as_it_came(tmp_path: Path) -> None:
    class Echo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            answer = self.layer(x)
            return answer, answer, x

    program = Program(Echo(), {"x": torch.randn(1, 4)}, ("answer", "again", "asked"))

    path = export_coreml([program], tmp_path / "net.mlpackage")

    assert verify(path, program).sqnr_db >= 80
    assert list(CoreMLModel(path).signatures["main"].outputs) == ["answer", "again", "asked"]


def test_whole_numbers_may_be_inputs(tmp_path: Path) -> None:
    table = nn.Embedding(5, 3)
    words = torch.tensor([[0, 4, 2]])
    program = Program(table, {"words": words}, ("vectors",))

    path = export_coreml([program], tmp_path / "net.mlpackage")

    answer = CoreMLModel(path).run({"words": words.numpy()})["vectors"]
    np.testing.assert_allclose(answer, table(words).detach().numpy())


class Recurrent(nn.Module):
    """A recurrent layer both ways, batch first as most are written."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer = kind(64, 48, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


def test_an_lstm_stays_one_operator(tmp_path: Path) -> None:
    program = Program(Recurrent(nn.LSTM).eval(), {"x": torch.randn(1, 12, 64)}, ("y",))
    path = export_coreml([program], tmp_path / "a.mlpackage")
    (block,) = open_package(path).spec.mlProgram.functions["main"].block_specializations.values()
    assert [operation.type for operation in block.operations if operation.type in ("lstm", "sigmoid")] == ["lstm"]
    assert verify(path, program, {"x": np.random.default_rng(0).normal(size=(4, 12, 64)).astype(np.float32)}).n == 4


class Stream(nn.Module):
    """A recurrent layer whose states go in and come out."""

    def __init__(self, layers: int, both_ways: bool) -> None:
        super().__init__()
        self.layer = nn.LSTM(6, 5, layers, batch_first=True, bidirectional=both_ways)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        answers, (hidden, cell) = self.layer(x, (hidden.transpose(0, 1), cell.transpose(0, 1)))
        return answers, hidden.transpose(0, 1), cell.transpose(0, 1)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_lstm_that_returns_its_states_stays_one_operator(layers: int, both_ways: bool, tmp_path: Path) -> None:
    states = torch.randn(1, layers * (2 if both_ways else 1), 5)
    inputs = {"x": torch.randn(1, 7, 6), "past_hidden": states, "past_cell": states.flip(2)}
    program = Program(Stream(layers, both_ways).eval(), inputs, ("y", "hidden", "cell"))

    path = export_coreml([program], tmp_path / "a.mlpackage")

    (block,) = open_package(path).spec.mlProgram.functions["main"].block_specializations.values()
    kinds = [operation.type for operation in block.operations]
    assert kinds.count("lstm") == layers
    assert "sigmoid" not in kinds
    assert verify(path, program).sqnr_db >= 80


def test_a_gru_holds_each_weight_once(tmp_path: Path) -> None:
    program = Program(Recurrent(nn.GRU).eval(), {"x": torch.randn(1, 12, 64)}, ("y",))
    path = export_coreml([program], tmp_path / "a.mlpackage")
    weights = 4 * sum(parameter.numel() for parameter in program.module.parameters())
    stored = sum(file.stat().st_size for file in path.rglob("weight.bin"))
    assert stored < 1.05 * weights
    assert verify(path, program, {"x": np.random.default_rng(0).normal(size=(4, 12, 64)).astype(np.float32)}).n == 4
