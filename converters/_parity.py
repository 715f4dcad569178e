"""What each file must prove before anybody gets it: that it computes what its module computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters._convert import format_of, load, read_integers
from converters._details import CoreML, Details
from converters._errors import InputError, ParityError
from converters._exact import InDoubles
from converters._integers import Inspection, inspect_module, integer_differences
from converters._program import Precision, Program
from converters._ties import TiesOtherwise

__all__ = ["Parity", "compare", "verify"]

_FLOAT32_DB = 80.0
_FLOAT16_DB = 45.0
_INTEGER_DB = 28.0
_ONE_STEP_SHARE = 0.99
_MARGIN_STEPS = 4.0
_FLIPPED_SHARE = 0.01
_EXACT_FLOAT_DB = 45.0
_BELOW_ROUNDING_DB = 10.0  # a tenth of the noise that rounding itself makes: what ties that fall the other way may cost
_TWICE_DB = 3.0  # twice the noise of ties that fall another way
_TIED_SHARE = 0.1  # values often fall exactly between two integers, and the order of a float sum decides

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Parity:
    """How close a file's answers are to its module's.

    Attributes:
        sqnr_db: signal to quantization noise ratio in dB, the mean output taken off; the worst output counts.
        max_steps: largest error in steps of the output's grid; None for float outputs.
        agreement: share of samples with the same decision (largest entry of the first output), 0 to 1.
        integers_equal: whether the file holds the module's own integers; None for a float module.
        n: number of samples compared.
    """

    sqnr_db: float
    max_steps: float | None
    agreement: float
    integers_equal: bool | None
    n: int


def verify(
    path: Path,
    programs: Program | Sequence[Program],
    inputs: Mapping[str, Arrays] | Arrays | None = None,
    precision: Precision = "float32",
    details: Details | None = None,
) -> Parity:
    """Runs a file beside its module on real inputs and raises where they part.

    A float32 file must come within 80 dB, a float16 one within 45 dB. A quantized file must hold the module's own
    integers and stay within one output step on 99 % of the values, 28 dB from the module and no further from it than
    rounding itself is; decisions may differ only where the module was undecided (a margin under 4 steps), in at most
    1 % of the samples. Float outputs of a quantized module answer for the noise alone. An ONNX file run without
    optimisations must equal the module, but for averages that fall exactly between two integers, and for what lies
    behind float arithmetic: there it must come within 45 dB, or within a tenth of rounding's noise, of the module in
    64-bit floats, with or without optimisations.

    A deep network may carry ties on, values that fall exactly between two integers, until its outputs differ by many
    steps. Where one of these lines is crossed, the module is therefore compared with itself, its ties fallen otherwise:
    a file with the module's own integers passes with no more than twice that noise, as long as it is below rounding's.

    Args:
        path: a .tflite, .onnx or .mlpackage.
        programs: the module's signatures, as they were exported.
        inputs: real inputs by signature, then by name, samples along axis 0; a few dozen of them or more. Without a
            mapping by signature they are those of ``main`` (or of the first program). A signature without any is
            compared on its example inputs.
        precision: how what is not quantized was stored.
        details: what else was chosen about the file. Inputs that it reads as images are given either as pixels in
            uint8, or as the module reads them and then rounded to pixels.

    Raises:
        ParityError: the file departs from the module; the message names the first layer that does.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a .tflite, .mlpackage or .onnx.")
    wanted = [programs] if isinstance(programs, Program) else list(programs)
    samples = _by_signature(inputs, wanted)
    differences: list[str] = []
    stored = read_integers(path)
    seen = {program.name: inspect_module(program) for program in wanted}
    for name, inspection in seen.items():
        if inspection.layers:
            differences += integer_differences(inspection.layers, stored.get(name, []))
    results = [
        _verify_signature(path, program, seen[program.name], samples.get(program.name), precision, details, differences)
        for program in wanted
    ]
    if differences:
        raise ParityError(f"{path.name} does not hold its module's integers. First departing layer: {differences[0]}.")
    steps = [result.max_steps for result in results if result.max_steps is not None]
    return Parity(
        sqnr_db=min(result.sqnr_db for result in results),
        max_steps=max(steps) if steps else None,
        agreement=min(result.agreement for result in results),
        integers_equal=True if any(inspection.layers for inspection in seen.values()) else None,
        n=sum(result.n for result in results),
    )


