"""From a torch module to a .tflite file."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.export import ExportedProgram

from converters._codes import Codes, fold_codes
from converters._counterparts import first_unknown, refusal
from converters._details import TFLite
from converters._errors import ConversionError, MissingExtraError, MobileDistillError
from converters._narrow import narrow_weights
from converters._program import Precision, Program, export_program
from converters._quiet import quiet
from converters._tflite._batch_norm import scale_and_shift
from converters._tflite._codes import check_codes, store_codes
from converters._tflite._describe import append_labels, describe
from converters._tflite._float16 import store_float16
from converters._tflite._float_io import float_ends, make_io_float
from converters._tflite._float_islands import fence_float_islands, take_fences_out
from converters._tflite._mean_layout import average_in_place
from converters._tflite._narrow import store_narrow
from converters._tflite._nearest import pick_nearest_as_torch
from converters._tflite._pack import pack_model
from converters._tflite._runtimes import demand_runtime
from converters._tflite._same_padding import fuse_same_padding
from converters._tflite._schema import parse
from converters._tflite._slim import slim
from converters._tflite._tables import gather_integers
from converters._tflite._transposes import list_places_in_place

__all__ = ["export_tflite"]


def export_tflite(
    programs: Sequence[Program], path: Path, precision: Precision = "float32", details: TFLite | None = None
) -> Path:
    """Writes one .tflite file with one signature per program; weights that are equal are stored once.

    Inputs and outputs are float32 under the program's own names, whatever is quantized inside, unless the details say
    otherwise. What the module quantizes is written with the module's own integers; ``precision`` says how the rest is
    stored. Nothing reaches the terminal, and the file appears whole or not at all.

    Example:
        >>> export_tflite([Program(net, {"features": torch.zeros(1, 1, 40, 101)}, ("logits",))], Path("net.tflite"))
        PosixPath('net.tflite')

    Args:
        programs: the signatures; their names differ from each other.
        path: where to write; its folder must exist.
        precision: ``"float16"`` halves the float weights and costs about 1e-3 of their precision.
        details: what else was chosen.

    Returns:
        ``path``.

    Raises:
        ConversionError: the module has a part that cannot be written as TFLite; the operator is named if known.
        MissingExtraError: litert-torch or ai-edge-litert is not installed.
    """
    names = [program.name for program in programs]
    if not names or len(set(names)) < len(names):
        raise ConversionError(f"Signatures {names} were given: give at least one, each under a name of its own.")
    path = Path(path)
    with _evaluating([program.module for program in programs]):
        written, codes, narrow = _convert(programs)
    _write_whole(path, _improve(written, precision, codes, narrow, programs, details or TFLite()))
    return path


def _convert(programs: Sequence[Program]) -> tuple[bytes, list[Codes], list[NDArray[np.int8]]]:
    """The file as litert-torch writes it, what its weights are made of, and those of 4 bits that kernels read."""
    said = None
    codes: list[Codes] = []
    narrow: list[NDArray[np.int8]] = []
    try:
        with quiet() as said:
            litert_torch = _litert_torch()
            quantized = False
            converter = litert_torch
            for program in programs:
                exported = scale_and_shift(export_program(program))
                _refuse_unknown(program, exported)
                quantized |= _is_quantized(exported)
                folded = fold_codes(exported)
                check_codes(folded)
                codes += folded
                narrow += narrow_weights(exported)
                named = fence_float_islands(exported)
                inputs = {name: value.contiguous() for name, value in program.inputs.items()}
                converter = converter.signature(program.name, named, sample_kwargs=inputs)
            converted = converter.convert(quant_config=_static_quantization() if quantized else None)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.tflite"
                converted.export(str(file))
                return file.read_bytes(), codes, narrow
    except MobileDistillError:
        raise
    except Exception as error:
        kinds = ", ".join(type(program.module).__name__ for program in programs)
        raise ConversionError(
            f"{kinds} cannot be written as TFLite: {_reason(error, said.text if said else '')}"
            " Replace that operator in the module."
        ) from error


def _improve(
    written: bytes,
    precision: Precision,
    codes: Sequence[Codes],
    narrow: Sequence[NDArray[np.int8]],
    programs: Sequence[Program],
    details: TFLite,
) -> bytes:
    """The same model with the ends that were wished for, in the programs' order, without detours and without waste."""
    model = parse(written, "what litert-torch wrote")
    _order_ends(model, programs)
    _name_graph_tensors(model)
    make_io_float(model, inputs=not details.integer_inputs, outputs=not details.integer_outputs)
    if floats := float_ends(model, inputs=details.integer_inputs, outputs=details.integer_outputs):
        raise ConversionError(f"{floats} are not integers in TFLite: leave integer_inputs and integer_outputs out.")
    take_fences_out(model)
    gather_integers(model)
    pick_nearest_as_torch(model)
    average_in_place(model)
    list_places_in_place(model)
    fuse_same_padding(model)
    store_codes(model, codes)
    store_narrow(model, narrow, details.runtime)
    if precision == "float16":
        store_float16(model)
    slim(model)
    describe(model, details, programs[0])
    if details.runtime is not None:
        demand_runtime(model, details.runtime)
    return append_labels(pack_model(model), details.labels)


