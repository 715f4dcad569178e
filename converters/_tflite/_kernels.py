"""What LiteRT calls when it runs a file, and files of a few of its operators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from converters._kernels import Kernel
from converters._tflite._delegation import left_to_tflite
from converters._tflite._float_io import make_io_float
from converters._tflite._pack import pack_model
from converters._tflite._schema import consumers, dtype_of, operator_name, read_model, schema, shape_of

__all__ = ["kernels", "sections"]

_CONVOLUTIONS = ("CONV_2D", "TRANSPOSE_CONV")


def kernels(path: Path) -> dict[str, list[Kernel]]:
    """The kernels of each signature; ``cpu`` is in the kind of those that XNNPACK does not take.

    Raises:
        ModelFileError: the file is no TFLite model, damaged, or LiteRT refuses it.
    """
    model = read_model(path)
    names = {
        int(entry.subgraphIndex): (entry.signatureKey or b"main").decode() for entry in model.signatureDefs or ()
    } or {0: "main"}
    outside = left_to_tflite(path, model)
    found = {}
    for index, name in names.items():
        graph = model.subgraphs[index]
        left, partitions = outside[index]
        calls = [_kernel(model, graph, operator, place in left) for place, operator in enumerate(graph.operators)]
        found[name] = [
            _call(graph),
            *itertools.repeat(Kernel("XNNPACK", 0, 0), partitions),
            *(call for call in calls if call is not None),
        ]
    return found


def sections(path: Path, folder: Path, lengths: Sequence[int], *, float_ends: bool) -> list[Path]:
    """See ``converters.sections``."""
    written = []
    operators = len(read_model(path).subgraphs[0].operators)
    for number, (start, stop) in enumerate(_spans(operators, lengths)):
        model = read_model(path)
        graph = model.subgraphs[0]
        kept = graph.operators[start:stop]
        made = {int(tensor) for operator in kept for tensor in operator.outputs}
        read = [int(tensor) for operator in kept for tensor in operator.inputs if tensor >= 0]
        elsewhere = [*graph.operators[:start], *graph.operators[stop:]]
        wanted = {int(tensor) for operator in elsewhere for tensor in operator.inputs} | {int(o) for o in graph.outputs}
        graph.inputs = [t for t in dict.fromkeys(read) if t not in made and not _is_constant(model, graph, t)]
        graph.outputs = [tensor for tensor in sorted(made) if tensor in wanted]
        graph.operators = kept
        if not graph.inputs or not graph.outputs:
            continue
        model.subgraphs = [graph]
        model.metadata = None
        model.signatureDefs = [_signature(graph)]
        if float_ends:
            make_io_float(model)
        target = folder / f"s{number:03}.tflite"
        target.write_bytes(pack_model(_without_unused(model)))
        written.append(target)
    return written


def _kernel(model: Any, graph: Any, operator: Any, outside: bool) -> Kernel | None:
    read = [graph.tensors[index] for index in operator.inputs if index >= 0]
    moving = [
        graph.tensors[index] for index in operator.inputs if index >= 0 and not _is_constant(model, graph, int(index))
    ]
    if not moving:
        return None
    written = [graph.tensors[index] for index in operator.outputs]
    fixed = [tensor for tensor in read if tensor not in moving]
    name = operator_name(model, operator)
    shape = shape_of(written[0])
    options = operator.builtinOptions
    taps, channels_in, variant = 1, _last(shape_of(moving[0])), ""
    is_map = "CONV" in name or name.endswith("POOL_2D")
    if name in _CONVOLUTIONS and (weights := next((t for t in fixed if len(shape_of(t)) == 4), None)) is not None:
        _, height, width, channels_in = shape_of(weights)
        taps = height * width
        variant = " 1x1" if taps == 1 else ""
    elif name == "DEPTHWISE_CONV_2D" and fixed:
        _, height, width, _ = shape_of(fixed[0])
        taps, channels_in = height * width, 1
        variant = " from one" if _last(shape_of(moving[0])) < _last(shape) else ""  # several filters a channel
    elif name.endswith("POOL_2D"):
        taps = int(options.filterHeight) * int(options.filterWidth)
    elif name == "PAD" and _feeds_convolutions(model, graph, int(operator.outputs[0])):
        variant = " before convolution"  # XNNPACK lets the convolution pad
    type_ = dtype_of(moving[0]).name
    return Kernel(
        kind=f"{name}{variant} {type_}{' cpu' if outside else ''}",
        inputs=sum(map(_count, moving)),
        outputs=sum(map(_count, written)),
        weights=sum(map(_count, fixed)),
        channels_in=max(1, channels_in),
        channels_out=_last(shape),
        taps=taps,
        stride=int(getattr(options, "strideH", None) or 1),
        width=abs(shape[-2]) if is_map else 1,
    )


def _feeds_convolutions(model: Any, graph: Any, index: int) -> bool:
    readers = [operator_name(model, operator) for operator in consumers(graph, index)]
    return bool(readers) and all(name in ("CONV_2D", "DEPTHWISE_CONV_2D") for name in readers)


def _call(graph: Any) -> Kernel:
    """What every call costs, whatever it computes."""
    ends = [graph.tensors[index] for index in graph.inputs], [graph.tensors[index] for index in graph.outputs]
    bytes_in, bytes_out = (sum(_count(t) * dtype_of(t).itemsize for t in side) for side in ends)
    return Kernel("CALL", bytes_in, bytes_out, channels_in=len(ends[0]), channels_out=len(ends[1]))


def _is_constant(model: Any, graph: Any, index: int) -> bool:
    data = model.buffers[graph.tensors[index].buffer].data
    return data is not None and len(data) > 0


def _count(tensor: Any) -> int:
    return math.prod(abs(size) for size in shape_of(tensor))


def _last(shape: Sequence[int]) -> int:
    return max(1, abs(shape[-1])) if shape else 1


def _spans(count: int, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for length in itertools.cycle(lengths):
        if start >= count:
            return
        yield start, min(start + length, count)
        start += length


def _signature(graph: Any) -> Any:
    signature = schema().SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"main", 0
    signature.inputs = [_entry(f"i{place}", index) for place, index in enumerate(graph.inputs)]
    signature.outputs = [_entry(f"o{place}", index) for place, index in enumerate(graph.outputs)]
    return signature


def _entry(name: str, index: int) -> Any:
    entry = schema().TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


def _without_unused(model: Any) -> Any:
    """Leaves out the bytes that no operator reads; numbers of tensors and buffers stay."""
    graph = model.subgraphs[0]
    read = {int(graph.tensors[index].buffer) for op in graph.operators for index in op.inputs if index >= 0}
    for index, buffer in enumerate(model.buffers):
        if index not in read:
            buffer.data = None
    return model
