"""Which operators stay outside of what makes the others fast, as runtimes and graphs tell; nothing is guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from converters._convert import format_of

__all__ = ["Outside", "outside"]


@dataclass(frozen=True)
class Outside:
    """What stays outside, over all signatures.

    Attributes:
        of: outside of what: ``"XNNPACK"``; in an ONNX file that holds integers ``"integers"``, in a Core ML one
            ``"a dequantize-quantize pair"``.
        operators: how many of each kind, the format's own words, the most frequent first; empty where none does.
        total: how many operators there are; for ONNX those that onnxruntime's optimisations leave, quantizers aside.
    """

    of: str
    operators: Mapping[str, int]
    total: int

    def __str__(self) -> str:
        if not self.operators:
            return f"All {self.total} operators are in {self.of}."
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.operators.items())
        return f"Outside of {self.of}: {sum(self.operators.values())} of {self.total} operators ({kinds})."


def outside(path: Path) -> Outside | None:
    """Asks the runtime or reads the graph; None where there is nothing to tell, as of a float ONNX file.

    For TFLite these are the operators that the XNNPACK of this computer did not take; for ONNX the nodes that read
    floats after onnxruntime has optimised the graph; for Core ML those that do not lie between a dequantize and a
    quantize. What the Neural Engine takes no file tells.

    Example:
        >>> print(outside(Path("net.tflite")))  # doctest: +SKIP
        Outside of XNNPACK: 2 of 31 operators (GATHER 1, ARG_MAX 1).

    Raises:
        ModelFileError: the file is damaged, or its runtime refuses it.
    """
    format = format_of(path)
    if format == "tflite":
        from converters._tflite import undelegated

        return _counted("XNNPACK", undelegated(path))
    if format == "onnx":
        from converters._onnx import on_floats as on_floats_onnx

        return _counted("integers", on_floats_onnx(path))
    from converters._coreml import on_floats as on_floats_coreml

    return _counted("a dequantize-quantize pair", on_floats_coreml(path))


def _counted(of: str, found: tuple[list[str], int] | None) -> Outside | None:
    return None if found is None else Outside(of, dict(Counter(found[0]).most_common()), found[1])
