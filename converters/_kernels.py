"""What a runtime will really call when it runs a file: kernels with the sizes of what they read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters._convert import format_of
from converters._errors import InputError

__all__ = ["Kernel", "kernels", "sections"]


@dataclass(frozen=True)
class Kernel:
    """One call of a kernel.

    Attributes:
        kind: the runtime's operator, what variant of it, and its type: ``"CONV_2D 1x1 int8"``.
        inputs: elements read that an earlier kernel has written.
        outputs: elements written.
        weights: elements of constants read.
        channels_in: per group, of what has weights or multiplies matrices; else the innermost axis read.
        channels_out: likewise written.
        taps: places of a filter; 1 for what is none.
        stride: rows moved between two outputs.
        width: of what has weights or a window, places of a line of the map that is written; else 1.
    """

    kind: str
    inputs: int
    outputs: int
    weights: int = 0
    channels_in: int = 1
    channels_out: int = 1
    taps: int = 1
    stride: int = 1
    width: int = 1

    @property
    def positions(self) -> int:
        """Outputs of one channel."""
        return max(1, self.outputs // max(1, self.channels_out))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of what has weights or multiplies matrices; 0 for the rest."""
        return self.outputs * self.channels_in * self.taps if self.multiplies else 0

    @property
    def multiplies(self) -> bool:
        """Whether it is a convolution or a product of matrices."""
        operator = self.kind.upper().split()[0]  # "PAD before convolution" only pads
        return any(word in operator for word in ("CONV", "FULLY_CONNECTED", "MATMUL", "GEMM"))


def kernels(path: Path) -> dict[str, list[Kernel]]:
    """The kernels of each signature of a .tflite or .onnx file, in order, after the runtime's own optimisations.

    The runtimes on this computer are asked what they would call; nothing is run. For a phone's processor they may
    choose otherwise (onnxruntime lays channels out in blocks as wide as a register).

    Example:
        >>> kernels(Path("net.tflite"))["main"][0]  # doctest: +SKIP
        Kernel(kind='CONV_2D int8', inputs=1200, outputs=6400, weights=448, ...)

    Raises:
        InputError: the format has no such list (Core ML compiles on the phone).
        ModelFileError: the file is damaged, or its runtime refuses it.
    """
    path = Path(path)
    match format_of(path):
        case "tflite":
            from converters._tflite import kernels as of_tflite

            return of_tflite(path)
        case "onnx":
            from converters._onnx import kernels as of_onnx

            return of_onnx(path)
        case other:
            raise InputError(f"{path} is {other}, whose kernels no runtime here tells; give a .tflite or .onnx.")


def sections(path: Path, folder: Path, lengths: Sequence[int], *, float_ends: bool = False) -> list[Path]:
    """Cuts a file of one signature into files of a few operators each, so that kernels can be timed by themselves.

    Every operator is in exactly one of them, where it was a neighbour of the same operators; values that cross become
    inputs and outputs. In an ONNX file of integers only those on a grid cross, and what a runtime would fuse stays
    together.

    Args:
        path: a .tflite or .onnx file.
        folder: where the sections are written, ``s000.tflite`` and so on.
        lengths: how many operators the sections have, over and over again.
        float_ends: in .tflite, where a section begins or ends in integers, put an operator there that takes or gives
            floats; some runtimes take no others.

    Returns:
        The files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if format_of(path) == "tflite":
        from converters._tflite import sections as of_tflite

        return of_tflite(path, folder, lengths, float_ends=float_ends)
    from converters._onnx import sections as of_onnx

    return of_onnx(path, folder, lengths)
