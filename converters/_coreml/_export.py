"""From a torch module to an .mlpackage."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._decomp import get_decompositions

from converters._codes import Codes, fold_codes
from converters._coreml._codes import needs_ios18, store_codes_pass
from converters._coreml._decompositions import group_norm, rms_norm, zeros_like
from converters._coreml._describe import describe
from converters._coreml._library import coremltools
from converters._coreml._package import replacing
from converters._coreml._recurrent import know_lstm
from converters._coreml._slim import slim
from converters._counterparts import first_unknown, refusal
from converters._details import CoreML, Target, check_entries
from converters._errors import ConversionError, MobileDistillError
from converters._fold import fold_weight_quantization
from converters._narrow import narrow_weights
from converters._program import Precision, Program, export_program
from converters._quiet import quiet

__all__ = ["export_coreml"]

_GRID_CHANGING_PASSES = {"common::distributive_quantized_binary_op_scale_normalization"}
"""Passes that replace the module's scales by others of their own."""


def export_coreml(
    programs: Sequence[Program], path: Path, precision: Precision = "float32", details: CoreML | None = None
) -> Path:
    """Writes one .mlpackage; several programs become its functions, each under its program's name.

    Inputs and outputs are float32 under the program's own names, whatever is quantized inside, unless the details say
    otherwise. What the module quantizes is written with the module's own integers; ``precision`` says how the rest is
    computed and stored.
    Nothing reaches the terminal, and the package appears whole or not at all.

    Example:
        >>> export_coreml([Program(net, {"features": torch.zeros(1, 1, 40, 101)}, ("logits",))], Path("net.mlpackage"))
        PosixPath('net.mlpackage')

    Args:
        programs: the signatures; their names differ from each other.
        path: where to write; its folder must exist. An old package there is replaced.
        precision: ``"float16"`` halves the float weights, lets the Neural Engine run the model, and costs about 1e-3
            of precision.
        details: what else was chosen. Without a target the oldest is taken that has what the programs need: iOS18 for
            functions, iOS17 for integers, else iOS16.

    Returns:
        ``path``.

    Raises:
        ConversionError: the module has a part that cannot be written as Core ML, or that the target lacks.
        MissingExtraError: coremltools is not installed.
    """
    names = [program.name for program in programs]
    if not names or len(set(names)) < len(names):
        raise ConversionError(f"Signatures {names} were given: give at least one, each under a name of its own.")
    path = Path(path)
    details = details or CoreML()
    exported = [fold_weight_quantization(export_program(program)) for program in programs]
    narrow = any(narrow_weights(traced) for traced in exported)  # coremltools packs them by itself
    codes = [fold_codes(traced) for traced in exported]
    for traced in exported:
        _spell_out_defaults(traced)
        _part_outputs(traced)
    for program, traced in zip(programs, exported, strict=True):
        _refuse_unknown(program, traced)
    target = _target(names, exported, narrow or any(map(needs_ios18, codes)), details.target)
    if details.labels:
        first = _returned(exported[0])[0].meta["val"]
        check_entries(details.labels, programs[0], first.numel(), is_float=first.dtype.is_floating_point)
    with replacing(path) as aside, tempfile.TemporaryDirectory() as folder:
        packages = [Path(folder) / f"{index}.mlpackage" for index in range(len(names))]
        for program, traced, spelled, package in zip(programs, exported, codes, packages, strict=True):
            _convert(program, traced, spelled, precision, target, package, details)
        if names == ["main"]:
            shutil.move(packages[0], aside)
        else:
            _join(names, packages, aside)
        describe(aside, details, programs[0].outputs[0])
        slim(aside)
    return path


