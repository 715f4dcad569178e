"""``convert``, ``verify``, ``profile``: commands on model files, which are opened in a process of their own."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import zipfile
from dataclasses import asdict
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
    DeviceError,
    Examination,
    Format,
    InputError,
    KerasModel,
    Outside,
    Parity,
    ParityError,
    compare,
    examine,
    format_of,
    load,
    load_keras,
    load_program,
    outside,
    run_in_child,
    size_bytes,
    suffix_of,
)
from converters import convert as write
from converters import verify as prove
from mobiledistill import devices
from mobiledistill.cli import _options as options
from mobiledistill.cli._screen import progress_bars
from mobiledistill.devices import Interleaving, Measurement, Subject, latency_ratio
from mobiledistill.devices import open as open_device
from mobiledistill.devices import profile as measure

__all__ = ["CONVERT_EXAMPLE", "PROFILE_EXAMPLE", "VERIFY_EXAMPLE", "convert", "profile", "verify"]

CONVERT_EXAMPLE = "Example: mobiledistill convert student.pt2 --formats tflite,onnx --to exported/"
VERIFY_EXAMPLE = (
    "Example: mobiledistill verify student.tflite --reference student.pt2 --inputs inputs.npz,"
    " or without its module: mobiledistill verify net.mlpackage --inputs inputs.npz --save answers.npz"
)
PROFILE_EXAMPLE = "Example: mobiledistill profile student.tflite --device host"

_LARGEST_ARRAYS = 4_000_000_000

_Arrays = dict[str, NDArray[np.generic]]


def convert(
    source: Annotated[
        Path, typer.Argument(help="A .pt2 that torch.export.save wrote, a .keras file, or a SavedModel's folder.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder for the files.")] = Path(),
    formats: options.Formats = "tflite,coreml,onnx",
    half: Annotated[bool, typer.Option("--fp16", help="Store floats in 16 bits.")] = False,
    trust: options.Trust = False,
    target: Annotated[str | None, typer.Option(help="Oldest system for Core ML: iOS16, iOS17 or iOS18.")] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 18 to 25.")] = 18,
    as_json: options.Json = False,
) -> None:
    """Write a torch program or a Keras model as .tflite, .mlpackage and .onnx, and prove each file."""
    if source.suffix in (".onnx", ".tflite", ".mlpackage", ".pt", ".pth"):
        why = "no well-kept library turns one back into a module" if source.suffix == ".onnx" else "it is no source"
        raise InputError(
            f"{source} is a {source.suffix} file, and {why}: save the model it came from with"
            " torch.export.save(torch.export.export(module, inputs), 'model.pt2') or model.save('model.keras')."
        )
    wanted = options.formats_of(formats)
    model = load_keras(source, trust=trust) if _is_keras(source) else source
    details: dict[Format, Details] = {"coreml": CoreML(target=target), "onnx": ONNX(opset=opset)}  # type: ignore[arg-type]  # CoreML checks it
    if isinstance(model, KerasModel):
        if target is not None or opset != ONNX().opset:
            raise InputError("--target and --opset are for programs: a Keras model is written as its exporter does it.")
        details = {}
    written = {}
    with progress_bars() as progress:
        from mobiledistill._progress import Event

        for number, format in enumerate(wanted):
            progress(Event("convert", number, len(wanted), format))
            path = to / f"{source.stem}{suffix_of(format)}"
            parity = run_in_child(
                _convert_one, model, path, half, details.get(format), what=str(source), timeout_s=1800
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
        typer.Option("--reference", help="What it was made from; else the .pt2 of the same name beside it."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="An .npz with real inputs by name, samples along axis 0.")
    ] = None,
    expected: Annotated[
        Path | None, typer.Option("--expected", help="An .npz with the outputs due, instead of a reference.")
    ] = None,
    trust: options.Trust = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="An .npz for what the file answers to those inputs.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run a file beside the module it was made from, and say where they part. Core ML runs on any system.

    Without that module, --inputs alone shows what the file answers and whether half precision would change it.
    """
    format_of(file)
    given = None if inputs is None else _arrays(inputs)
    if save is not None and given is None:
        raise InputError("--save needs --inputs: the inputs whose answers are to be kept.")
    alone = expected is None and reference is None and not file.with_suffix(".pt2").exists()
    if given is not None and (alone or save is not None):
        found, left = run_in_child(_examine_one, file, given, what=str(file), timeout_s=600)
        if save is not None:
            _save(save, found)
        if alone:
            print(json.dumps(_as_object(file, found, left))) if as_json else _print_examined(file, found, left)
            return
    if expected is not None:
        if given is None:
            raise InputError("--expected needs --inputs: the inputs that lead to those outputs.")
        answers, left = run_in_child(_answer, file, given, what=str(file))
        parity = compare(_arrays(expected), answers)
    else:
        program = reference or file.with_suffix(".pt2")
        if not program.exists():
            raise InputError(f"{program} does not exist; name the module's .pt2 with --reference, or give --inputs.")
        source = load_keras(program, trust=trust) if _is_keras(program) else program
        parity, left = run_in_child(_verify_one, file, source, given, what=str(file), timeout_s=600)
    if as_json:
        print(json.dumps({"path": str(file), **vars(parity), "outside": None if left is None else vars(left)}))
        return
    print(
        f"{file}: {parity.sqnr_db:.1f} dB, decisions agree on {100 * parity.agreement:.2f} % of {parity.n} samples",
        end="",
    )
    print("" if parity.max_steps is None else f", at most {parity.max_steps:.1f} output steps apart", end="")
    print(", the module's own integers." if parity.integers_equal else ".")
    if left is not None:
        print(left)


