"""From a torch module to .onnx files."""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters._codes import Codes, fold_codes
from converters._counterparts import first_unknown, refusal
from converters._details import ONNX
from converters._errors import ConversionError, MobileDistillError
from converters._fold import fold_weight_quantization
from converters._narrow import narrow_weights
from converters._onnx._codes import opset_for, store_codes
from converters._onnx._file import SIGNATURE_KEY
from converters._onnx._float16 import store_float16
from converters._onnx._fuse import fuse
from converters._onnx._graph import graphs
from converters._onnx._integer_ends import make_ends_integer
from converters._onnx._libraries import onnx_library, require_exporter
from converters._onnx._narrow import FIRST_OPSET, store_narrow
from converters._onnx._ort import write_ort
from converters._onnx._slim import rename, slim
from converters._program import Precision, Program, export_program
from converters._quiet import quiet

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["export_onnx"]


def export_onnx(
    programs: Sequence[Program],
    path: Path,
    precision: Precision = "float32",
    details: ONNX | None = None,
) -> Path:
    """Writes one .onnx file, or for several programs a folder ``path`` with ``<signature>.onnx`` in it.

    Inputs and outputs carry the program's names. What the module quantizes is written with the module's own integers
    (int8 weights, activations between QuantizeLinear and DequantizeLinear), in the spelling that onnxruntime's integer
    kernels take; ``precision`` says how the rest is stored. Nothing reaches the terminal, weights are never put into
    files of their own, and what was at ``path`` is replaced whole or not at all.

    Example:
        >>> program = Program(net, {"features": torch.zeros(1, 1, 40, 101)}, ("logits",))  # doctest: +SKIP
        >>> export_onnx([program], Path("net.onnx"))  # doctest: +SKIP
        PosixPath('net.onnx')

    Args:
        programs: the signatures; their names differ from each other.
        path: where to write; its folder must exist.
        precision: ``"float16"`` halves the float weights and costs about 1e-3 of their precision.
        details: what else was chosen.

    Returns:
        ``path``.

    Raises:
        ConversionError: the module has a part that cannot be written as ONNX; the operator is named if known.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    names = [program.name for program in programs]
    if not names or len(set(names)) < len(names):
        raise ConversionError(f"Signatures {names} were given: give at least one, each under a name of its own.")
    path = Path(path)
    details = details or ONNX()
    written = {program.name: _convert(program, precision, details) for program in programs}
    if len(written) == 1:
        _replace_file(path, written[names[0]])
    else:
        _replace_folder(path, written)
    if details.ort:
        for file in sorted(path.glob("*.onnx")) if path.is_dir() else [path]:
            write_ort(file)
    return path


def _convert(program: Program, precision: Precision, details: ONNX) -> bytes:
    """The file of one signature."""
    try:
        with quiet():
            require_exporter()
            model, codes, narrow = _translate(program, details)
            fuse(model)
            store_codes(model, codes)
            store_narrow(model, narrow)
            make_ends_integer(model, inputs=details.integer_inputs, outputs=details.integer_outputs)
            if precision == "float16":
                store_float16(model)
            slim(model)
            if program.name != "main":
                model.metadata_props.add(key=SIGNATURE_KEY, value=program.name)
            onnx_library().checker.check_model(model)
            content: bytes = model.SerializeToString()
            return content
    except MobileDistillError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{type(program.module).__name__} cannot be written as ONNX: {_reason(error)}"
            " Replace that part of the module."
        ) from error


def _translate(program: Program, details: ONNX) -> tuple[Any, list[Codes], list[NDArray[np.int8]]]:
    """The ``onnx.ModelProto`` that torch writes, its ends named as the program's, and what its weights are made of.

    Last come those of 4 bits that integer kernels read.
    """
    import torch

    free_axes = details.free_axes(program)
    exported = fold_weight_quantization(export_program(program, free_axes or None))
    _check_free(exported, program, free_axes)
    codes = fold_codes(exported)
    narrow = narrow_weights(exported)
    opset = max(opset_for(codes, details.opset), FIRST_OPSET if narrow else 0)
    _refuse_unknown(program, exported, opset)
    translated = torch.onnx.export(exported, (), dynamo=True, verbose=False, opset_version=opset)
    if translated is None:
        raise ConversionError(f"{type(program.module).__name__} was not translated by torch.onnx; update torch.")
    model = translated.model_proto
    _name_ends(model.graph, list(program.inputs), list(program.outputs))
    _name_axes(model.graph, free_axes)
    return model, codes, narrow


def _refuse_unknown(program: Program, exported: Any, opset: int) -> None:
    """Looks every operator up where torch.onnx will; one that it does not know may still decompose into others."""
    from torch.onnx._internal.exporter._dispatching import dispatch
    from torch.onnx._internal.exporter._fx_passes import decompose_with_registry, remove_assertion_nodes

    registry = _registry(opset)

    def is_known(node: Any) -> bool:
        is_onnx_already = getattr(node.target, "namespace", "") == "onnx"
        return is_onnx_already or dispatch(node, registry)[0] is not None

    if first_unknown(exported, is_known) is None:
        return
    decomposed = decompose_with_registry(exported, registry)
    remove_assertion_nodes(decomposed.graph_module)
    if unknown := first_unknown(decomposed, is_known):
        raise refusal(program.name, unknown, "ONNX")


@functools.lru_cache
def _registry(opset: int) -> Any:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    return ONNXRegistry.from_torchlib(opset)


def _check_free(
    exported: torch.export.ExportedProgram, program: Program, free_axes: Mapping[str, Mapping[int, str]]
) -> None:
    from torch.fx.experimental.symbolic_shapes import is_concrete_int

    read = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    for name, place in zip(program.inputs, exported.graph_signature.user_inputs, strict=True):
        for axis in free_axes.get(name, {}):
            if is_concrete_int(length := read[str(place)].meta["val"].shape[axis]):
                raise ConversionError(
                    f"Axis {axis} of {name!r} cannot be free: the module fixes it to {length}."
                    " Take it out of ONNX(dynamic), or write the module for any length."
                )


def _name_ends(graph: Any, inputs: list[str], outputs: list[str]) -> None:
    """Gives the graph's ends their names; an inner value that has one of them moves out of the way."""
    made = {name for node in graph.node for name in node.output}
    seen: set[str] = set()
    for end in graph.output:
        if end.name not in made or end.name in seen:  # an input returned as it came, or one value returned twice
            copy = f"{end.name}.returned.{len(seen)}"
            graph.node.append(onnx_library().helper.make_node("Identity", [end.name], [copy]))
            end.name = copy
        seen.add(end.name)
    ends = dict(zip([end.name for end in (*graph.input, *graph.output)], [*inputs, *outputs], strict=True))
    values = {name for inner in graphs(graph) for node in inner.node for name in node.output}
    values |= {tensor.name for inner in graphs(graph) for tensor in inner.initializer}
    in_the_way = {name: f"{name}.inner" for name in values & set(ends.values()) - set(ends)}
    rename(graph, {**in_the_way, **ends})


