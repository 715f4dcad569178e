"""What people and apps read about a package: who made it, what its ends are, which label an entry stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters._coreml._library import coremltools
from converters._coreml._package import open_package
from converters._details import LABEL_SUFFIX, CoreML

__all__ = ["describe"]


def describe(path: Path, details: CoreML, first_output: str) -> None:
    """Writes an author's words into a package, and makes a classifier of one with labels, in place."""
    package = open_package(path)
    description = package.spec.description
    if details.labels:
        _classify(package.spec, first_output, details.labels)
    words = description.metadata
    words.author, words.license = details.author, details.licence
    words.versionString, words.shortDescription = details.version, details.description
    for part in (description, *description.functions):
        for end in (*part.input, *part.output):
            end.shortDescription = details.descriptions.get(end.name, "")
    package.model.write_bytes(package.spec.SerializeToString(deterministic=True))


def _classify(spec: Any, output: str, labels: tuple[str, ...]) -> None:
    """Turns an output into a dictionary under the same name; the best label becomes the last output.

    ::

        before: linear -> logits (1, 2)
        after:  linear -> classify(classes=["no", "yes"]) -> logits {"no": -1.5, "yes": 2.5}, logits_label "yes"

    What coremltools' ClassifierConfig does, which calls the dictionary otherwise and fails beside a second output.
    """
    label = output + LABEL_SUFFIX
    for block in spec.mlProgram.functions["main"].block_specializations.values():
        numbers = _rename(block, output)
        block.operations.append(_classifier(numbers, labels, label, output))
        block.outputs[:] = [*block.outputs, label]
    description = spec.description
    (end,) = (end for end in description.output if end.name == output)
    end.type.Clear()
    end.type.dictionaryType.stringKeyType.SetInParent()
    best = description.output.add(name=label)
    best.type.stringType.SetInParent()
    description.predictedFeatureName, description.predictedProbabilitiesName = label, output


def _rename(block: Any, output: str) -> str:
    """Gives the value behind an output another name, and returns it."""
    taken = {value.name for operation in block.operations for value in operation.outputs}
    name = f"{output}_values"
    while name in taken:
        name += "_"
    for operation in block.operations:
        parts = [*operation.outputs]
        parts += [binding for argument in operation.inputs.values() for binding in argument.arguments]
        for part in parts:
            if part.name == output:
                part.name = name
    return name


def _classifier(numbers: str, labels: tuple[str, ...], best: str, dictionary: str) -> Any:
    types = coremltools().proto.MIL_pb2
    operation = types.Operation(type="classify")
    operation.inputs["probabilities"].arguments.add().name = numbers
    classes = operation.inputs["classes"].arguments.add().value
    classes.type.listType.type.tensorType.dataType = types.STRING
    classes.type.listType.length.constant.size = len(labels)
    for label in labels:
        value = classes.immediateValue.list.values.add()
        value.type.tensorType.dataType = types.STRING
        value.immediateValue.tensor.strings.values.append(label)
    operation.outputs.add(name=best).type.tensorType.dataType = types.STRING
    kind = operation.outputs.add(name=dictionary).type.dictionaryType
    kind.keyType.tensorType.dataType = types.STRING
    kind.valueType.tensorType.dataType = types.FLOAT64
    return operation