def compare(reference: Arrays, answers: Arrays, steps: Mapping[str, float | None] | None = None) -> Parity:
    """The distance between two sets of answers to the same inputs, without judging it.

    Args:
        reference: outputs by name, samples along axis 0.
        answers: the same names and shapes.
        steps: the step of each output's grid; None for float outputs.
    """
    if missing := set(reference) - set(answers):
        raise InputError(f"The answers lack the outputs {sorted(missing)}; they hold {sorted(answers)}.")
    steps = steps or {}
    worst_steps = [
        float(np.abs(_float(reference[name]) - _float(answers[name])).max() / step)
        for name, step in steps.items()
        if step
    ]
    first = next(iter(reference))
    return Parity(
        sqnr_db=_worst_db(reference, answers),
        max_steps=max(worst_steps) if worst_steps else None,
        agreement=float(np.mean(_decisions(reference[first]) == _decisions(answers[first]))),
        integers_equal=None,
        n=len(reference[first]),
    )


def _by_signature(inputs: Mapping[str, Arrays] | Arrays | None, programs: Sequence[Program]) -> Mapping[str, Arrays]:
    names = [program.name for program in programs]
    alone, by_signature = {}, {}
    for name, value in (inputs or {}).items():
        if isinstance(value, Mapping):
            by_signature[name] = value
        else:
            alone[name] = value
    if alone and by_signature:
        raise InputError(
            f"Inputs {sorted(alone)} stand beside signatures {sorted(by_signature)}: give one or the other."
        )
    if unknown := set(by_signature) - set(names):
        raise InputError(f"Inputs were given for signatures {sorted(unknown)}; the programs are {sorted(names)}.")
    return {"main" if "main" in names else names[0]: alone} if alone else by_signature


def _verify_signature(
    path: Path,
    program: Program,
    inspection: Inspection,
    inputs: Arrays | None,
    precision: Precision,
    details: Details | None,
    differences: Sequence[str],
) -> Parity:
    inputs = inputs or {name: value.numpy() for name, value in program.inputs.items()}
    asked, inputs = _as_pixels(inputs, details)
    reference = _run_module(program, inputs)
    answers = _ask(path, program, asked)
    for name, value in reference.items():
        if name not in answers or answers[name].shape != value.shape:
            found = f"in shape {answers[name].shape}" if name in answers else "not at all"
            raise ParityError(f"{path.name} answers {name!r} {found}, where its module answers in shape {value.shape}.")
    result = compare(reference, answers, inspection.output_steps)
    where = f" First departing layer: {differences[0]}." if differences else ""
    if not inspection.quantized:
        floor = _FLOAT16_DB if precision == "float16" else _FLOAT32_DB
        if result.sqnr_db < floor:
            raise ParityError(
                f"{path.name} departs from its module: {result.sqnr_db:.1f} dB where {floor:g} dB are due.{where}"
            )
        return result
    _judge_quantized(path, program, inspection, inputs, reference, answers, result, where)
    return result


def _as_pixels(inputs: Arrays, details: Details | None) -> tuple[Arrays, Arrays]:
    """What a file is asked, and what its module is: the same but for images."""
    images = details.images if isinstance(details, CoreML) else {}
    pixels = {
        name: inputs[name] if inputs[name].dtype == np.uint8 else image.pixels(inputs[name])
        for name, image in images.items()
    }
    values = {name: image.values(pixels[name].astype(np.uint8)) for name, image in images.items()}
    return {**inputs, **pixels}, {**inputs, **values}


