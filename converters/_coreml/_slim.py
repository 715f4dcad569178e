"""Takes out of a package what nobody reads: debug maps, long names, one constant per argument.

What stays and why:

* names of inputs, outputs and functions, which users call by;
* the ``name`` attribute of constants. Other operators do without: the loader asks for none, and Chromium's WebNN
  ships programs to Apple's compiler whose operators have none, while its constants do. It also spells small
  constants out where they are read, as ``slim`` does;
* every argument that coremltools writes, defaults included, since Apple's own defaults are not documented;
* all four fields of a manifest entry.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters._coreml._blobs import Blob, BlobFile, read_blob
from converters._coreml._library import coremltools
from converters._coreml._package import WEIGHTS_FILE, Package, open_package, replacing, write_parts
from converters._errors import ModelFileError
from converters._quiet import quiet

__all__ = ["load_program", "slim"]

_INLINE_BYTES = 1024
"""Constants up to this size go into the model itself: a blob costs 64 bytes and up to 63 of alignment."""


def slim(path: Path) -> None:
    """Rewrites a package without its waste and proves that it still loads; integers and answers stay bit-equal.

    A residual CNN of 12 layers loses five sixths of what is not weights. The same package gives the same bytes.

    Raises:
        ModelFileError: the package is damaged, or does not load any more (a bug: the old one is kept).
    """
    package = open_package(path)
    before = load_program(package)
    old_blobs = {file.name: file.read_bytes() for file in package.weights.glob("*") if file.is_file()}
    new_blobs = BlobFile()
    spec = type(package.spec)()
    spec.CopyFrom(package.spec)
    for _, function in sorted(spec.mlProgram.functions.items()):
        for block in function.block_specializations.values():
            _store_broadcast_once(block, old_blobs)
            for value in _values(block):
                _move_value(value, old_blobs, new_blobs)
            if any(operation.blocks for operation in block.operations):
                continue  # names of nested blocks reach into outer ones
            _store_as_read(block)
            _drop_names(block)
            _shorten_zero_points(block)
            _merge_constants(block)
            kept = {entry.name for entry in function.inputs} | set(block.outputs)
            _rename(block, kept)
            _inline_constants(block)  # weighs names against literals, so they must be short by now
            _rename(block, kept)
    spec.mlProgram.ClearField("attributes")
    _drop_converter_notes(spec.description)
    with replacing(path) as aside:
        write_parts(aside, spec, new_blobs.to_bytes())
        after = load_program(open_package(aside))
        if _interface(before) != _interface(after):
            raise ModelFileError(f"{path} would lose its signatures {_interface(before)} when slimmed; report this.")


def load_program(package: Package) -> Any:
    """The package as coremltools' MIL program.

    Raises:
        ModelFileError: coremltools cannot read it.
    """
    coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    try:
        with quiet():
            return load(package.spec, package.spec.specificationVersion, str(package.weights))
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelFileError(f"The ML program cannot be read ({reason}): it is damaged or too new.") from error


def _interface(program: Any) -> dict[str, tuple[dict[str, str], list[str]]]:
    """Per function: inputs with their types, and outputs."""
    return {
        name: (
            {key: str(value.sym_type.__type_info__()) for key, value in function.inputs.items()},
            [value.name for value in function.outputs],
        )
        for name, function in program.functions.items()
    }


def _drop_converter_notes(description: Any) -> None:
    """Takes out versions and the day of conversion, which make every file another; an author's words stay."""
    notes = description.metadata.userDefined
    for key in [key for key in notes if key.startswith("com.github.apple.coremltools")]:
        del notes[key]
    if not description.metadata.ByteSize():
        description.ClearField("metadata")


