"""What people and apps read about a .tflite: who made it, how pixels become its numbers, what its entries stand for."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters._details import Image, TFLite, check_entries
from converters._program import Program
from converters._tflite._schema import dtype_of, schema, shape_of

__all__ = ["LABELS", "append_labels", "describe"]

LABELS = "labels.txt"
"""What the list of labels is called within a file."""

_METADATA = "TFLITE_METADATA"
_PARSER = "1.0.0"  # the oldest reader of metadata that knows all that is written here


def describe(model: Any, details: TFLite, program: Program) -> None:
    """Adds the metadata that was wished for, in place; a model about which nothing is to be said stays as it is."""
    model.description = details.description or None
    words = (details.author, details.licence, details.version, details.images, details.labels, details.descriptions)
    if not any(words):
        return
    if details.labels:
        first = model.subgraphs[0].tensors[int(model.subgraphs[0].outputs[0])]
        check_entries(details.labels, program, int(np.prod(shape_of(first))), is_float=dtype_of(first) == np.float32)
    buffer, entry = schema().BufferT(), schema().MetadataT()
    buffer.data = np.frombuffer(_metadata(details, program), np.uint8)
    entry.name, entry.buffer = _METADATA.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [entry]


def append_labels(packed: bytes, labels: tuple[str, ...]) -> bytes:
    """Packs the list of labels behind a model, as a zip archive: readers of models do not look there."""
    if not labels:
        return packed
    content = io.BytesIO(packed)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS), "\n".join(labels))  # always of the same date
    return content.getvalue()


def _metadata(details: TFLite, program: Program) -> bytes:
    """A ``ModelMetadata`` of TFLite's metadata schema; numbers are places of its fields."""
    import flatbuffers  # comes with ai-edge-litert

    builder = flatbuffers.Builder(512)
    ends = [
        _tables(builder, [_end(builder, name, details, is_labelled=name == labelled) for name in names])
        for names, labelled in ((program.inputs, None), (program.outputs, details.labels and program.outputs[0]))
    ]
    graphs = _tables(builder, [_table(builder, 10, {2: ends[0], 3: ends[1]})])
    texts = {1: details.description, 2: details.version, 4: details.author, 5: details.licence, 7: _PARSER}
    root = _table(builder, 8, {3: graphs, **_texts(builder, texts)})
    builder.Finish(root, b"M001")
    return bytes(builder.Output())


def _end(builder: Any, name: str, details: TFLite, *, is_labelled: bool) -> int:
    """A ``TensorMetadata``."""
    fields = _texts(builder, {0: name, 1: details.descriptions.get(name, "")})
    if name in details.images:
        image = details.images[name]
        fields[3] = _image_content(builder, image)
        fields[4] = _tables(builder, [_normalization(builder, image)])
    if is_labelled:
        axis_labels = 2
        file = _table(builder, 5, _texts(builder, {0: LABELS}), {2: axis_labels})
        fields[6] = _tables(builder, [file])
    return _table(builder, 7, fields)


def _image_content(builder: Any, image: Image) -> int:
    """A ``Content`` that says: a picture."""
    colors = {"RGB": 1, "GRAYSCALE": 2}
    picture = _table(builder, 2, {}, {0: colors[image.color]})
    is_image = 2
    return _table(builder, 3, {1: picture}, {0: is_image})


def _normalization(builder: Any, image: Image) -> int:
    """A ``ProcessUnit``: the format says (pixel - mean) / std, which is scale * pixel + bias otherwise."""
    mean = builder.CreateNumpyVector(-np.array(image.bias, np.float32) / np.float32(image.scale))
    std = builder.CreateNumpyVector(np.full(len(image.bias), 1 / image.scale, np.float32))
    options = _table(builder, 2, {0: mean, 1: std})
    is_normalization = 1
    return _table(builder, 2, {1: options}, {0: is_normalization})


def _texts(builder: Any, texts: Mapping[int, str]) -> dict[int, int]:
    return {place: builder.CreateString(text) for place, text in texts.items() if text}


def _table(builder: Any, fields: int, offsets: Mapping[int, int], numbers: Mapping[int, int] | None = None) -> int:
    builder.StartObject(fields)
    for place, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    for place, number in (numbers or {}).items():
        builder.PrependInt8Slot(place, number, 0)
    return int(builder.EndObject())


def _tables(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