def _ask(path: Path, program: Program, inputs: Arrays, *, optimized: bool = True) -> Arrays:
    """A file's answers to the module's inputs, in the module's numbers, whatever its ends are."""
    model = load(path, optimized=optimized)
    ends = model.integer_ends(program.name)
    asked = {name: ends[name].integers(value) if name in ends else value for name, value in inputs.items()}
    answers = model.run(asked, program.name)
    return {name: ends[name].values(value) if name in ends else value for name, value in answers.items()}


def _judge_quantized(
    path: Path,
    program: Program,
    inspection: Inspection,
    inputs: Arrays,
    reference: Arrays,
    answers: Arrays,
    result: Parity,
    where: str,
) -> None:
    floats = _run_module(program, inputs, _without_activation_grids(program))
    rounding_db = _worst_db(floats, reference)
    unoptimized = _ask(path, program, inputs, optimized=False) if format_of(path) == "onnx" else None
    try:
        _judge_answers(path, inspection, reference, answers, result, rounding_db, where)
        if unoptimized is not None:
            behind_floats = inspection.rounds_float_arithmetic or None in inspection.output_steps.values()
            doubles = _run_module(program, inputs, InDoubles(program)) if behind_floats else {}
            _judge_exactness(path, inspection, reference, unoptimized, rounding_db, where, doubles, answers)
    except ParityError:
        if where:
            raise
        found_db = min(_worst_db(reference, one) for one in (answers, unoptimized) if one is not None)
        other_luck = (_run_module(program, inputs, TiesOtherwise(program, seed)) for seed in range(2))
        ties_db = min(_worst_db(reference, other) for other in other_luck)
        if found_db < max(rounding_db, ties_db - _TWICE_DB):
            raise


def _judge_answers(
    path: Path,
    inspection: Inspection,
    reference: Arrays,
    answers: Arrays,
    result: Parity,
    rounding_db: float,
    where: str,
) -> None:
    floor = max(_INTEGER_DB, min(rounding_db, _FLOAT16_DB))
    if result.sqnr_db < floor:
        raise ParityError(
            f"{path.name} departs from its module: {result.sqnr_db:.1f} dB where {floor:.1f} dB are due.{where}"
        )
    for name, step in inspection.output_steps.items():
        if step is None:
            continue
        errors = np.abs(_float(reference[name]) - _float(answers[name])) / step
        within = float(np.mean(errors <= 1.0 + 1e-3))
        if within < _ONE_STEP_SHARE:
            raise ParityError(
                f"{path.name} departs from its module: {100 * within:.1f} % of {name!r} lie within one output step"
                f" where 99 % are due.{where}"
            )
    _judge_decisions(path, reference, answers, inspection.output_steps, where)


def _judge_exactness(
    path: Path,
    inspection: Inspection,
    reference: Arrays,
    unoptimized: Arrays,
    rounding_db: float,
    where: str,
    doubles: Arrays,
    answers: Arrays,
) -> None:
    """What onnxruntime answers operator by operator, judged as far as float arithmetic lets it be exact.

    Integers equal the module's but for ties; one that falls the other way early in a deep network moves what is behind
    it, a few values by more than a step. That befalls few samples, where a fault would befall all. Behind a norm or a
    softmax that is rounded some values fall on the other side of a step, since no two runtimes sum floats in one order:
    there, and on float outputs, the noise counts, which must stay far below that of rounding itself. The module's own
    32-bit sums are part of that noise, and so are those of operators run one by one; so the reference is the module in
    64-bit floats, and integer kernels may be what comes close to it.
    """
    floor = max(_INTEGER_DB, min(_EXACT_FLOAT_DB, rounding_db + _BELOW_ROUNDING_DB))
    for name, step in inspection.output_steps.items():
        if step is None or inspection.rounds_float_arithmetic:
            exact_db = max(_sqnr_db(_float(doubles[name]), _float(one[name])) for one in (unoptimized, answers))
            if exact_db < floor:
                raise ParityError(
                    f"{path.name} departs from its module in 64-bit floats: {exact_db:.1f} dB of {name!r}"
                    f" where {floor:.1f} dB are due.{where}"
                )
            continue
        errors = np.abs(_float(unoptimized[name]) - _float(reference[name])) / step
        beyond = (errors > 1.0 + 1e-3).reshape(len(errors), -1)
        samples_off = int(beyond.any(1).sum()) > max(1, int(_TIED_SHARE * len(errors)))
        if samples_off or np.mean(beyond) > 1 - _ONE_STEP_SHARE or np.mean(errors > 1e-3) > _TIED_SHARE:
            raise ParityError(
                f"{path.name} run without optimisations equals its module on only"
                f" {100 * float(np.mean(errors <= 1e-3)):.1f} % of {name!r}.{where}"
            )