def _target(
    names: list[str], exported: Iterable[torch.export.ExportedProgram], half_bytes: bool, wanted: Target | None
) -> str:
    """The deployment target, checked against what the programs need."""
    needs = [("iOS18", f"the functions {names}", "export signature 'main' alone")] if names != ["main"] else []
    kinds = {str(node.target) for program in exported for node in program.graph.nodes}
    if any("quantized_decomposed.quantize_per" in kind for kind in kinds):
        needs.append(("iOS17", "quantized activations", "leave them float"))
    elif any("quantized_decomposed" in kind for kind in kinds):  # iOS16 could hold them; coremltools cannot write them
        needs.append(("iOS17", "quantized weights as the module spells them", "leave them float"))
    if half_bytes:
        needs.append(
            ("iOS18", "weights in integers below 8 bits or in blocks", "take Int8, WeightOnly(8) or a Palette")
        )
    if wanted is None:
        return max((target for target, _, _ in needs), default="iOS16")
    for target, feature, remedy in needs:
        if wanted < target:
            raise ConversionError(
                f"Deployment target {wanted} lacks {feature}, which need {target}: raise the target or {remedy}."
            )
    return wanted


def _refuse_unknown(program: Program, exported: torch.export.ExportedProgram) -> None:
    """Looks every operator up where coremltools will; one that it does not know may still decompose into others."""
    coremltools()
    know_lstm()
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    def is_known(node: fx.Node) -> bool:
        target: Any = node.target
        name = target.name() if hasattr(target, "name") else getattr(target, "__name__", str(target))
        return _TORCH_OPS_REGISTRY.get_func(name) is not None

    unknown = first_unknown(exported, is_known)
    decompositions: list[dict[Any, Any] | None] = [{}, None]
    while unknown and decompositions:
        with quiet():
            decomposed = exported.run_decompositions(decompositions.pop(0))
        unknown = first_unknown(decomposed, is_known)
    if unknown:
        raise refusal(program.name, unknown, "Core ML")


def _convert(
    program: Program,
    exported: torch.export.ExportedProgram,
    codes: Sequence[Codes],
    precision: Precision,
    target: str,
    package: Path,
    details: CoreML,
) -> None:
    """Writes the program as it is or, if coremltools refuses it so, decomposed into simpler operators."""
    decompositions: list[dict[Any, Any] | None] = [_overlooked(exported), None]
    refusal: Exception | None = None
    for table in decompositions:
        try:
            with quiet():
                decomposed = exported.run_decompositions(table)
                _convert_with_coremltools(program, decomposed, codes, precision, target, package, details)
            return
        except MobileDistillError:
            raise
        except Exception as error:
            _forget_frames(error)
            refusal = refusal or error
    kind = type(program.module).__name__
    raise ConversionError(
        f"{kind} cannot be written as Core ML: {_reason(refusal)} Replace that operator in the module."
    ) from refusal


def _overlooked(exported: torch.export.ExportedProgram) -> dict[Any, Any]:
    """Decompositions of what coremltools does badly: norms overflow in float16, keywords go unread."""
    gelu = torch.ops.aten.gelu.default
    table: dict[Any, Any] = {
        torch.ops.aten.group_norm.default: group_norm,
        torch.ops.aten.rms_norm.default: rms_norm,
        torch.ops.aten.zeros_like.default: zeros_like,
    }
    if any(node.target is gelu and node.kwargs.get("approximate", "none") != "none" for node in exported.graph.nodes):
        table |= get_decompositions([gelu])
    return table


def _spell_out_defaults(exported: torch.export.ExportedProgram) -> None:
    """Writes down the stride of poolings that leave it out, without which coremltools refuses them."""
    poolings = (torch.ops.aten.max_pool1d.default, torch.ops.aten.max_pool2d.default, torch.ops.aten.max_pool3d.default)
    for node in exported.graph.nodes:
        if node.target in poolings and len(node.args) == 2:
            node.args = (*node.args, node.args[1])
    exported.graph_module.recompile()


