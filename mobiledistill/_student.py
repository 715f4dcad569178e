"""From a plan to a student, and from a student to the programs that converters write."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from converters import Format, InputError, Precision, Program, convert, load, save_program, suffix_of
from mobiledistill._task import Arrays, Predict, Signature, Task
from mobiledistill.prune import Run, evaluating
from mobiledistill.quantize import Fp16, Int8Or4, LayerScheme, Mixed, Scheme, calibrate, freeze, prepare

__all__ = [
    "Family",
    "as_tuple",
    "check_module",
    "example_run",
    "export",
    "exported_signatures",
    "file_predictor",
    "integers_of",
    "predictor",
    "programs_of",
    "rounded",
    "run_in_training",
    "run_per_use",
    "signature_modules",
    "suffix_of",
]

Family = Callable[[int, int], nn.Module]
"""(width, depth) -> module: a family of students."""


def signature_modules(task: Task, model: nn.Module) -> dict[str, nn.Module]:
    """The module behind each signature of a model."""
    return {name: task.exported(model, name) for name in task.signatures}


def example_run(task: Task) -> Run:
    """Runs every exported signature of a model on one sample each and returns all outputs."""
    return _run(task, dict.fromkeys(exported_signatures(task), 1))


def run_in_training(task: Task) -> Run:
    """Likewise every signature, those too that only training calls."""
    return _run(task, dict.fromkeys(task.signatures, 1))


def run_per_use(task: Task) -> Run:
    """Runs what one use of the product runs: each exported signature as often as it is called."""
    calls = {name: max(1, round(signature.calls_per_use)) for name, signature in exported_signatures(task).items()}
    return _run(task, calls)


def _run(task: Task, calls: Mapping[str, int]) -> Run:
    examples = {name: _tensors(task.calibration_inputs(name), 1) for name in calls}

    def run(model: nn.Module) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for name, count in calls.items():
            for _ in range(count):
                outputs.extend(as_tuple(task.exported(model, name)(*examples[name].values())))
        return tuple(outputs)

    return run


def rounded(task: Task, model: nn.Module, scheme: LayerScheme | Mixed | Int8Or4) -> nn.ModuleDict:
    """A trainable, calibrated copy of a float student that rounds as its integers will."""
    if isinstance(scheme, Int8Or4):  # nobody chose yet
        scheme = scheme.mixed(())
    mixed = scheme if isinstance(scheme, Mixed) else Mixed(scheme)
    prepared = prepare(signature_modules(task, model), mixed)
    if mixed.has_integer_activations:
        inputs = {name: _tensors(task.calibration_inputs(name)) for name in task.signatures}
        calibrate(prepared, inputs, mixed.percentile)
    return prepared


def integers_of(task: Task, model: nn.Module, scheme: Scheme) -> Mapping[str, nn.Module]:
    """The signatures as they are exported without further training: rounded after calibration, or float."""
    if scheme is None or isinstance(scheme, Fp16):
        return signature_modules(task, model)
    return dict(freeze(rounded(task, model, scheme)).items())


def programs_of(task: Task, modules: Mapping[str, nn.Module]) -> list[Program]:
    """The exported signatures as converters take them."""
    return [
        Program(
            modules[name],
            _tensors(task.calibration_inputs(name), 1),
            tuple(signature.outputs),
            name,
        )
        for name, signature in exported_signatures(task).items()
    ]


def exported_signatures(task: Task) -> dict[str, Signature]:
    """The signatures that files hold."""
    return {name: signature for name, signature in task.signatures.items() if signature.exported}


def export(
    programs: Sequence[Program], formats: tuple[Format, ...], folder: Path, scheme: Scheme
) -> dict[Format, Path]:
    """Writes ``student.tflite`` and the like into ``folder``, and beside them the student itself as ``student.pt2``."""
    precision: Precision = "float16" if isinstance(scheme, Fp16) else "float32"
    paths = {
        format: convert(programs, folder / f"student{suffix_of(format)}", precision=precision) for format in formats
    }
    for program in programs:
        save_program(program, folder / ("student.pt2" if len(programs) == 1 else f"student-{program.name}.pt2"))
    return paths


def predictor(task: Task, modules: Mapping[str, nn.Module]) -> Predict:
    """Lets a task's evaluation ask a module."""

    def predict(inputs: Mapping[str, np.ndarray], signature: str = "main") -> Arrays:
        module = modules[signature].eval()
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        with torch.no_grad():
            returned = module(*(torch.as_tensor(value, device=device) for value in inputs.values()))
        names = task.signatures[signature].outputs
        return {name: value.cpu().numpy() for name, value in zip(names, as_tuple(returned), strict=True)}

    return predict


def file_predictor(path: Path) -> Predict:
    """Lets a task's evaluation ask an exported file."""
    model = load(path)

    def predict(inputs: Mapping[str, np.ndarray], signature: str = "main") -> Arrays:
        return model.run(inputs, signature)

    return predict


def check_module(task: Task, model: nn.Module, role: str) -> None:
    """Refuses a module whose weights are not finite or whose outputs do not fit the task.

    Raises:
        InputError: what is wrong, with which output.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"The {role}'s weight {name!r} holds NaN or infinity; give it a model that was trained well."
            )
    try:
        copy.deepcopy(model)
    except RuntimeError as error:
        raise InputError(
            f"The {role} cannot be copied ({str(error).splitlines()[0]}); take hooks that make weights off it first,"
            " such as torch.nn.utils.remove_weight_norm."
        ) from None
    with evaluating(model):
        _check_outputs(task, model, role)


def _check_outputs(task: Task, model: nn.Module, role: str) -> None:
    for name, module in signature_modules(task, model).items():
        signature = task.signatures[name]
        inputs = _tensors(task.calibration_inputs(name), 1)
        try:
            with torch.no_grad():
                outputs = as_tuple(module(*inputs.values()))
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"The {role} cannot read the task's inputs of signature {name!r}"
                f" ({', '.join(f'{key} {tuple(value.shape)}' for key, value in inputs.items())}):"
                f" {str(error).splitlines()[0]}"
            ) from None
        wanted = {key: output.shape for key, output in signature.outputs.items()}
        given = [tuple(output.shape) for output in outputs]
        if given != list(wanted.values()):
            raise InputError(
                f"The {role}'s outputs have the shapes {given}, but signature {name!r} of task {task.name!r} has the"
                f" heads {', '.join(f'{key} {shape}' for key, shape in wanted.items())}; give a model that fits."
            )


def as_tuple(returned: Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """What a module returned, as a tuple of tensors."""
    if isinstance(returned, Tensor):
        return (returned,)
    return tuple(returned.values()) if isinstance(returned, Mapping) else tuple(returned)


def _tensors(arrays: Arrays, count: int | None = None) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value[:count])) for name, value in arrays.items()}
