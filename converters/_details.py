"""What can be chosen about a file beyond its format: one typed wish per format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from converters._ends import check_integer_ends
from converters._errors import ConversionError, InputError
from converters._program import Format, Program

__all__ = [
    "LABEL_SUFFIX",
    "ONNX",
    "Color",
    "CoreML",
    "Details",
    "Image",
    "Runtime",
    "TFLite",
    "Target",
    "check_details",
    "check_entries",
]

Target = Literal["iOS16", "iOS17", "iOS18"]
"""The oldest system that must run a Core ML package."""

Runtime = Literal["2.14"]
"""A runtime for .tflite files that phones and boards in the field carry."""

Color = Literal["RGB", "BGR", "GRAYSCALE"]

LABEL_SUFFIX = "_label"
"""Behind the name of an output: what the best label of its dictionary is called."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An input that a phone fills with a picture of its camera: ``scale * pixel + bias`` is what the module reads.

    Example:
        >>> Image(scale=1 / 255).channels
        3

    Attributes:
        scale: what each pixel, 0 to 255, is multiplied with.
        bias: what is then added: one number for all channels, or one for each in the order of ``color``.
        color: the order of channels that the module reads.
    """

    scale: float = 1.0
    bias: tuple[float, ...] = (0.0,)
    color: Color = "RGB"

    def __post_init__(self) -> None:
        if self.color not in get_args(Color):
            raise InputError(f"Image(color={self.color!r}) is unknown; choose one of {', '.join(get_args(Color))}.")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise InputError(f"Image(scale={self.scale!r}) leaves no picture; give a number such as 1 / 255.")
        if len(self.bias) not in (1, self.channels) or not all(map(math.isfinite, self.bias)):
            raise InputError(f"Image(bias={self.bias!r}) must hold 1 or {self.channels} numbers for {self.color}.")

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.color == "GRAYSCALE" else 3

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the module reads of pixels, red first, (n, channels, height, width) or (n, height, width, channels)."""
        if pixels.shape[1] != self.channels:
            pixels = pixels.transpose(0, 3, 1, 2)
        turned = pixels[:, ::-1] if self.color == "BGR" else pixels
        return turned.astype(np.float32) * np.float32(self.scale) + self._bias()

    def pixels(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The pixels, red first and channels first, that come nearest to what the module reads."""
        nearest = np.round((values.astype(np.float32) - self._bias()) / np.float32(self.scale))
        turned = nearest[:, ::-1] if self.color == "BGR" else nearest
        return np.ascontiguousarray(turned.clip(0, 255), np.uint8)

    def _bias(self) -> NDArray[np.float32]:
        return np.array(self.bias, np.float32).reshape(1, -1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class _Described:
    """What people and apps read about a file."""

    images: Mapping[str, Image] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""
    version: str = ""
    description: str = ""
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise InputError(
                f"{type(self).__name__}(labels={self.labels!r}) must be a tuple of different words, one for each class."
            )


@dataclass(frozen=True, kw_only=True)
class CoreML(_Described):
    """What can be chosen about an .mlpackage.

    Example:
        >>> CoreML(target="iOS17", images={"image": Image(scale=1 / 255)}, labels=("cat", "dog"), author="Me").target
        'iOS17'

    Attributes:
        target: the oldest system that must run it. None takes the oldest that has what the programs need.
        images: the inputs that are pictures, by name; their shape is (1, 1 or 3, height, width).
        labels: what the entries of the first output stand for. That output becomes a dictionary from label to number,
            under its old name, and the best label comes beside it as ``<output>_label``.
        author: who made it; Xcode shows this and the next three.
        licence: under which terms it may be used.
        version: which one it is.
        description: what it does.
        descriptions: what inputs and outputs are, by name.
    """

    target: Target | None = None

    format: ClassVar[Format] = "coreml"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target not in (None, *get_args(Target)):
            raise InputError(f"CoreML(target={self.target!r}) is unknown; choose one of {', '.join(get_args(Target))}.")


@dataclass(frozen=True, kw_only=True)
class TFLite(_Described):
    """What can be chosen about a .tflite.

    All but ``runtime`` and the integer ends is written as the format's metadata, which MediaPipe Tasks and Android
    Studio read; it costs some hundred bytes, and the numbers that go in and come out stay the same.

    Example:
        >>> TFLite(images={"image": Image(scale=1 / 255)}, labels=("cat", "dog"), author="Me").labels
        ('cat', 'dog')

    Attributes:
        runtime: the oldest runtime that must load it: a file with an operator, or a version of one, that this runtime
            lacks is refused by name. None asks for none.
        images: the inputs that are pictures, by name; their shape is (1, height, width, 1 or 3), see
            ``Program.channels_last``. The file still reads floats; apps learn from it how to make them of pixels.
            MediaPipe Tasks (1.2) take one bias for all channels, and refuse one for each.
        labels: what the entries of the first output stand for; a list of them is packed into the file.
        author: who made it.
        licence: under which terms it may be used.
        version: which one it is.
        description: what it does.
        descriptions: what inputs and outputs are, by name.
        integer_inputs: int8 inputs for what the module quantizes right at its entrance, without QUANTIZE there. Scale
            and zero point stand in the file's tensor, and in ``load(path).integer_ends()``.
        integer_outputs: int8 outputs likewise.
    """

    runtime: Runtime | None = None
    integer_inputs: bool = False
    integer_outputs: bool = False

    format: ClassVar[Format] = "tflite"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runtime not in (None, *get_args(Runtime)):
            raise InputError(
                f"TFLite(runtime={self.runtime!r}) is unknown; choose one of {', '.join(get_args(Runtime))}."
            )
        if broken := [label for label in self.labels if label.splitlines() != [label]]:
            raise InputError(f"TFLite(labels) are kept in one line each, which {broken} are not: shorten them.")
        if self.images and self.integer_inputs:
            raise InputError("TFLite(images) tells apps how to fill float inputs: leave integer_inputs or images out.")
        if turned := [name for name, image in self.images.items() if image.color == "BGR"]:
            raise InputError(f"TFLite has no word for BGR, which {turned} wants: read red first.")


@dataclass(frozen=True, kw_only=True)
class ONNX:
    """What can be chosen about an .onnx.

    Example:
        >>> ONNX(opset=21, dynamic={"image": {0: "batch", 2: "height"}}).opset
        21

    Attributes:
        opset: the version of ONNX's operators, 18 to 25; 18 runs on onnxruntime 1.14 of 2023 and later.
            Weights in 4 bits need 21, and raise a lower one.
        dynamic: ``("batch",)`` frees the first axis of every input; a mapping frees and names axes, input by input.
        ort: also writes the file in onnxruntime's own format, optimized for phones, beside the .onnx: ``net.ort``.
        integer_inputs: uint8 inputs for what the module quantizes right at its entrance, without QuantizeLinear there.
            Scale and zero point stand in the file's metadata, and in ``load(path).integer_ends()``.
        integer_outputs: uint8 outputs likewise.
    """

    opset: int = 18
    dynamic: tuple[Literal["batch"], ...] | Mapping[str, Mapping[int, str]] = ()
    ort: bool = False
    integer_inputs: bool = False
    integer_outputs: bool = False

    format: ClassVar[Format] = "onnx"

    def __post_init__(self) -> None:
        if self.opset not in _OPSETS:
            raise InputError(f"ONNX(opset={self.opset!r}) cannot be written; choose one from 18 to 25.")
        if not isinstance(self.dynamic, Mapping) and self.dynamic not in ((), ("batch",)):
            raise InputError(
                f'ONNX(dynamic={self.dynamic!r}) is not understood; give ("batch",), or names by axis for each input,'
                ' such as {"image": {2: "height"}}.'
            )

    def free_axes(self, program: Program) -> dict[str, dict[int, str]]:
        """What the free axes of each input are called."""
        if isinstance(self.dynamic, Mapping):
            return {name: dict(axes) for name, axes in self.dynamic.items()}
        return {name: dict.fromkeys((0,), "batch") for name in program.inputs if self.dynamic}


Details = TFLite | CoreML | ONNX


_OPSETS = range(18, 26)  # torch writes 18 where less is asked for; onnxruntime 1.32 runs 25


def check_details(details: Details | None, format: Format, programs: Sequence[Program]) -> None:
    """Refuses a wish that is another format's, or that names what the programs do not have.

    Raises:
        InputError: says which wish, and what to do.
    """
    if details is None:
        return
    kind = type(details).__name__
    if details.format != format:
        raise InputError(
            f"{kind} details were given for a {format} file; give those of that format, or another suffix."
        )
    if isinstance(details, ONNX):
        _check_axes(details, programs)
    else:
        _check_images(details, programs)
        _check_descriptions(details, programs)
    if isinstance(details, CoreML):
        _check_best_label(details, programs)
    elif details.integer_inputs or details.integer_outputs:
        for program in programs:
            check_integer_ends(program, inputs=details.integer_inputs, outputs=details.integer_outputs)


def _check_images(details: CoreML | TFLite, programs: Sequence[Program]) -> None:
    kind = type(details).__name__
    if (details.images or details.labels) and [program.name for program in programs] != ["main"]:
        names = [program.name for program in programs]
        raise InputError(
            f"{kind} has images and labels for files of one signature, 'main', not for {names};"
            " write one file for each signature."
        )
    for name, image in details.images.items():
        inputs = programs[0].inputs
        if name not in inputs:
            raise InputError(f"{kind}(images) names {name!r}; the inputs are {list(inputs)}.")
        shape = tuple(inputs[name].shape)
        channels, wanted = (1, f"(1, {image.channels}, height, width)")
        if isinstance(details, TFLite):
            channels, wanted = (3, f"(1, height, width, {image.channels}), see Program.channels_last")
        is_picture = len(shape) == 4 and shape[0] == 1 and shape[channels] == image.channels
        if not is_picture or not inputs[name].is_floating_point():
            raise InputError(
                f"Input {name!r} of shape {shape} cannot be a {image.color} image of {kind};"
                f" that is a float input of shape {wanted}."
            )


def _check_axes(details: ONNX, programs: Sequence[Program]) -> None:
    for program in programs:
        for name, axes in details.free_axes(program).items():
            if name not in program.inputs:
                raise InputError(f"ONNX(dynamic) names {name!r}; the inputs are {list(program.inputs)}.")
            rank = program.inputs[name].dim()
            if wrong := [axis for axis, label in axes.items() if axis not in range(rank) or not label.isidentifier()]:
                raise InputError(f"ONNX(dynamic) names axes {wrong} of {name!r}, which has axes 0 to {rank - 1}.")


def _check_descriptions(details: CoreML | TFLite, programs: Sequence[Program]) -> None:
    ends = {name for program in programs for name in (*program.inputs, *program.outputs)}
    if unknown := sorted(set(details.descriptions) - ends):
        raise InputError(
            f"{type(details).__name__}(descriptions) names {unknown}; inputs and outputs are {sorted(ends)}."
        )


def _check_best_label(details: CoreML, programs: Sequence[Program]) -> None:
    label = programs[0].outputs[0] + LABEL_SUFFIX
    if details.labels and any(label in (*program.inputs, *program.outputs) for program in programs):
        raise InputError(f"{label} is what Core ML calls the best label; rename that output.")


def check_entries(labels: tuple[str, ...], program: Program, entries: int, *, is_float: bool) -> None:
    """Refuses labels that are not as many as the entries of the first output.

    Raises:
        ConversionError: says how many there are of each.
    """
    if entries != len(labels) or not is_float:
        raise ConversionError(
            f"{len(labels)} labels were given for {program.outputs[0]!r}, which has {entries} entries:"
            " the first output must hold one float for each label."
        )