def _judge_decisions(
    path: Path, reference: Arrays, answers: Arrays, steps: Mapping[str, float | None], where: str
) -> None:
    first, step = next(iter(steps.items()))
    values = _float(reference[first])
    if step is None or values[0].size < 2:
        return
    flipped = _decisions(values) != _decisions(answers[first])
    top = np.sort(values.reshape(len(values), -1), axis=-1)
    decided = (top[..., -1] - top[..., -2]) >= _MARGIN_STEPS * step
    if bool((flipped & decided).any()) or float(flipped.mean()) > max(_FLIPPED_SHARE, 1.0 / flipped.size):
        raise ParityError(
            f"{path.name} decides otherwise than its module on {int(flipped.sum())} of {flipped.size} samples,"
            f" {int((flipped & decided).sum())} of them clear ones.{where}"
        )


def _run_module(
    program: Program, inputs: Arrays, instead: torch.nn.Module | None = None
) -> dict[str, NDArray[np.generic]]:
    """The answers of the module, or of another one ``instead``, sample by sample as files answer."""
    twin = Program(instead or program.module, program.inputs, program.outputs, program.name)
    answers = []
    for sample in range(len(next(iter(inputs.values())))):
        one = {
            name: torch.from_numpy(np.ascontiguousarray(inputs[name][sample : sample + 1])) for name in program.inputs
        }
        with torch.no_grad():
            answers.append(twin(**one))
    return {name: np.concatenate([answer[name].numpy() for answer in answers]) for name in program.outputs}


def _without_activation_grids(program: Program) -> torch.nn.Module:
    """The module without the rounding of activations; they saturate as before, since it was trained that way."""
    traced = torch.export.export(program.module, tuple(program.inputs.values())).module(check_guards=False)
    for node in list(traced.graph.nodes):
        if node.target is not torch.ops.quantized_decomposed.dequantize_per_tensor.default:
            continue
        source = node.all_input_nodes[0].all_input_nodes[0]
        if source.op == "get_attr":  # a table of weights
            continue
        _, scale, zero_point, low, high, _ = node.args
        with traced.graph.inserting_before(node):
            ends = ((low - zero_point) * scale, (high - zero_point) * scale)
            clamped = traced.graph.call_function(torch.clamp, (source, *ends))
        node.replace_all_uses_with(clamped)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _sqnr_db(reference: NDArray[np.float64], answers: NDArray[np.float64]) -> float:
    """In dB, at most 200: equal answers would have no noise at all."""
    signal = float(np.mean((reference - reference.mean()) ** 2))
    noise = float(np.mean((reference - answers) ** 2))
    floor = 1e-12 * max(float(np.mean(reference**2)), 1e-12)  # outputs that vanish carry no signal to lose
    return min(200.0, 10 * float(np.log10(max(signal, floor) / max(noise, 1e-30))))


def _worst_db(reference: Arrays, answers: Arrays) -> float:
    """Over the outputs."""
    return min(_sqnr_db(_float(reference[name]), _float(answers[name])) for name in reference)


def _decisions(values: NDArray[np.generic]) -> NDArray[np.intp]:
    decisions: NDArray[np.intp] = np.argmax(_float(values).reshape(len(values), -1), axis=-1)
    return decisions


def _float(values: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
