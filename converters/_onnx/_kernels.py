"""What onnxruntime calls when it runs a file, and files of a few of its operators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from converters._kernels import Kernel
from converters._onnx._file import read_models, signature_paths
from converters._onnx._graph import attribute
from converters._onnx._libraries import onnx_library
from converters._onnx._run import _open

__all__ = ["kernels", "sections"]

_Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape of every value that has one; a free axis counts as 1."""

_PRODUCTS = ("MatMul", "Gemm", "QGemm", "QLinearMatMul", "FusedMatMul", "MatMulInteger", "DynamicQuantizeMatMul")
_FUSED_BACKWARDS = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish")
"""What onnxruntime computes inside of the operator before."""


def kernels(path: Path) -> dict[str, list[Kernel]]:
    """The kernels of each signature, as onnxruntime's optimisations leave them.

    Raises:
        ModelFileError: the file is no ONNX model, damaged, or onnxruntime refuses it.
    """
    return {name: _kernels_of(file) for name, file in signature_paths(path).items()}


def sections(path: Path, folder: Path, lengths: Sequence[int]) -> list[Path]:
    """See ``converters.sections``."""
    onnx = onnx_library()
    (model,) = read_models(path).values()
    shapes = _shapes_of(path, model)
    constants = {tensor.name for tensor in model.graph.initializer}
    written = []
    for number, nodes in enumerate(_spans(model.graph, shapes, lengths)):
        made = {name for node in nodes for name in node.output}
        names = {id(node) for node in nodes}
        wanted = {name for node in model.graph.node if id(node) not in names for name in node.input}
        wanted |= {value.name for value in model.graph.output}
        read = list(dict.fromkeys(name for node in nodes for name in node.input if name))
        inputs = [name for name in read if name not in made | constants]
        outputs = [name for name in dict.fromkeys(n for node in nodes for n in node.output) if name in wanted]
        if not inputs or not outputs:
            continue
        graph = onnx.helper.make_graph(
            nodes,
            "section",
            [_value(name, shapes) for name in inputs],
            [_value(name, shapes) for name in outputs],
            [tensor for tensor in model.graph.initializer if tensor.name in read],
        )
        part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        target = folder / f"s{number:03}.onnx"
        target.write_bytes(part.SerializeToString())
        written.append(target)
    return written


def _spans(graph: Any, shapes: _Shapes, lengths: Sequence[int]) -> list[list[Any]]:
    """Nodes in runs of so many operators, a quantizer counted with what it follows."""
    spans: list[list[Any]] = []
    wanted = itertools.cycle(lengths)
    current: list[Any] = []
    heavy, due = 0, next(wanted)
    has_grids = any(node.op_type == "DequantizeLinear" for node in graph.node)
    makers = {name: node for node in graph.node for name in node.output}
    nodes = list(graph.node)
    for place, node in enumerate(nodes):
        current.append(node)
        heavy += node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        later = {name for other in nodes[place + 1 :] for name in other.input}
        crossing = [name for other in nodes[: place + 1] for name in other.output if name in later]
        on_grid = not has_grids or all(
            makers[name].op_type == "QuantizeLinear" or "float" not in shapes[name][0] for name in crossing
        )
        fused = place + 1 < len(nodes) and nodes[place + 1].op_type in _FUSED_BACKWARDS
        if heavy >= due and on_grid and not fused:
            spans.append(current)
            current, heavy, due = [], 0, next(wanted)
    return [*spans, current] if current else spans


def _kernels_of(path: Path) -> list[Kernel]:
    with TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        _open(path, threads=1, optimized=True, write_to=optimized)
        model = onnx_library().load(optimized)
        shapes = _shapes_of(optimized, model)
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    calls = [_kernel(node, shapes, constants) for node in model.graph.node]
    return [_call(model.graph, shapes, constants), *(call for call in calls if call is not None)]


def _shapes_of(path: Path, model: Any) -> _Shapes:
    """What onnxruntime itself infers, of its own operators too."""
    onnx = onnx_library()
    returned = {value.name for value in model.graph.output}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    made = [name for node in model.graph.node for name in node.output if name and name not in returned]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    with TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        whole.write_bytes(probe.SerializeToString())
        session = _open(whole, threads=1, optimized=False)
    return {
        value.name: (
            value.type.removeprefix("tensor(").removesuffix(")"),
            tuple(size if isinstance(size, int) else 1 for size in value.shape),
        )
        for value in (*session.get_inputs(), *session.get_outputs())
    }


def _kernel(node: Any, shapes: _Shapes, constants: Mapping[str, tuple[int, ...]]) -> Kernel | None:
    moving = [shapes[name] for name in node.input if name in shapes and name not in constants]
    fixed = [constants[name] for name in node.input if name in constants]
    written = [shapes[name][1] for name in node.output if name in shapes]
    if not moving or not written:
        return None
    domain = "nchwc." if node.domain.endswith("nchwc") else ""
    type_, shape = moving[0]
    taps, variant = 1, ""
    channels_in, channels_out = _last(shape), _last(written[0])
    weights = next((dims for dims in fixed if len(dims) >= 2), None)
    window = attribute(node, "kernel_shape")
    if "Conv" in node.op_type and weights is not None:
        groups = int(attribute(node, "group", 1))
        channels_out = weights[1] * groups if "Transpose" in node.op_type else weights[0]
        channels_in = weights[0] // groups if "Transpose" in node.op_type else weights[1]
        taps = math.prod(weights[2:])
        deep = groups > 1 and channels_in == 1
        variant = " depthwise" if deep else " 1x1" if taps == 1 else ""
    elif node.op_type in _PRODUCTS and len(moving) > 1 and weights is None:
        variant = " of two"
    elif "Conv" not in node.op_type and window:
        taps = math.prod(window)
    strides = attribute(node, "strides") or [1]
    line = -2 if attribute(node, "channels_last", 0) else -1
    return Kernel(
        kind=f"{domain}{node.op_type.removeprefix('Fused')}{variant} {type_}",
        inputs=sum(math.prod(dims) for _, dims in moving),
        outputs=sum(map(math.prod, written)),
        weights=sum(map(math.prod, fixed)),
        channels_in=channels_in,
        channels_out=channels_out,
        taps=taps,
        stride=int(strides[0]),
        width=written[0][line] if "Conv" in node.op_type or window else 1,
    )


def _call(graph: Any, shapes: _Shapes, constants: Mapping[str, tuple[int, ...]]) -> Kernel:
    """What every call costs: inputs are looked at, outputs made."""
    ends = [v.name for v in graph.input if v.name not in constants], [v.name for v in graph.output]
    sizes = [sum(math.prod(shapes[name][1]) for name in side if name in shapes) for side in ends]
    return Kernel("CALL", sizes[0], sizes[1], channels_in=len(ends[0]), channels_out=len(ends[1]))


def _value(name: str, shapes: _Shapes) -> Any:
    onnx = onnx_library()
    types = {"float": "FLOAT", "double": "DOUBLE", "float16": "FLOAT16"}
    type_, shape = shapes[name]
    element = getattr(onnx.TensorProto, types.get(type_, type_.upper()))
    return onnx.helper.make_tensor_value_info(name, element, shape)


def _last(shape: Sequence[int]) -> int:
    return max(1, shape[-1]) if shape else 1
