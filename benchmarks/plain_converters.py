"""Our files and our time beside those of the plain libraries, side by side.

python -m benchmarks.plain_converters [NETWORK ...] [--json FILE] [--repeats 3] [--quick] [--seed N]

For networks of the zoo: what converting to the three formats costs, ours in turns with the plain calls of litert-torch,
coremltools and torch.onnx on the same module in one process that is warm; and how fast the int8 files are, ours in
turns with what ai-edge-quantizer makes of litert-torch's file and onnxruntime.quantization of torch.onnx's, both
calibrated on the same inputs. A network that is done is not repeated. Beside the JSON a page is
written, ``plain_converters.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures
from benchmarks._peer_tools import ai_edge_quantizer, onnxruntime_quantization, plain_onnx, plain_tflite
from benchmarks.zoo import ZOO, Network
from converters import FORMATS, size_bytes, suffix_of
from mobiledistill.devices import Host, Subject

_NETWORKS = ("ds-cnn", "keyword-resnet8", "mobilenet-v2", "resnet", "tcn", "keyword-transformer")
_CALIBRATED_ON = 32


def main() -> None:
    """Measures the networks that are missing; writes the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(_NETWORKS), metavar="NETWORK")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/plain_converters.json"))
    parser.add_argument("--repeats", type=int, default=3, help="conversions of each kind")
    parser.add_argument("--quick", action="store_true", help="one network, one conversion, a brief latency")
    parser.add_argument("--seed", type=int, default=3, help="of the calibration inputs")
    options = parser.parse_args()
    if unknown := set(options.networks) - set(ZOO):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(ZOO)}")
    known = known_figures(options.json)
    warnings.simplefilter("ignore")
    _convert_all(_ours, ZOO["ds-cnn"])  # loads the libraries
    _convert_all(_plain, ZOO["ds-cnn"])
    for name in options.networks[:1] if options.quick else options.networks:
        if name in known:
            continue
        known[name] = {
            "cost": _cost(ZOO[name], 1 if options.quick else options.repeats),
            "int8": _speed(ZOO[name], Host(brief=options.quick), options.seed),
        }
        keep_figures(options.json, known, page)
        print(name, json.dumps(known[name]), flush=True)


# -- what converting costs ----------------------------------------------------------------------------------------


def _cost(network: Network, repeats: int) -> dict[str, Any]:
    seconds: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        seconds["ours"].append(_convert_all(_ours, network))
        seconds["plain"].append(_convert_all(_plain, network))
    found: dict[str, Any] = {
        who: {form: round(statistics.median(one[form] for one in runs), 2) for form in FORMATS}
        for who, runs in seconds.items()
    }
    ours, plain = (sum(found[who].values()) for who in ("ours", "plain"))
    return {**found, "ratio": round(ours / plain, 2)}


def _convert_all(convert: Callable[[str, md.Program, Path], object], network: Network) -> dict[str, float]:
    seconds = {}
    for form in FORMATS:
        program = network.program()
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            convert(form, program, Path(folder) / f"model{suffix_of(form)}")
            seconds[form] = time.perf_counter() - began
    return seconds


def _ours(_: str, program: md.Program, path: Path) -> object:
    return md.convert(program, path)


def _plain(form: str, program: md.Program, path: Path) -> object:
    """What each library's own documentation tells to do."""
    inputs = tuple(program.inputs.values())
    if form == "tflite":
        return plain_tflite(program.module, inputs, path)
    if form == "onnx":
        return plain_onnx(program.module, inputs, path)
    import coremltools

    exported = torch.export.export(program.module, inputs).run_decompositions({})
    return coremltools.convert(exported, convert_to="mlprogram", skip_model_load=True).save(str(path))


# -- how fast the int8 files are ----------------------------------------------------------------------------------


def _speed(network: Network, host: Host, seed: int) -> dict[str, Any]:
    program = network.program()
    samples = network.samples(_CALIBRATED_ON, seed)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        (integers,) = md.quantize.post_training(program, samples)
        for form, quantize in (("tflite", ai_edge_quantizer), ("onnx", onnxruntime_quantization)):
            ours = md.convert(integers, Path(folder) / f"ours{suffix_of(form)}")
            plain = Path(folder) / f"float{suffix_of(form)}"
            _plain(form, program, plain)
            try:
                theirs = quantize(plain, samples, Path(folder) / f"theirs{suffix_of(form)}")
            except Exception as error:
                found[form] = {"theirs": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
                continue
            mine, other = host.measure_interleaved(
                [
                    Subject(ours, form, {name: value[:1].numpy() for name, value in samples.items()}),
                    Subject(theirs, form),
                ]
            )
            found[form] = {
                "ours_ms": mine.p50_ms,
                "theirs_ms": other.p50_ms,
                "ratio": round(mine.p50_ms / other.p50_ms, 3),
                "ours_bytes": size_bytes(ours),
                "theirs_bytes": size_bytes(theirs),
                "verdict": mine.verdict,
            }
    return found


def page(found: Mapping[str, Any]) -> str:
    """Markdown: costs, then speeds and bytes."""
    lines = [
        "# Beside the plain libraries",
        "",
        "Made by `python -m benchmarks.plain_converters` from `plain_converters.json`.",
        "",
        "## Seconds to convert a float module, all three formats",
        "",
        "| | ours: TFLite, Core ML, ONNX | plain: TFLite, Core ML, ONNX | ours / plain |",
        "|---|---|---|---|",
    ]
    for name, one in found.items():
        cells = [", ".join(f"{one['cost'][who][form]:.1f}" for form in FORMATS) for who in ("ours", "plain")]
        lines.append(f"| {name} | {' | '.join(cells)} | {one['cost']['ratio']:.2f} |")
    lines += ["", "## Int8 files, in turns on one thread of this host", ""]
    lines += ["| | format | ours ms | theirs ms | ours / theirs | ours bytes | theirs bytes | verdict |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name, one in found.items():
        for form, cell in one["int8"].items():
            if "ratio" not in cell:
                lines.append(f"| {name} | {form} | - | {cell['theirs']} | - | - | - | - |")
                continue
            lines.append(
                f"| {name} | {form} | {cell['ours_ms']:.4f} | {cell['theirs_ms']:.4f} | {cell['ratio']:.3f}"
                f" | {cell['ours_bytes']:,} | {cell['theirs_bytes']:,} | {cell['verdict']} |"
            )
    return "\n".join([*lines, "", "Theirs: ai-edge-quantizer (static_wi8_ai8), onnxruntime.quantization (QDQ).", ""])


if __name__ == "__main__":
    main()