def _part_outputs(exported: torch.export.ExportedProgram) -> None:
    """Copies numbers that are returned twice, or as they were given: a value of coremltools has one name."""
    (output,) = exported.graph.find_nodes(op="output")
    returned: list[fx.Node] = list(output.args[0])
    for place, value in enumerate(returned):
        if (value.op == "placeholder" or value in returned[:place]) and value.meta["val"].dtype != torch.bool:
            with exported.graph.inserting_before(output):
                returned[place] = exported.graph.call_function(torch.ops.aten.mul.Tensor, (value, 1))
                returned[place].meta["val"] = value.meta["val"]
            spec = exported.graph_signature.output_specs[place]
            spec.arg = dataclasses.replace(spec.arg, name=returned[place].name)
    output.args = (tuple(returned),)
    exported.graph_module.recompile()


def _forget_frames(error: BaseException | None) -> None:
    """Lets go of what an error holds, so that a temporary folder of coremltools does not complain later."""
    with quiet():
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__cause__ or error.__context__


def _convert_with_coremltools(
    program: Program,
    exported: torch.export.ExportedProgram,
    codes: Sequence[Codes],
    precision: Precision,
    target: str,
    package: Path,
    details: CoreML,
) -> None:
    ct = coremltools()
    shutil.rmtree(package, ignore_errors=True)
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(_GRID_CHANGING_PASSES)
    if codes:
        name, options = store_codes_pass(codes)
        passes.append_pass(name)
        passes.set_options(name, options)
    outputs = [
        ct.TensorType(name=name, dtype=np.float32 if dtype.is_floating_point else None)
        for name, dtype in zip(program.outputs, [node.meta["val"].dtype for node in _returned(exported)], strict=True)
    ]
    model = ct.convert(
        exported,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32,
        inputs=[_input_type(name, value, details) for name, value in program.inputs.items()],
        outputs=outputs,
        pass_pipeline=passes,
        skip_model_load=True,
        package_dir=str(package),
    )
    _check_kept(program, model.get_spec().description)


def _input_type(name: str, example: torch.Tensor, details: CoreML) -> Any:
    ct = coremltools()
    image = details.images.get(name)
    if image is None:
        return ct.TensorType(name=name, dtype=np.float32 if example.is_floating_point() else None)
    bias = image.bias * image.channels if len(image.bias) == 1 else image.bias
    layout = getattr(ct.colorlayout, image.color)
    return ct.ImageType(
        name=name, scale=image.scale, bias=bias[0] if image.channels == 1 else list(bias), color_layout=layout
    )


def _returned(exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """What the program returns, in the order of its outputs' names."""
    (returned,) = (node for node in exported.graph.nodes if node.op == "output")
    user_outputs = set(exported.graph_signature.user_outputs)
    return [node for node in returned.args[0] if node.name in user_outputs]


def _check_kept(program: Program, description: Any) -> None:
    found = {str(entry.name) for entry in (*description.input, *description.output)}
    if missing := {*program.inputs, *program.outputs} - found:
        raise ConversionError(f"coremltools calls {sorted(missing)} otherwise ({sorted(found)}): choose another name.")


def _join(names: list[str], packages: list[Path], joined: Path) -> None:
    """Makes one package of several, whose functions share equal weights."""
    ct = coremltools()
    description = ct.utils.MultiFunctionDescriptor()
    for name, package in zip(names, packages, strict=True):
        description.add_function(str(package), src_function_name="main", target_function_name=name)
    description.default_function_name = "main" if "main" in names else names[0]
    try:
        with quiet():
            ct.utils.save_multifunction(description, str(joined))
    except Exception as error:
        _forget_frames(error)
        raise ConversionError(f"Signatures {names} cannot share one Core ML package: {_reason(error)}") from error


def _reason(error: Exception | None) -> str:
    """One line out of what coremltools said; it names the operator where it knows it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = [line for line in lines if re.search(r"\bop\b|operat|dtype|rank|not (?:implemented|supported)", line)]
    return (telling or lines)[0][:300].rstrip(". ") + "."
