"""What each file must prove before anybody gets it: that it computes what its module computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters._convert import batch_of, format_of, load, read_grids, read_integers
from converters._departure import first_departure
from converters._details import CoreML, Details
from converters._errors import InputError, ParityError
from converters._exact import InDoubles
from converters._integers import Inspection, grid_differences, inspect_module, integer_differences
from converters._keras import KerasModel
from converters._noise import sqnr_db
from converters._program import Precision, Program
from converters._ties import TiesOtherwise

__all__ = ["Parity", "compare", "verify"]

_FLOAT32_DB = 80.0
_FLOAT16_DB = 45.0
_INTEGER_DB = 28.0
_ONE_STEP_SHARE = 0.99
_LUCKLESS = 50  # of so many samples one, the worst, is left out of that share
_MARGIN_STEPS = 4.0
_FLIPPED_SHARE = 0.01
_EXACT_FLOAT_DB = 45.0
_BELOW_ROUNDING_DB = 10.0  # a tenth of the noise that rounding itself makes: what ties that fall the other way may cost
_TWICE_DB = 3.0  # twice the noise of ties that fall another way
_DRAWN = 16  # random samples where none are given
_TELLING_SAMPLES = 3  # the worst ones; enough to see which layer errs
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
    source: Program | Sequence[Program] | KerasModel,
    inputs: Mapping[str, Arrays] | Arrays | None = None,
    precision: Precision = "float32",
    details: Details | None = None,
) -> Parity:
    """Runs a file beside its module on real inputs and raises where they part.

    A float32 file must come within 80 dB, a float16 one within 45 dB. A quantized file must hold the module's own
    integers, put values on no grids but the module's, and stay within one output step on 99 % of the values (one sample
    in 50 left out, the worst), 28 dB from the module and no further from it than rounding itself is; decisions may
    differ only where the module was undecided (a margin under 4 steps), in at most 1 % of the samples. Float outputs of
    a quantized module answer for the noise alone. An ONNX file run without optimisations must equal the module, but for
    averages that fall exactly between two integers, and for what lies behind float arithmetic: there it must come
    within 45 dB, or within a tenth of rounding's noise, of the module in 64-bit floats, with or without optimisations.

    A deep network may carry ties on, values that fall exactly between two integers, until its outputs differ by many
    steps. Where one of these lines is crossed, the module is therefore compared with itself, its ties fallen otherwise:
    a file with the module's own integers passes with no more than twice that noise, as long as it is below rounding's.
    TFLite's kernels for weights of 4 bits, which round twice, may reach twice rounding's noise.

    Args:
        path: a .tflite, .onnx or .mlpackage.
        source: the module's signatures, as they were exported; or the Keras model, which answers random inputs where
            none are given.
        inputs: real inputs by signature, then by name, samples along axis 0; a few dozen of them or more. Without a
            mapping by signature they are those of ``main`` (or of the first program). A signature without any is
            compared on its example inputs.
        precision: how what is not quantized was stored.
        details: what else was chosen about the file. Inputs that it reads as images are given either as pixels in
            uint8, or as the module reads them and then rounded to pixels.

    Raises:
        ParityError: the file departs from the module; the message names the first layer that does, by what the file
            stores or, where all it stores is the module's own, by what it computes.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a .tflite, .mlpackage or .onnx.")
    if isinstance(source, KerasModel):
        return _verify_keras(path, source, inputs, precision)
    wanted = [source] if isinstance(source, Program) else list(source)
    samples = _by_signature(inputs, wanted)
    stored = read_integers(path)
    seen = {program.name: inspect_module(program) for program in wanted}
    differences = {
        name: integer_differences(inspection.layers, stored.get(name, []), inspection.stored_alone)
        for name, inspection in seen.items()
        if inspection.layers
    }
    if not any(differences.values()) and any(inspection.grids for inspection in seen.values()):
        grids = read_grids(path)
        differences = {name: grid_differences(seen[name].grids, grids.get(name, [])) for name in seen}
    results = [
        _verify_signature(
            path,
            program,
            seen[program.name],
            samples.get(program.name),
            precision,
            details,
            differences.get(program.name, []),
        )
        for program in wanted
    ]
    for name, found in differences.items():
        if found:
            raise ParityError(
                f"{_signature(name)}{path.name} does not hold its module's integers. First departing layer: {found[0]}."
            )
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
    if not reference:
        raise InputError("No output is due, so there is nothing to compare; give the outputs by name.")
    if missing := set(reference) - set(answers):
        raise InputError(f"The answers lack the outputs {sorted(missing)}; they hold {sorted(answers)}.")
    for name, value in reference.items():
        if value.shape != answers[name].shape or value.dtype.kind not in "biuf" or not value.size:
            raise InputError(
                f"Output {name!r} is due as {value.dtype} {value.shape}, but the answers are {answers[name].dtype}"
                f" {answers[name].shape}; give numbers of the same shape, at least one."
            )
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
    if set(inputs) != set(program.inputs):
        raise InputError(
            f"Inputs {sorted(inputs)} were given for signature {program.name!r}, which reads {sorted(program.inputs)}."
        )
    asked, inputs = _as_pixels(inputs, details)
    for name, example in program.inputs.items():
        if np.shape(inputs[name])[1:] != tuple(example.shape[1:]):
            raise InputError(
                f"Input {name!r} has the shape {np.shape(inputs[name])}; signature {program.name!r} reads"
                f" {tuple(example.shape)}, any number of samples along axis 0: give that shape."
            )
    reference = _run_module(program, inputs)
    answers = _ask(path, program, asked)
    try:
        _judge_form(path, reference, answers)
        result = compare(reference, answers, inspection.output_steps)
        if inspection.quantized:
            _judge_quantized(path, program, inspection, inputs, reference, answers, result, not differences)
        else:
            _judge_floats(path, result, precision)
    except ParityError as error:
        due_db = _FLOAT16_DB if inspection.quantized or precision == "float16" else _FLOAT32_DB
        layer = differences[0] if differences else _first_layer(path, program, inputs, reference, answers, due_db)
        raise ParityError(f"{_signature(program.name)}{error} First departing layer: {layer}.") from None
    return result


