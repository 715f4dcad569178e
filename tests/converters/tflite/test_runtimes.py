"""Older runtimes are asked themselves: tflite-runtime 2.14 runs in an environment of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.zoo import ZOO
from converters import ConversionError, InputError, Program, TFLite, compare, convert, load, size_bytes, verify
from converters._tflite._export import _write_whole
from converters._tflite._runtimes import NEWEST, demand_runtime
from converters._tflite._schema import operator_code, read_model, schema
from mobiledistill.quantize import Int4, Int8, post_training
from tests.converters.tflite.conftest import PythonWith, run_in

RUN = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
inputs = np.load(sys.argv[2])
runner = Interpreter(model_path=sys.argv[1]).get_signature_runner("main")
count = len(inputs[inputs.files[0]])
answers = [runner(**{name: inputs[name][i : i + 1] for name in inputs.files}) for i in range(count)]
np.savez(sys.argv[3], **{name: np.concatenate([one[name] for one in answers]) for name in answers[0]})
"""

PROBE = """
import json, os, sys
from pathlib import Path
from tflite_runtime.interpreter import Interpreter, OpResolverType
without = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
known = []
for path in sorted(Path(sys.argv[1]).glob("*.tflite")):
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            Interpreter(model_path=str(path), experimental_op_resolver_type=without)
        except ValueError as error:
            os._exit(int("Didn't find op" in str(error)))
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        known.append(path.stem)
print(json.dumps(known))
"""


@pytest.fixture(scope="session")
def python_of_2_14(python_with: PythonWith) -> Path:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("tflite-runtime 2.14 has wheels up to Python 3.11")
    return python_with("tflite-runtime==2.14.0", "numpy<2")


@pytest.mark.parametrize(("scheme", "least_bytes"), [(Int8(), 22_000), (Int4(), 11_000)], ids=["int8", "int4"])
def test_a_ds_cnn_in_integers_runs_on_2_14(
    python_of_2_14: Path, tmp_path: Path, scheme: Int8, least_bytes: int
) -> None:
    """It computes on TFLite's own kernels, which round twice: 94 % are within a step of XNNPACK's."""
    network = ZOO["ds-cnn"]
    (program,) = post_training(network.program(), network.samples(32, seed=3), scheme)
    inputs = {name: value.numpy() for name, value in network.samples(64, seed=4).items()}

    path = convert(program, tmp_path / "net.tflite", details=TFLite(runtime="2.14", description="Hears ten words."))

    np.savez(tmp_path / "inputs.npz", **inputs)  # type: ignore[arg-type]  # arrays by name
    run_in(python_of_2_14, RUN, path, tmp_path / "inputs.npz", tmp_path / "answers.npz")
    old, new = dict(np.load(tmp_path / "answers.npz")), load(path, optimized=False).run(inputs)
    assert set(old) == set(new) == set(program.outputs)
    assert size_bytes(path) > least_bytes
    assert verify(path, program, inputs).integers_equal
    integers = load(convert(program, tmp_path / "integers.tflite", details=TFLite(integer_outputs=True)))
    for name, end in integers.integer_ends().items():
        assert np.mean(np.abs(old[name] - new[name]) <= 1.001 * end.scale) >= 0.99
        assert np.ptp(new[name]) > 50 * end.scale  # else one step would say nothing
    assert compare(load(path).run(inputs), old).sqnr_db >= 28


def test_the_table_is_what_2_14_says(python_of_2_14: Path, tmp_path: Path) -> None:
    """Of each operator the newest version that the table has loads, and the next does not."""
    for name, version in NEWEST["2.14"].items():
        for asked in (version, version + 1):
            _write_whole(tmp_path / f"{name}-{asked}.tflite", lone_operator(name, asked))

    known = json.loads(run_in(python_of_2_14, PROBE, tmp_path))

    assert sorted(known) == sorted(f"{name}-{version}" for name, version in NEWEST["2.14"].items())


def lone_operator(name: str, version: int) -> bytes:
    """A file whose one operator reads and writes nothing: runtimes look it up before they mind."""
    from converters._tflite._pack import pack_model

    model, graph, operator = schema().ModelT(), schema().SubGraphT(), schema().OperatorT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema().BufferT()], [graph], []
    operator.opcodeIndex = operator_code(model, name, version)
    operator.inputs = operator.outputs = graph.tensors = graph.inputs = graph.outputs = []
    graph.operators = [operator]
    return pack_model(model)


def test_what_the_runtime_lacks_is_named(tmp_path: Path) -> None:
    path = convert(Program(nn.Linear(4, 3), {"x": torch.zeros(1, 4)}, ("y",)), tmp_path / "net.tflite")
    model = read_model(path)
    operator_code(model, "FULLY_CONNECTED", 99)

    with pytest.raises(ConversionError, match=r"2\.14 cannot run FULLY_CONNECTED 99 \(it has .* up to 10\)"):
        demand_runtime(model, "2.14")
    with pytest.raises(InputError, match=r"runtime='1\.0'\) is unknown; choose one of 2\.14"):
        TFLite(runtime="1.0")  # type: ignore[arg-type]  # what is refused


def test_the_file_says_what_it_is_for(tmp_path: Path) -> None:
    program = Program(nn.Linear(4, 3), {"x": torch.zeros(1, 4)}, ("y",))

    path = convert(program, tmp_path / "net.tflite", details=TFLite(runtime="2.14", description="Adds up."))

    model = read_model(path)
    assert model.description == b"Adds up."
    (note,) = model.metadata
    assert note.name == b"min_runtime_version"
    assert bytes(model.buffers[note.buffer].data).rstrip(b"\0") == b"2.14.0"
    assert verify(path, program).sqnr_db >= 80
