"""Networks whose files are damaged on purpose, and how each format's file is opened, changed and written again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from converters._coreml._blobs import read_blob
from converters._coreml._package import open_package, write_parts
from converters._tflite._pack import pack_model
from converters._tflite._schema import operator_name, read_model


class Contrast(nn.Module):
    """Two views of an image, one taken from the other, pooled, joined; a list of places weighed against each other."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.norm = nn.LayerNorm(2 * width)
        self.weigh, self.head = nn.Linear(2 * width, 1), nn.Linear(2 * width, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        left, right = F.relu(self.left(image)), F.relu(self.right(image))
        x = F.max_pool2d(torch.cat([left - right, right], 1), 2, 2)
        x = F.relu(self.down(x))
        x = self.norm(x.flatten(2).transpose(1, 2))
        shares = torch.softmax(self.weigh(x), 1)
        return self.head((shares * x).sum(1)), self.head(x.mean(1))


class Words(nn.Module):
    """Rows of a table, normed, mixed and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.norm = nn.Embedding(20, 16), nn.LayerNorm(16)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(F.relu(self.mix(self.norm(self.tokens(ids)))).mean(1))


class Stream(nn.Module):
    """A causal convolution that carries the end of what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Conv2d(4, 8, (1, 3)), nn.Conv2d(8, 3, 1)

    def forward(self, sound: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache, sound], 3)
        return self.head(F.relu(self.mix(joined))), joined[..., -2:]


@dataclass
class TFLiteFile:
    """A flatbuffer opened for damage."""

    model: Any
    graph: int = 0

    def operators(self, kind: str) -> list[Any]:
        return [one for one in self._graph.operators if operator_name(self.model, one) == kind]

    def layers(self) -> list[Any]:
        """What reads weights, in execution order."""
        kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
        return [one for one in self._graph.operators if operator_name(self.model, one) in kinds]

    def tensor(self, index: int) -> Any:
        return self._graph.tensors[index]

    def read(self, index: int, dtype: type[np.generic]) -> NDArray[Any]:
        tensor = self.tensor(index)
        return np.asarray(self.model.buffers[tensor.buffer].data, np.uint8).view(dtype).reshape(tensor.shape).copy()

    def write(self, index: int, values: NDArray[Any]) -> None:
        """Into a buffer of its own: equal constants share one."""
        buffer = type(self.model.buffers[0])()
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.model.buffers.append(buffer)
        self.tensor(index).buffer = len(self.model.buffers) - 1

    @property
    def _graph(self) -> Any:
        return self.model.subgraphs[self.graph]


@contextmanager
def tflite_file(path: Path) -> Iterator[TFLiteFile]:
    model = read_model(path)
    yield TFLiteFile(model)
    path.write_bytes(pack_model(model))


@dataclass
class ONNXFile:
    """A graph opened for damage."""

    graph: Any

    def nodes(self, kind: str) -> list[Any]:
        return [node for node in self.graph.node if node.op_type == kind]

    def layers(self) -> list[Any]:
        """What reads weights, in execution order."""
        return [node for node in self.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]

    def stored(self, name: str) -> str:
        """The initializer behind a value, through what dequantizes it."""
        makers = {node.output[0]: node for node in self.graph.node}
        return self.stored(makers[name].input[0]) if name in makers else name

    def read(self, name: str) -> NDArray[Any]:
        import onnx

        return next(onnx.numpy_helper.to_array(one).copy() for one in self.graph.initializer if one.name == name)

    def write(self, name: str, values: NDArray[Any]) -> None:
        import onnx

        (tensor,) = (one for one in self.graph.initializer if one.name == name)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))

    def add(self, name: str, values: NDArray[Any]) -> str:
        import onnx

        self.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    @staticmethod
    def set_attribute(node: Any, name: str, value: Any) -> None:
        import onnx

        for entry in [entry for entry in node.attribute if entry.name == name]:
            node.attribute.remove(entry)
        node.attribute.append(onnx.helper.make_attribute(name, value))


@contextmanager
def onnx_file(path: Path) -> Iterator[ONNXFile]:
    import onnx

    model = onnx.load(path)
    yield ONNXFile(model.graph)
    onnx.save(model, path)


@dataclass
class CoreMLFile:
    """A function of a package opened for damage, and the weights of all of them."""

    block: Any
    weights: bytearray

    def operators(self, kind: str) -> list[Any]:
        return [one for one in self.block.operations if one.type == kind]

    def layers(self) -> list[Any]:
        """What reads weights, in execution order."""
        return [one for one in self.block.operations if one.type in ("conv", "linear", "matmul")]

    def value(self, operation: Any, name: str) -> Any:
        """The literal that an argument stands for: spelled out, a constant's, or the integers of a dequantized one."""
        (binding,) = operation.inputs[name].arguments
        if binding.WhichOneof("binding") == "value":
            return binding.value
        (maker,) = (one for one in self.block.operations if one.outputs[0].name == binding.name)
        return maker.attributes["val" if maker.type == "const" else "quantized_data"]

    def weight_scale(self, layer: Any) -> Any:
        name = layer.inputs["weight"].arguments[0].name
        (maker,) = (one for one in self.block.operations if one.outputs[0].name == name)
        return maker.attributes["scale"]

    def own(self, operation: Any, name: str) -> Any:
        """The literal, spelled out where it is read if it was shared with others."""
        literal = type(self.value(operation, name))()
        literal.CopyFrom(self.value(operation, name))
        operation.inputs[name].arguments[0].value.CopyFrom(literal)
        return operation.inputs[name].arguments[0].value

    def read(self, value: Any) -> NDArray[Any]:
        tensor, dtype = value.immediateValue.tensor, self._dtype(value)
        shape = [dimension.constant.size for dimension in value.type.tensorType.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            blob = read_blob(bytes(self.weights), value.blobFileValue.offset)
            return np.frombuffer(blob.data, dtype).reshape(shape).copy()
        kind = tensor.WhichOneof("value")
        if kind == "bytes":
            return np.frombuffer(tensor.bytes.values, dtype).reshape(shape).copy()
        return np.array(getattr(tensor, kind).values, dtype).reshape(shape)

    def write(self, value: Any, values: NDArray[Any]) -> None:
        content = np.ascontiguousarray(values, self._dtype(value))
        if value.WhichOneof("value") == "blobFileValue":
            blob = read_blob(bytes(self.weights), value.blobFileValue.offset)
            start = self.weights.index(blob.data, value.blobFileValue.offset)
            self.weights[start : start + len(blob.data)] = content.tobytes()
            return
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        if kind == "bytes":
            tensor.bytes.values = content.tobytes()
        else:
            getattr(tensor, kind).values[:] = content.ravel().tolist()

    def _dtype(self, value: Any) -> type[np.generic]:
        from converters._coreml._library import coremltools

        types = coremltools().proto.MIL_pb2
        known = {
            types.FLOAT32: np.float32,
            types.FLOAT16: np.float16,
            types.INT8: np.int8,
            types.UINT8: np.uint8,
            types.INT32: np.int32,
            types.BOOL: np.bool_,
        }
        return known[value.type.tensorType.dataType]


@contextmanager
def coreml_file(path: Path, function: str = "main") -> Iterator[CoreMLFile]:
    package = open_package(path)
    weights = package.weights / "weight.bin"
    content = bytearray(weights.read_bytes() if weights.exists() else b"")
    (block,) = package.spec.mlProgram.functions[function].block_specializations.values()
    yield CoreMLFile(block, content)
    shutil.rmtree(path)
    write_parts(path, package.spec, bytes(content))