def _verify_keras(
    path: Path, source: KerasModel, inputs: Mapping[str, Arrays] | Arrays | None, precision: Precision
) -> Parity:
    given = inputs or source.samples(_DRAWN)
    flat: Arrays = {name: value for name, value in given.items() if not isinstance(value, Mapping)}
    reference, answers = source.run(flat), load(path).run(flat)
    _judge_form(path, reference, answers)
    result = compare(reference, answers)
    _judge_floats(path, result, precision)
    return result


def _judge_floats(path: Path, result: Parity, precision: Precision) -> None:
    floor = _FLOAT16_DB if precision == "float16" else _FLOAT32_DB
    if result.sqnr_db < floor:
        raise ParityError(f"{path.name} departs from its module: {result.sqnr_db:.1f} dB where {floor:g} dB are due.")


def _signature(name: str) -> str:
    return "" if name == "main" else f"Signature {name!r}: "


def _judge_form(path: Path, reference: Arrays, answers: Arrays) -> None:
    """Names, shapes, and that numbers are numbers."""
    for name, values in reference.items():
        if name not in answers:
            raise ParityError(f"{path.name} lacks its module's output {name!r}; it returns {sorted(answers)}.")
        if values.shape != answers[name].shape:
            raise ParityError(
                f"{path.name} answers {name!r} in the shape {answers[name].shape[1:]} where its module has"
                f" {values.shape[1:]}."
            )
        if lost := int((np.isfinite(_float(values)) & ~np.isfinite(_float(answers[name]))).sum()):
            raise ParityError(
                f"{path.name} answers {name!r} with {lost} values of {values.size} that are not finite where its"
                " module's are."
            )


def _first_layer(
    path: Path, program: Program, inputs: Arrays, reference: Arrays, answers: Arrays, due_db: float
) -> str:
    """By the values of the samples on which the answers are worst."""
    count = len(next(iter(inputs.values())))
    order = sorted(range(count), key=lambda sample: _sample_db(reference, answers, sample))
    samples = [
        {name: inputs[name][sample : sample + 1] for name in program.inputs} for sample in order[:_TELLING_SAMPLES]
    ]
    try:
        return first_departure(path, program, samples, due_db) or "none alone, by what the file computes on its way"
    except Exception as error:  # a file that departs may break in any way here, and must not hide that it departs
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"unknown, since its inner values cannot be read ({reason[:120].rstrip('.')})"