def _print_examined(file: Path, found: list[Examination], left: Outside | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 80, highlight=False)
    for one in found:
        what = file.name if len(found) == 1 else f"{file.name}, signature {one.signature}"
        console.print(
            f"{what}: {one.n} sample{'s' * (one.n > 1)}, in {one.arithmetics[0]} and again in {one.arithmetics[1]}"
        )
        table = Table(show_edge=False)
        for heading in ("output", "shape", "type", "from", "to", "not finite", "apart dB"):
            table.add_column(
                heading,
                justify="left" if heading in ("output", "shape", "type") else "right",
                overflow="fold",
                no_wrap=heading != "output",
            )
        for output in one.outputs:
            table.add_row(
                output.name,
                "x".join(map(str, output.shape)),
                output.dtype,
                f"{output.low:.4g}",
                f"{output.high:.4g}",
                str(output.non_finite),
                f"{output.apart_db:.1f}",
            )
        console.print(table)
        console.print(
            "All values stay within float16."
            if one.overflow is None
            else f"Values leave float16 (65504) first at {one.overflow}."
        )
    if left is not None:
        console.print(str(left))


def _as_object(file: Path, found: list[Examination], left: Outside | None) -> dict[str, object]:
    signatures = {}
    for one in found:
        outputs = {
            output.name: {
                **{key: value for key, value in vars(output).items() if key != "name"},
                "low": output.low if math.isfinite(output.low) else None,
                "high": output.high if math.isfinite(output.high) else None,
            }
            for output in one.outputs
        }
        signatures[one.signature] = {
            "n": one.n,
            "arithmetics": one.arithmetics,
            "overflow": one.overflow,
            "outputs": outputs,
        }
    return {"path": str(file), "signatures": signatures, "outside": None if left is None else vars(left)}


def _save(path: Path, found: list[Examination]) -> None:
    arrays = {
        name if len(found) == 1 else f"{one.signature}/{name}": values
        for one in found
        for name, values in one.answers.items()
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as archive:
            np.savez(archive, **arrays)  # type: ignore[arg-type]  # the stub takes a name for an option
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror}); give a folder that exists.") from None


