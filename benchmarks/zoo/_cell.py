"""One cell of the zoo's table: a network, written in one format and precision, and what the file proved."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Literal

from torch import nn

import converters
import mobiledistill as md
from benchmarks.zoo import ZOO, Network
from converters import Format
from mobiledistill.devices import Host

__all__ = ["PRECISIONS", "Precision", "run_cell"]

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

_CALIBRATED_ON = 32
_COMPARED_ON = 32


def run_cell(name: str, format: Format, precision: Precision) -> dict[str, Any]:
    """Converts, proves, and says what came of it; an error that we raise is a finding, any other is a fault."""
    warnings.simplefilter("ignore")
    started = time.monotonic()
    found: dict[str, Any] = {"network": name, "format": format, "precision": precision}
    try:
        found |= {"outcome": "works", **_convert(ZOO[name], format, precision)}
    except md.ParityError as error:
        found |= {"outcome": "wrong", "reason": str(error)}
    except md.MobileDistillError as error:
        found |= {"outcome": "refused", "reason": str(error)}
    return {**found, "seconds": round(time.monotonic() - started, 1)}


def _convert(network: Network, format: Format, precision: Precision) -> dict[str, Any]:
    program = network.program()
    if precision == "int8":
        (program,) = md.quantize.post_training(program, network.samples(_CALIBRATED_ON, seed=3))
    stored: converters.Precision = "float16" if precision == "fp16" else "float32"
    inputs = {name: value.numpy() for name, value in network.samples(_COMPARED_ON, seed=4).items()}
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        path = md.convert(program, Path(folder) / f"model{converters.suffix_of(format)}", precision=stored)
        converted_s = time.monotonic() - started
        parity = md.verify(path, program, inputs, stored)
        found: dict[str, Any] = {
            "size_bytes": converters.size_bytes(path),
            "sqnr_db": round(parity.sqnr_db, 1),
            "agreement": parity.agreement,
            "convert_s": round(converted_s, 1),
        }
        measured = Host(brief=True).measure(path, format, {name: value[:1] for name, value in inputs.items()})
        if measured is not None:
            found["latency_ms"] = round(measured.p50_ms, 4)
    if precision == "int8":
        found["static"] = _is_static(program)
    return found


def _is_static(program: md.Program) -> bool:
    """Whether every layer with weights reads integers whose grid is fixed, and none was left float."""
    weighted = (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding, nn.RNNBase, nn.RNNCellBase)
    layers = converters.module_integers(program)
    if not layers or any(isinstance(part, weighted) for part in program.module.modules()):
        return False
    return all(layer.input is not None for layer in layers if layer.bias is not None)