def _store_broadcast_once(block: Any, blobs: dict[str, bytes]) -> None:
    """Stores a weight once that was repeated for every entry of a batch: a product of matrices repeats it itself.

    ::

        before: y = const(float32[16, 128, 96]), 16 times the same; matmul(x=float32[16, 1, 128], y=y)
        after:  y = const(float32[1, 128, 96]); matmul(x=float32[16, 1, 128], y=y)
    """
    readers: dict[str, set[tuple[str, str]]] = {}
    for operation in block.operations:
        for role, argument in operation.inputs.items():
            for binding in argument.arguments:
                readers.setdefault(binding.name, set()).add((operation.type, role))
    for operation in block.operations:
        value = operation.attributes["val"] if operation.type == "const" else None
        if value is None or value.WhichOneof("value") != "blobFileValue" or len(operation.outputs) != 1:
            continue
        (output,) = operation.outputs
        shape = _shape(output.type)
        if len(shape) != 3 or readers.get(output.name) != {("matmul", "y")} or output.name in block.outputs:
            continue
        place = value.blobFileValue
        file = place.fileName.rpartition("/")[2]
        blob = read_blob(blobs.get(file, b""), place.offset)
        once = blob.data[: len(blob.data) // shape[0]]
        if blob.data != once * shape[0]:
            continue
        kept = BlobFile()
        place.offset = kept.add(Blob(blob.dtype, once, 0))
        place.fileName = f"once/{output.name}"
        blobs[output.name] = kept.to_bytes()
        for kind in (value.type, output.type):
            kind.tensorType.dimensions[0].constant.size = 1


def _values(block: Any) -> Iterator[Any]:
    """Every literal of a block, nested blocks included."""
    for operation in block.operations:
        yield from operation.attributes.values()
        for argument in operation.inputs.values():
            yield from (binding.value for binding in argument.arguments if binding.WhichOneof("binding") == "value")
        for nested in operation.blocks:
            yield from _values(nested)


def _move_value(value: Any, old: Mapping[str, bytes], new: BlobFile) -> None:
    """Puts a small literal that lies in a weight file into the model, and a large one into the new weight file."""
    if value.WhichOneof("value") != "blobFileValue":
        return
    place = value.blobFileValue
    blob = read_blob(old.get(place.fileName.rpartition("/")[2], b""), place.offset)
    if len(blob.data) <= _INLINE_BYTES and _write_inline(value, blob):
        return
    place.fileName = f"@model_path/weights/{WEIGHTS_FILE}"
    place.offset = new.add(blob)


def _write_inline(value: Any, blob: Blob) -> bool:
    """Whether the literal has a type that the model itself can hold in as few bytes; if so it does now."""
    types = coremltools().proto.MIL_pb2
    dtype = value.type.tensorType.dataType
    if dtype not in (types.FLOAT32, types.FLOAT16, types.INT8, types.UINT8):
        return False
    value.ClearField("blobFileValue")
    tensor = value.immediateValue.tensor
    if dtype == types.FLOAT32:
        tensor.floats.values.extend(np.frombuffer(blob.data, "<f4").tolist())
    else:
        tensor.bytes.values = blob.data
    return True


def _store_as_read(block: Any) -> None:
    """Stores a weight without the axis of length one that is taken off before it is read.

    ::

        before: a = constexpr_affine_dequantize(quantized_data=int8[32, 40, 1, 3]); b = squeeze(x=a); conv(weight=b)
        after:  a = constexpr_affine_dequantize(quantized_data=int8[32, 40, 3]); conv(weight=a)
    """
    readers: dict[str, list[Any]] = {}
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                readers.setdefault(binding.name, []).append(operation)
    stored: dict[str, str] = {}
    for operation in block.operations:
        if operation.type != "constexpr_affine_dequantize" or operation.outputs[0].name in block.outputs:
            continue
        squeezes = readers.get(operation.outputs[0].name, [])
        shapes = {_shape(one.outputs[0].type) for one in squeezes if one.type == "squeeze"}
        axis = operation.attributes["axis"].immediateValue.tensor.ints.values
        if len(shapes) != 1 or any(one.type != "squeeze" for one in squeezes) or list(axis) not in ([], [0]):
            continue
        (shape,) = shapes
        for kind in (operation.attributes["quantized_data"].type, operation.outputs[0].type):
            kind.tensorType.rank = len(shape)
            del kind.tensorType.dimensions[:]
            for length in shape:
                kind.tensorType.dimensions.add().constant.size = length
        stored |= {one.outputs[0].name: operation.outputs[0].name for one in squeezes}
    _replace_operations(block, [one for one in block.operations if one.outputs[0].name not in stored])
    for binding in _bindings(block):
        binding.name = stored.get(binding.name, binding.name)


def _shape(kind: Any) -> tuple[int, ...]:
    return tuple(dimension.constant.size for dimension in kind.tensorType.dimensions)


def _drop_names(block: Any) -> None:
    """Takes the ``name`` attribute from all operators but constants, which keep one (it is shortened later)."""
    for operation in block.operations:
        if not _is_constant(operation):
            operation.attributes.pop("name", None)


def _shorten_zero_points(block: Any) -> None:
    """Turns a vector of equal zero points into one number, which means the same.

    ::

        before: constexpr_affine_dequantize(..., zero_point=[0, 0, 0, 0, 0, 0, 0, 0], axis=0)
        after:  constexpr_affine_dequantize(..., zero_point=0, axis=0)
    """
    for operation in block.operations:
        if operation.type != "constexpr_affine_dequantize":
            continue
        zero_point = operation.attributes["zero_point"]
        values = zero_point.immediateValue.tensor.bytes.values
        if zero_point.type.tensorType.rank == 1 and values and len(set(values)) == 1:
            zero_point.immediateValue.tensor.bytes.values = values[:1]
            zero_point.type.tensorType.rank = 0
            zero_point.type.tensorType.ClearField("dimensions")


def _merge_constants(block: Any) -> None:
    """Keeps the first of equal constants and points all readers at it."""
    first: dict[bytes, str] = {}
    merged: dict[str, str] = {}
    kept = []
    for operation in block.operations:
        if operation.type == "const":
            name = operation.outputs[0].name
            content = operation.attributes["val"].SerializeToString(deterministic=True)
            merged[name] = first.setdefault(content, name)
            if merged[name] != name and name not in block.outputs:
                continue
        kept.append(operation)
    _replace_operations(block, kept)
    for binding in _bindings(block):
        binding.name = merged.get(binding.name, binding.name)


def _replace_operations(block: Any, operations: list[Any]) -> None:
    copies = type(block)()
    copies.operations.extend(operations)
    block.ClearField("operations")
    block.operations.extend(copies.operations)


def _rename(block: Any, kept: set[str]) -> None:
    """Gives every value but inputs and outputs a name of one to three characters."""
    fresh = (name for name in _short_names() if name not in kept)
    names: dict[str, str] = {}
    for operation in block.operations:
        for output in operation.outputs:
            if output.name not in kept:
                names[output.name] = output.name = next(fresh)
        if "name" in operation.attributes:
            operation.attributes["name"].immediateValue.tensor.strings.values[:] = [operation.outputs[0].name]
    for binding in _bindings(block):
        binding.name = names.get(binding.name, binding.name)


def _inline_constants(block: Any) -> None:
    """Spells constants out where they are read, if that is shorter than an operator of their own.

    ::

        before: a = const(val=0.25, name="a"); b = quantize(input=x, scale=a)
        after:  b = quantize(input=x, scale=0.25)
    """
    readers: dict[str, list[Any]] = {}
    for binding in _bindings(block):
        readers.setdefault(binding.name, []).append(binding)
    kept = []
    for operation in block.operations:
        bindings = readers.get(operation.outputs[0].name, []) if operation.type == "const" else []
        value = operation.attributes["val"] if bindings else None
        if value is None or not _fits_inline(operation, value, len(bindings)):
            kept.append(operation)
            continue
        for binding in bindings:
            binding.value.CopyFrom(value)
    _replace_operations(block, kept)


def _fits_inline(operation: Any, value: Any, readers: int) -> bool:
    if value.WhichOneof("value") != "immediateValue" or value.immediateValue.WhichOneof("value") != "tensor":
        return False
    return bool(readers * value.ByteSize() < operation.ByteSize() + readers * len(operation.outputs[0].name))


def _bindings(block: Any) -> Iterator[Any]:
    """All arguments that refer to a value by name."""
    for operation in block.operations:
        for argument in operation.inputs.values():
            yield from (binding for binding in argument.arguments if binding.WhichOneof("binding") == "name")


def _is_constant(operation: Any) -> bool:
    kind = str(operation.type)
    return kind == "const" or kind.startswith("constexpr_")


def _short_names() -> Iterator[str]:
    """``a, b, ..., Z, a0, b0, ...``: a letter, then digits, so that no word of the language can come up."""
    yield from string.ascii_letters
    for number in itertools.count():
        yield from (f"{letter}{number}" for letter in string.ascii_letters)