def _name_axes(graph: Any, free_axes: Mapping[str, Mapping[int, str]]) -> None:
    """Gives free axes the names that were wished for, on inputs and wherever the same length comes out."""
    labels = {}
    for value in graph.input:
        for axis, label in free_axes.get(value.name, {}).items():
            labels[value.type.tensor_type.shape.dim[axis].dim_param] = label
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = labels.get(size.dim_param, size.dim_param)


def _reason(error: BaseException) -> str:
    """One sentence about what went wrong, with the operator's name where the error's chain holds one."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for part in chain:
        if found := re.search(r"OpOverload\(op='([\w.]+)'|\b(aten\.\w+(?:\.\w+)?)\b", str(part)):
            return f"its operator {found[1] or found[2]} has no counterpart."
    lines = str(chain[-1]).strip().splitlines() or [type(chain[-1]).__name__]
    return lines[0][:200].rstrip(".") + "."


def _replace_file(path: Path, content: bytes) -> None:
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        _remove_folder(path)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _replace_folder(path: Path, contents: dict[str, bytes]) -> None:
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        for name, content in contents.items():
            (aside / f"{name}.onnx").write_bytes(content)
        aside.chmod(0o755)
        if path.is_file() or path.is_symlink():
            path.unlink()
        _remove_folder(path)
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _remove_folder(path: Path) -> None:
    """Away with the folder of an earlier export; one that holds anything else is not ours to delete."""
    if not path.is_dir():
        return
    if foreign := sorted(part.name for part in path.iterdir() if part.suffix not in (".onnx", ".ort")):
        raise ConversionError(f"{path} is a folder that holds {foreign[0]!r}, no export of ours; give another path.")
    shutil.rmtree(path)
