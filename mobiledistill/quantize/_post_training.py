"""Quantization without training: a float program in, one that holds integers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from converters import ConversionError, InputError, Program
from mobiledistill.quantize._exported import graph_of_layers
from mobiledistill.quantize._layers import KNOWN_LAYERS, trace
from mobiledistill.quantize._rewrite import calibrate, correct_biases, freeze, prepare
from mobiledistill.quantize._schemes import Int8, LayerScheme, Mixed

__all__ = ["post_training"]

_INT8 = Int8()

Calibration = Mapping[str, Tensor] | Mapping[str, Mapping[str, Tensor]]


def post_training(
    programs: Program | Sequence[Program],
    calibration: Calibration | None = None,
    scheme: LayerScheme | Mixed = _INT8,
) -> list[Program]:
    """The same signatures in few bits, calibrated on real inputs and not trained.

    You gain a quantized model in seconds, without labels; you lose what training with rounding would win back. What
    comes back goes to ``convert`` and ``verify`` as the float programs do. The programs given are not touched.

    Example:
        >>> quantized = post_training(program, {"features": features})  # doctest: +SKIP
        >>> convert(quantized, Path("net.tflite"))  # doctest: +SKIP
        >>> smaller = post_training(program, scheme=Palette(bits=4))  # doctest: +SKIP

    Args:
        programs: float modules with their example inputs.
        calibration: real inputs by name, samples along axis 0, or by signature and name where there are several;
            needed where activations become integers.
        scheme: what layers become: ``Int8``, ``WeightOnly``, ``Palette``, or a ``Mixed`` of them.

    Raises:
        ConversionError: a module cannot be traced, or no calibration input reached some part of it.
        InputError: calibration inputs are missing or have other names than the program's.
    """
    wanted = [programs] if isinstance(programs, Program) else list(programs)
    mixed = scheme if isinstance(scheme, Mixed) else Mixed(scheme)
    inputs = _by_signature(calibration or {}, wanted) if mixed.has_integer_activations else {}
    prepared = prepare({program.name: _readable(program) for program in wanted}, mixed)
    if mixed.has_integer_activations:
        calibrate(prepared, inputs, mixed.percentile, batch_size=1)
        if mixed.correct_biases:
            correct_biases(prepared, inputs, batch_size=1)
    frozen = freeze(prepared)
    return [Program(frozen[program.name], program.inputs, program.outputs, program.name) for program in wanted]


def _readable(program: Program) -> nn.Module:
    """The module itself where ``torch.fx`` sees every weight in a layer that we know, else as torch.export has it."""
    try:
        traced = trace(program.module)
    except ConversionError:
        return graph_of_layers(program)
    called = {traced.get_submodule(str(node.target)) for node in traced.graph.nodes if node.op == "call_module"}
    opaque = [part for part in called if not isinstance(part, KNOWN_LAYERS) and any(True for _ in part.parameters())]
    return graph_of_layers(program) if opaque else program.module


def _by_signature(calibration: Calibration, programs: Sequence[Program]) -> dict[str, dict[str, Tensor]]:
    """The calibration inputs of each signature, in the order of its own inputs."""
    given: dict[str, Mapping[str, Tensor]] = {
        name: value for name, value in calibration.items() if isinstance(value, Mapping)
    }
    if len(programs) == 1 and not given:
        given = {programs[0].name: {name: value for name, value in calibration.items() if isinstance(value, Tensor)}}
    ordered = {}
    for program in programs:
        known = given.get(program.name, {})
        if missing := [name for name in program.inputs if name not in known]:
            raise InputError(
                f"Signature {program.name!r} reads {list(program.inputs)}; its calibration inputs lack {missing}."
            )
        ordered[program.name] = {name: known[name] for name in program.inputs}
    return ordered