def _litert_torch() -> Any:
    try:
        import litert_torch
    except ImportError as error:
        raise MissingExtraError("litert-torch", "tflite") from error
    return litert_torch


def _refuse_unknown(program: Program, exported: ExportedProgram) -> None:
    """Decomposes as litert-torch does, which takes a second, and looks every operator up where litert-torch will."""
    from litert_torch.backend import lowerings
    from litert_torch.fx_infra import decomp

    table = decomp.pre_lower_decomp()
    decomposed = exported.run_decompositions(table)
    decomposed.graph.eliminate_dead_code()
    aten = torch.ops.aten
    apart = (aten._assert_tensor_metadata.default, aten.multinomial.default)  # dropped; rewritten at the very end

    def is_known(node: fx.Node) -> bool:
        return lowerings.lookup(node.target) is not None or node.target in table or node.target in apart

    if unknown := first_unknown(decomposed, is_known):
        raise refusal(program.name, unknown, "TFLite")


def _is_quantized(exported: ExportedProgram) -> bool:
    nodes = exported.graph.nodes
    return any("quantized_decomposed" in str(node.target) for node in nodes if node.op == "call_function")


def _static_quantization() -> Any:
    """Makes litert-torch keep the quantize and dequantize pairs that the module itself emits."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(get_symmetric_quantization_config()))


def _reason(error: Exception, said: str) -> str:
    """One line out of what the libraries said, with the operator's name where one occurs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    spoken = "\n".join([*lines, said])
    named = re.search(r"'((?:tfl|stablehlo|quant|func)\.[\w.]+)' op[^\n]*", spoken)
    operator = re.search(r"\b(?:aten|quantized_decomposed|torch\.ops)\.\w+(?:\.\w+)?", spoken)
    reason = named.group(0) if named else lines[0]
    if operator and operator.group(0) not in reason:
        reason = f"{operator.group(0)}: {reason}"
    return reason[:300].rstrip(". ") + "."


def _order_ends(model: Any, programs: Sequence[Program]) -> None:
    """Puts inputs and outputs into the programs' order; litert-torch sorts them by name.

    Apps that call a file by position count on it.
    """
    by_name = {program.name: program for program in programs}
    for signature in model.signatureDefs:
        program, graph = by_name[signature.signatureKey.decode()], model.subgraphs[signature.subgraphIndex]
        for names, ends in (([*program.inputs], signature.inputs), ([*program.outputs], signature.outputs)):
            ends.sort(key=lambda entry, names=names: names.index(entry.name.decode()))
        graph.inputs = _in_order(graph.inputs, signature.inputs)
        graph.outputs = _in_order(graph.outputs, signature.outputs)


def _in_order(tensors: Any, ends: Any) -> list[int]:
    """A graph's ends in the order of its signature's; what the signature leaves out stays behind."""
    named = [int(entry.tensorIndex) for entry in ends]
    return [*named, *(int(tensor) for tensor in tensors if int(tensor) not in named)]


def _name_graph_tensors(model: Any) -> None:
    """Gives the graph's own input and output tensors the names of the signature.

    ::

        before: signature main: features -> tensor "main_features"
        after:  signature main: features -> tensor "features"
    """
    for signature in model.signatureDefs or ():
        for entry in [*signature.inputs, *signature.outputs]:
            model.subgraphs[signature.subgraphIndex].tensors[entry.tensorIndex].name = entry.name


@contextlib.contextmanager
def _evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Holds modules in evaluation mode and gives every part its own mode back."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


def _write_whole(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise ConversionError(
            f"{path} cannot be written ({error.strerror or type(error).__name__}): give a folder that exists"
            " and can be written."
        ) from error