def _sample_db(reference: Arrays, answers: Arrays, sample: int) -> float:
    if any(name not in answers or values.shape != answers[name].shape for name, values in reference.items()):
        return 0.0
    return min(sqnr_db(values[sample], answers[name][sample]) for name, values in reference.items())


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
    same_integers: bool,
) -> None:
    floats = _run_module(program, inputs, _without_activation_grids(program))
    rounding_db = _worst_db(floats, reference)
    unoptimized = _ask(path, program, inputs, optimized=False) if format_of(path) == "onnx" else None
    try:
        _judge_answers(path, inspection, reference, answers, result, rounding_db)
        if unoptimized is not None:
            behind_floats = inspection.rounds_float_arithmetic or None in inspection.output_steps.values()
            doubles = _run_module(program, inputs, InDoubles(program)) if behind_floats else {}
            _judge_exactness(path, inspection, reference, unoptimized, rounding_db, doubles, answers)
    except ParityError:
        if not same_integers:
            raise
        found_db = min(_worst_db(reference, one) for one in (answers, unoptimized) if one is not None)
        other_luck = (_run_module(program, inputs, TiesOtherwise(program, seed)) for seed in range(2))
        ties_db = min(_worst_db(reference, other) for other in other_luck)
        due_db = max(rounding_db, ties_db - _TWICE_DB)
        if inspection.narrow and format_of(path) == "tflite":  # its kernels round twice, first to few bits
            due_db = min(due_db, rounding_db - _TWICE_DB)
        if found_db < due_db:
            raise


def _judge_answers(
    path: Path,
    inspection: Inspection,
    reference: Arrays,
    answers: Arrays,
    result: Parity,
    rounding_db: float,
) -> None:
    floor = max(_INTEGER_DB, min(rounding_db, _FLOAT16_DB))
    if result.sqnr_db < floor:
        raise ParityError(f"{path.name} departs from its module: {result.sqnr_db:.1f} dB where {floor:.1f} dB are due.")
    for name, step in inspection.output_steps.items():
        if step is None:
            continue
        errors = np.abs(_float(reference[name]) - _float(answers[name])) / step
        # A tie that falls otherwise on the first layers may move all of one sample's few outputs; a fault spares none.
        shares = np.sort(np.mean((errors <= 1.0 + 1e-3).reshape(len(errors), -1), axis=1))
        within = float(np.mean(shares[len(shares) // _LUCKLESS :]))
        if within < _ONE_STEP_SHARE:
            raise ParityError(
                f"{path.name} departs from its module: {100 * within:.1f} % of {name!r} lie within one output step"
                f" where 99 % are due."
            )
    _judge_decisions(path, reference, answers, inspection.output_steps)


def _judge_exactness(
    path: Path,
    inspection: Inspection,
    reference: Arrays,
    unoptimized: Arrays,
    rounding_db: float,
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
            exact_db = max(sqnr_db(doubles[name], one[name]) for one in (unoptimized, answers))
            if exact_db < floor:
                raise ParityError(
                    f"{path.name} departs from its module in 64-bit floats: {exact_db:.1f} dB of {name!r}"
                    f" where {floor:.1f} dB are due."
                )
            continue
        errors = np.abs(_float(unoptimized[name]) - _float(reference[name])) / step
        beyond = (errors > 1.0 + 1e-3).reshape(len(errors), -1)
        samples_off = int(beyond.any(1).sum()) > max(1, int(_TIED_SHARE * len(errors)))
        if samples_off or np.mean(beyond) > 1 - _ONE_STEP_SHARE or np.mean(errors > 1e-3) > _TIED_SHARE:
            raise ParityError(
                f"{path.name} run without optimisations equals its module on only"
                f" {100 * float(np.mean(errors <= 1e-3)):.1f} % of {name!r}."
            )


def _judge_decisions(path: Path, reference: Arrays, answers: Arrays, steps: Mapping[str, float | None]) -> None:
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
            f" {int((flipped & decided).sum())} of them clear ones."
        )


def _run_module(
    program: Program, inputs: Arrays, instead: torch.nn.Module | None = None
) -> dict[str, NDArray[np.generic]]:
    """The answers of the module, or of another one ``instead``, sample by sample as files answer."""
    twin = Program(instead or program.module, program.inputs, program.outputs, program.name)
    answers = []
    for sample in range(batch_of(inputs)):
        one = {
            name: torch.from_numpy(np.ascontiguousarray(inputs[name][sample : sample + 1])).to(example.dtype)
            for name, example in program.inputs.items()
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


def _worst_db(reference: Arrays, answers: Arrays) -> float:
    """Over the outputs."""
    return min(sqnr_db(reference[name], answers[name]) for name in reference)


def _decisions(values: NDArray[np.generic]) -> NDArray[np.intp]:
    decisions: NDArray[np.intp] = np.argmax(_float(values).reshape(len(values), -1), axis=-1)
    return decisions


def _float(values: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