def profile(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx.")],
    device: options.Device = "host",
    upload: options.Upload = False,
    app: options.App = None,
    backend: options.Backend = None,
    threads: Annotated[int, typer.Option(help="Threads that the runtime may use.")] = 1,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another file of one signature, measured in turns with this one.")
    ] = None,
    tool: Annotated[
        Path | None,
        typer.Option("--tool", help="On a phone: your benchmark_model or onnxruntime_perf_test, in place of ours."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare what was not measured alike, too.")] = False,
    as_json: options.Json = False,
) -> None:
    """Measure a file's latency and memory on a device, with the conditions it was taken under."""
    for one in (file, *([against] if against else [])):
        format_of(one)
        if not one.exists():
            raise InputError(f"{one} does not exist; give the path of a model file.")
    opened = open_device(device, upload=upload, tool=tool, app=app, backend=backend)
    if against is not None:
        _compared(file, against, opened, threads, force=force, as_json=as_json)
        return
    found = measure(file, opened, threads=threads)
    if as_json:
        print(json.dumps({name: json.loads(one.to_json()) for name, one in found.items()}))
        return
    Console().print(_profile_table(found))


def _compared(file: Path, against: Path, device: devices.Device, threads: int, *, force: bool, as_json: bool) -> None:
    """Both in turns, so that whatever slows the device down slows both down."""
    if not isinstance(device, Interleaving):
        raise InputError(f"{device.name} measures no files in turns, so it compares none; give host or adb:SERIAL.")
    subjects = [Subject(path, format_of(path)) for path in (file, against)]
    if missing := [subject.fmt for subject in subjects if subject.fmt not in device.formats]:
        raise DeviceError(f"{device.name} does not run {missing[0]}; it runs {', '.join(device.formats)}.")
    measured, base = device.measure_interleaved(subjects, threads=threads)
    ratio = latency_ratio(measured, base, force=force)
    if as_json:
        both = {"measured": json.loads(measured.to_json()), "against": json.loads(base.to_json())}
        print(json.dumps({**both, **asdict(ratio)}))
        return
    Console().print(_profile_table({str(file): measured, str(against): base}, of="file"))
    print(f"{file} takes {ratio}")


def _profile_table(found: dict[str, Measurement], of: str = "signature") -> Table:
    table = Table(show_edge=False)
    for heading in (of, "p50 ms", "95 % interval", "p90 ms", "load ms", "memory", "verdict"):
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


def _convert_one(source: Path | KerasModel, path: Path, half: bool, details: Details | None) -> Parity:
    model = load_program(source) if isinstance(source, Path) else source
    precision = "float16" if half else "float32"
    write(model, path, precision=precision, details=details)  # type: ignore[arg-type]  # both are literals of Precision
    try:
        return prove(path, model, precision=precision)  # type: ignore[arg-type]  # likewise
    except ParityError:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def _verify_one(file: Path, reference: Path | KerasModel, inputs: _Arrays | None) -> tuple[Parity, Outside | None]:
    source = load_program(reference) if isinstance(reference, Path) else reference
    return prove(file, source, inputs), outside(file)


def _is_keras(source: Path) -> bool:
    return source.suffix in (".keras", ".h5", ".hdf5") or source.is_dir()


def _examine_one(file: Path, inputs: _Arrays) -> tuple[list[Examination], Outside | None]:
    return examine(file, inputs), outside(file)


def _answer(file: Path, inputs: _Arrays) -> tuple[_Arrays, Outside | None]:
    return load(file).run(inputs), outside(file)


def _arrays(path: Path) -> _Arrays:
    if not path.is_file():
        raise InputError(f"{path} does not exist; give an .npz with arrays by name.")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_ARRAYS:
                raise InputError(f"{path} holds more than 4 GB of arrays; give fewer samples.")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except InputError:
        raise
    except Exception:  # NumPy, zlib and zipfile raise whatever a damaged archive leads them to
        raise InputError(f"{path} is no .npz of plain arrays; write it with numpy.savez(path, name=array).") from None
    if bad := [
        name for name, value in found.items() if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf"
    ]:
        raise InputError(
            f"{path} holds {bad[0]!r}, which is no array of numbers; write it with numpy.savez(path, name=array)."
        )
    return found
