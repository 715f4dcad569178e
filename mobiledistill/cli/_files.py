"""``convert``, ``verify``, ``profile``: commands on model files, which are opened in a process of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from converters import (
    ONNX,
    CoreML,
    Details,
    Format,
    InputError,
    Parity,
    ParityError,
    compare,
    format_of,
    load,
    load_program,
    run_in_child,
    size_bytes,
    suffix_of,
)
from converters import convert as write
from converters import verify as prove
from mobiledistill.cli import _options as options
from mobiledistill.cli._screen import progress_bars
from mobiledistill.devices import Measurement
from mobiledistill.devices import profile as measure

__all__ = ["CONVERT_EXAMPLE", "PROFILE_EXAMPLE", "VERIFY_EXAMPLE", "convert", "profile", "verify"]

CONVERT_EXAMPLE = "Example: mobiledistill convert student.pt2 --formats tflite,onnx --to exported/"
VERIFY_EXAMPLE = "Example: mobiledistill verify student.tflite --reference student.pt2 --inputs inputs.npz"
PROFILE_EXAMPLE = "Example: mobiledistill profile student.tflite --device host"

_Arrays = dict[str, NDArray[np.generic]]


def convert(
    source: Annotated[Path, typer.Argument(help="A .pt2 that torch.export.save wrote.")],
    to: Annotated[Path, typer.Option("--to", help="Folder for the files.")] = Path(),
    formats: options.Formats = "tflite,coreml,onnx",
    half: Annotated[bool, typer.Option("--fp16", help="Store floats in 16 bits.")] = False,
    target: Annotated[str | None, typer.Option(help="Oldest system for Core ML: iOS16, iOS17 or iOS18.")] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 18 to 25.")] = 18,
    as_json: options.Json = False,
) -> None:
    """Write an exported torch program as .tflite, .mlpackage and .onnx, and prove each file."""
    if source.suffix != ".pt2" and source.suffix in (".onnx", ".tflite", ".mlpackage", ".keras", ".pt", ".pth"):
        raise InputError(
            f"{source} is a {source.suffix} file; convert reads torch programs: save yours with"
            " torch.export.save(torch.export.export(module, inputs), 'model.pt2')."
        )
    wanted = options.formats_of(formats)
    details: dict[Format, Details] = {"coreml": CoreML(target=target), "onnx": ONNX(opset=opset)}  # type: ignore[arg-type]  # CoreML checks it
    written = {}
    with progress_bars() as progress:
        from mobiledistill._progress import Event

        for number, format in enumerate(wanted):
            progress(Event("convert", number, len(wanted), format))
            path = to / f"{source.stem}{suffix_of(format)}"
            parity = run_in_child(
                _convert_one, source, path, half, details.get(format), what=str(source), timeout_s=1800
            )
            written[format] = (path, parity)
        progress(Event("convert", len(wanted), len(wanted)))
    if as_json:
        print(
            json.dumps({f: {"path": str(p), "size_bytes": size_bytes(p), **vars(q)} for f, (p, q) in written.items()})
        )
        return
    for path, parity in written.values():
        print(f"{path}  {size_bytes(path):,} bytes  {parity.sqnr_db:.0f} dB from the module")


def verify(
    file: Annotated[Path, typer.Argument(help="A .tflite, .mlpackage or .onnx.")],
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="The .pt2 it was made from; else the one of the same name beside it."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="An .npz with real inputs by name, samples along axis 0.")
    ] = None,
    expected: Annotated[
        Path | None, typer.Option("--expected", help="An .npz with the outputs due, instead of a reference.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run a file beside the module it was made from, and say where they part. Core ML runs on any system."""
    format_of(file)
    given = None if inputs is None else _arrays(inputs)
    if expected is not None:
        if given is None:
            raise InputError("--expected needs --inputs: the inputs that lead to those outputs.")
        answers = run_in_child(_answer, file, given, what=str(file))
        parity = compare(_arrays(expected), answers)
    else:
        program = reference or file.with_suffix(".pt2")
        if not program.exists():
            raise InputError(f"{program} does not exist; name the module's .pt2 with --reference.")
        parity = run_in_child(_verify_one, file, program, given, what=str(file), timeout_s=600)
    if as_json:
        print(json.dumps({"path": str(file), **vars(parity)}))
        return
    print(
        f"{file}: {parity.sqnr_db:.1f} dB, decisions agree on {100 * parity.agreement:.2f} % of {parity.n} samples",
        end="",
    )
    print("" if parity.max_steps is None else f", at most {parity.max_steps:.1f} output steps apart", end="")
    print(", the module's own integers." if parity.integers_equal else ".")


def profile(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx.")],
    device: options.Device = "host",
    threads: Annotated[int, typer.Option(help="Threads that the runtime may use.")] = 1,
    as_json: options.Json = False,
) -> None:
    """Measure a file's latency and memory on a device, with the conditions it was taken under."""
    format_of(file)
    if not file.exists():
        raise InputError(f"{file} does not exist; give the path of a model file.")
    found = measure(file, device, threads=threads)
    if as_json:
        print(json.dumps({name: json.loads(one.to_json()) for name, one in found.items()}))
        return
    Console().print(_profile_table(found))


def _profile_table(found: dict[str, Measurement]) -> Table:
    table = Table(show_edge=False)
    for heading in ("signature", "p50 ms", "95 % interval", "p90 ms", "load ms", "memory", "verdict"):
        table.add_column(heading)
    for name, one in found.items():
        low, high = one.ci95_ms
        table.add_row(
            name,
            f"{one.p50_ms:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{one.p90_ms:.4f}",
            "-" if one.load_cold_ms is None else f"{one.load_cold_ms:.1f}",
            "-" if one.peak_memory_bytes is None else f"{one.peak_memory_bytes / 1000:,.0f} kB",
            "; ".join((one.verdict, *one.reasons)),
        )
    return table


def _convert_one(source: Path, path: Path, half: bool, details: Details | None) -> Parity:
    program = load_program(source)
    precision = "float16" if half else "float32"
    write(program, path, precision=precision, details=details)  # type: ignore[arg-type]  # both are literals of Precision
    try:
        return prove(path, program, precision=precision)  # type: ignore[arg-type]  # likewise
    except ParityError:
        path.unlink() if path.is_file() else None
        raise


def _verify_one(file: Path, reference: Path, inputs: _Arrays | None) -> Parity:
    return prove(file, load_program(reference), inputs)


def _answer(file: Path, inputs: _Arrays) -> _Arrays:
    return load(file).run(inputs)


def _arrays(path: Path) -> _Arrays:
    if not path.is_file():
        raise InputError(f"{path} does not exist; give an .npz with arrays by name.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, AttributeError):
        raise InputError(f"{path} is no .npz of plain arrays; write it with numpy.savez(path, name=array).") from None
