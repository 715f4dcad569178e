"""Which operators a file is made of, and which of them XNNPACK takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters._errors import MissingExtraError, ModelFileError
from converters._quiet import quiet
from converters._tflite._pack import pack_model
from converters._tflite._schema import operator_name, read_model

__all__ = ["left_to_tflite", "operators", "undelegated"]

_CALLS = ("CALL", "CALL_ONCE", "IF", "WHILE")
"""Operators that run another graph of the file."""


def operators(path: Path) -> list[str]:
    """The builtin operators of a .tflite file in execution order, all graphs one after the other.

    Example:
        >>> operators(Path("net.tflite"))
        ['QUANTIZE', 'CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'DEQUANTIZE']

    Raises:
        ModelFileError: the file is no TFLite model or damaged.
    """
    model = read_model(path)
    return [operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators or ()]


def undelegated(path: Path) -> tuple[list[str], int] | None:
    """The operators that XNNPACK leaves to TFLite's own kernels here, and how many there are in all.

    None for a file whose graphs call each other, since each is asked about alone.

    Raises:
        ModelFileError: the file is no TFLite model, damaged, or LiteRT refuses it.
    """
    model = read_model(path)
    graphs = model.subgraphs
    names = {operator_name(model, operator) for graph in graphs for operator in graph.operators or ()}
    if names & set(_CALLS):
        return None
    counts = [len(graph.operators or ()) for graph in graphs]
    outside = [
        operator_name(model, graph.operators[place])
        for graph, (left, _) in zip(graphs, left_to_tflite(path, model), strict=True)
        for place in sorted(left)
    ]
    return outside, sum(counts)


def left_to_tflite(path: Path, model: Any) -> list[tuple[set[int], int]]:
    """Of each graph the places of the operators that XNNPACK leaves out, and how many parts it takes the others in.

    Raises:
        ModelFileError: LiteRT refuses the file.
    """
    graphs, signatures = model.subgraphs, model.signatureDefs
    found = []
    model.signatureDefs = None
    for graph in graphs:
        model.subgraphs = [graph]
        found.append(_left_out(path, pack_model(model)))
    model.subgraphs, model.signatureDefs = graphs, signatures
    return found


def _left_out(path: Path, content: bytes) -> tuple[set[int], int]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    try:
        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
            details = interpreter._get_ops_details()
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be run by LiteRT: {str(error).splitlines()[0][:200]}") from error
    delegates = [one for one in details if one["op_name"] == "DELEGATE"]
    ours = [one for one in details if one["op_name"] != "DELEGATE"]
    makers = {int(tensor): one for one in ours for tensor in one["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        taken |= _between(delegate, makers)
    return {int(one["index"]) for one in ours} - taken, len(delegates)


def _between(delegate: dict[str, Any], makers: dict[int, dict[str, Any]]) -> set[int]:
    """The operators that a delegate stands for: all on the way back from what it writes to what it reads."""
    read = {int(tensor) for tensor in delegate["inputs"]}
    waiting = [int(tensor) for tensor in delegate["outputs"]]
    found: set[int] = set()
    while waiting:
        operator = makers.get(waiting.pop())
        if operator is None or operator["index"] in found:
            continue
        found.add(operator["index"])
        waiting += [int(tensor) for tensor in operator["inputs"] if int(tensor) not in read]
    return found
