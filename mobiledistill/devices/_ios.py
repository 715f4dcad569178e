"""An iPhone on a cable: a small app of ours runs Core ML packages there and writes down what it saw."""

from __future__ import annotations

import json
import re
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters import DeviceError, Format, InputError, load
from mobiledistill._workdir import digest_of
from mobiledistill.devices._base import Inputs, InputsBySignature
from mobiledistill.devices._gates import Gate
from mobiledistill.devices._ios_found import found_tool
from mobiledistill.devices._ios_tool import IPhoneTool, Phone
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    Measurement,
    OutputCheck,
    RuntimeInfo,
    Telemetry,
    Verdict,
)
from mobiledistill.devices._phone_lock import phone_lock
from mobiledistill.devices._record import first_fault
from mobiledistill.devices._runs import one_signature
from mobiledistill.devices._statistics import drift, percentile_interval
from mobiledistill.devices._statistics import percentile as percentile_of

__all__ = ["BUNDLE", "AppleUnit", "IPhone", "gates_of"]

BUNDLE = "org.mobiledistill.harness"

AppleUnit = Literal["all", "cpuAndNeuralEngine", "cpuAndGPU", "cpuOnly"]
"""Where Core ML may compute, in Apple's words."""

_WARM_UP = 10
_RUN_S = 900.0  # the first load of a large model for the Neural Engine takes minutes
_LARGEST_DRIFT = 0.10
_LARGEST_RESULT_BYTES = 64 << 20
_HEAT = {"nominal": 0, "fair": 1, "serious": 3, "critical": 4}
"""Apple's thermal states on Android's scale, where 3 is "severe" and 4 "critical"."""
_OLDEST_IOS = 17
_SLOW_FROM = 3  # "fair" is warm, but Apple slows nothing down for it


class IPhone:
    """Measures Core ML packages on an iPhone or iPad, on each unit that Core ML can be told to use.

    What you gain: the phone's own milliseconds on the CPU, GPU and Neural Engine, the first load apart from later ones,
    thermal state and low power mode. What it takes: iOS 17, Developer Mode, the app of ``demo_apps/ios`` on the phone,
    signed by you, and a Mac with Xcode 15 or the program ``pymobiledevice3``. Never tried on a real phone: see the
    manual.

    Args:
        udid: as ``mobiledistill devices`` or Finder tells it.
        unit: where it may run; ``measure_units`` tries all.
        bundle: the app's identifier, where you signed it under another.
    """

    formats: Final[tuple[Format, ...]] = ("coreml",)

    def __init__(self, udid: str, *, unit: AppleUnit = "all", bundle: str = BUNDLE) -> None:
        if not udid:
            raise InputError('An iPhone needs its UDID, as in "ios:00008130-001A2B3C4D5E6F70".')
        if unit not in get_args(AppleUnit):
            raise InputError(f"unit must be one of {', '.join(get_args(AppleUnit))}, but got {unit!r}.")
        self._udid, self._unit, self._bundle = udid, unit, bundle

    @property
    def name(self) -> str:
        """As ``devices.open`` takes it."""
        return f"ios:{self._udid}"

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """The names of a package's functions; ``("main",)`` where it knows none."""
        return tuple(load(Path(path)).signatures)

    def measure(
        self,
        path: Path,
        fmt: Format,
        inputs: Inputs | InputsBySignature | None = None,
        *,
        signature: str | None = None,
        threads: int = 1,
        percentile: float = 50.0,
        limit_ms: float | None = None,
        processes: int = 5,
        samples: int = 200,
        max_processes: int = 20,
    ) -> Measurement | None:
        """Measures one function of a package on this device's unit; see ``Host.measure``.

        ``threads``, ``limit_ms`` and ``max_processes`` change nothing: Core ML chooses its threads.

        Raises:
            InputError: there is no such package, or the inputs do not fit it.
            ModelFileError: the package is damaged or foreign.
            DeviceError: the phone is not there, is a simulator, or the app gives no answer.
        """
        if fmt not in self.formats:
            return None
        signature, own = one_signature(inputs, signature)
        found = self.measure_units(
            path,
            own,
            units=(self._unit,),
            signature=signature,
            percentile=percentile,
            processes=processes,
            samples=samples,
        )
        return found[self._unit]

    def measure_units(
        self,
        path: Path,
        inputs: Inputs | None = None,
        *,
        units: tuple[AppleUnit, ...] = get_args(AppleUnit),
        signature: str | None = None,
        percentile: float = 50.0,
        processes: int = 5,
        samples: int = 200,
    ) -> dict[AppleUnit, Measurement]:
        """Measures one function on several units: ``"all"`` is not always the fastest.

        Returns:
            A measurement for each unit.

        Raises:
            InputError, ModelFileError, DeviceError: as ``measure``.
        """
        path = Path(path)
        if processes < 1 or samples < 1 or not units:
            raise InputError(f"processes and samples must be at least 1, but got {processes} and {samples}.")
        model = load(path)
        signature = signature or next(iter(model.signatures))
        if signature not in model.signatures:
            raise InputError(
                f"{path} has the functions {', '.join(model.signatures)}, but {signature!r} was asked for."
            )
        given = inputs if inputs is not None else _drawn(model.signatures[signature].inputs)
        expected = model.run(given, signature)
        tool = found_tool()
        phone = self._phone(tool)
        config = {
            "schema": 1,
            "model": "model.mlpackage",
            "function": signature if len(model.signatures) > 1 else None,
            "compute_units": list(units),
            "warm_up": _WARM_UP,
            "samples": samples,
            "inputs": {name: _as_json(np.asarray(value)) for name, value in given.items()},
        }
        with phone_lock(phone.udid):
            tool.copy_to(phone, self._bundle, path, "Documents/model.mlpackage")
            results = [self._run(tool, phone, config) for _ in range(processes)]
        batch = max(1, *(np.asarray(value).shape[0] if np.ndim(value) else 1 for value in given.values()))
        return {
            unit: _measurement(path, signature, batch, phone, unit, results, percentile).with_outputs(
                OutputCheck.of(expected, results[0].of(unit).arrays())
            )
            for unit in units
        }

    def install(self, app: str | Path) -> None:
        """Puts the signed app on the phone: an .app, or without a Mac an .ipa too.

        Raises:
            DeviceError: the phone is not there, or does not take it.
        """
        tool = found_tool()
        tool.install(self._phone(tool), Path(app))

    def examine(self) -> list[Gate]:
        """What a measurement needs, as far as it can be seen from here."""
        return gates_of(_found(found_tool(), self._udid))

    def _phone(self, tool: IPhoneTool) -> Phone:
        phone = _found(tool, self._udid)
        for gate in gates_of(phone):
            if not gate.passed:
                raise DeviceError(f"{self.name} is not ready: {gate.name} {gate.seen}; {gate.advice}.")
        return phone

    def _run(self, tool: IPhoneTool, phone: Phone, config: dict[str, Any]) -> _Result:
        """One fresh process of the app."""
        run = uuid.uuid4().hex  # tells this run's result from one that an earlier run left
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            written, got = Path(folder) / "config.json", Path(folder) / "result.json"
            written.write_text(json.dumps({**config, "run": run}))
            tool.copy_to(phone, self._bundle, written, "Documents/config.json")
            tool.launch(phone, self._bundle, _RUN_S)
            tool.copy_from(phone, self._bundle, "Documents/result.json", got)
            if got.stat().st_size > _LARGEST_RESULT_BYTES:
                raise DeviceError(f"The app's result.json has {got.stat().st_size:,} bytes; install the app again.")
            try:
                result = _Result.model_validate_json(got.read_bytes())
            except ValidationError as error:
                raise DeviceError(
                    f"The app's result.json is not of schema 1 ({first_fault(error)}); install the app again."
                ) from None
        if result.run != run:
            raise DeviceError("The app ended without a result; open it on the phone and see what it shows.")
        if result.simulator:
            raise DeviceError(f"{self.name} is a simulator, whose times mean nothing; take a real phone.")
        if result.error:
            raise DeviceError(f"The app on {self.name} cannot run it: {result.error.rstrip('.')}.")
        return result


def _found(tool: IPhoneTool, udid: str) -> Phone:
    known = tool.phones()
    for phone in known:
        if udid in (phone.udid, phone.identifier):
            return phone
    told = ", ".join(f"ios:{phone.udid} ({phone.name})" for phone in known) or "none"
    raise DeviceError(
        f"There is no iPhone ios:{udid}; this computer knows {told}. Plug it in and trust this computer on it."
    )


def gates_of(phone: Phone) -> list[Gate]:
    """What a measurement needs of a phone."""
    real = Gate(
        "phone",
        f"{phone.name}, {phone.os}",
        phone.is_real,
        "take a real phone: a simulator's times mean nothing",
    )
    reachable = Gate(
        "connection",
        "yes" if phone.is_reachable else "no",
        phone.is_reachable,
        "plug it in, unlock it, and trust this computer on it",
    )
    version = re.match(r"iOS (\d+)", phone.os)
    system = Gate(
        "system",
        phone.os,
        version is None or int(version[1]) >= _OLDEST_IOS,
        f"update it to iOS {_OLDEST_IOS}: older ones let nobody start an app from outside",
    )
    if phone.allows_developers is None:
        return [real, system, reachable]
    developers = Gate(
        "Developer Mode",
        "on" if phone.allows_developers else "off",
        phone.allows_developers,
        "turn it on in Settings, Privacy & Security",
    )
    return [real, system, reachable, developers]


# -- what the app says --------------------------------------------------------------------------------------------


class _Said(BaseModel):
    """A newer app may say more."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Array(_Said):
    shape: tuple[int, ...]
    values: tuple[float, ...]


class _Unit(_Said):
    unit: AppleUnit
    samples_ms: tuple[float, ...] = Field(min_length=1)
    first_load_ms: float
    second_load_ms: float
    first_run_ms: float | None = None
    thermal_before: Literal["nominal", "fair", "serious", "critical"]
    thermal_after: Literal["nominal", "fair", "serious", "critical"]
    peak_memory_bytes: int | None = None
    planned: dict[str, int] = {}
    outputs: dict[str, _Array]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The outputs; one whose values do not fill its shape is told as a DeviceError."""
        try:
            return {n: np.array(a.values, np.float32).reshape(a.shape) for n, a in self.outputs.items()}
        except ValueError as error:
            raise DeviceError(
                f"The app's result.json holds a broken output ({error}); install the app again."
            ) from None


class _Result(_Said):
    schema_version: Literal[1] = Field(alias="schema")
    run: str
    os: str = "unknown"
    simulator: bool = False
    low_power: bool = False
    battery_percent: int | None = None
    units: tuple[_Unit, ...] = ()
    error: str | None = None

    def of(self, unit: AppleUnit) -> _Unit:
        """What was measured on a unit."""
        for one in self.units:
            if one.unit == unit:
                return one
        raise DeviceError(f"The app's result.json has no times of {unit}; install the app again.")


def _measurement(
    path: Path,
    signature: str,
    batch: int,
    phone: Phone,
    unit: AppleUnit,
    results: list[_Result],
    percentile: float,
) -> Measurement:
    runs = [result.of(unit) for result in results]
    samples_ms = tuple(run.samples_ms for run in runs)
    seconds = [run.second_load_ms for run in runs]
    firsts = [run.first_run_ms for run in runs if run.first_run_ms is not None]
    peaks = [run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None]
    verdict, reasons = _verdict(samples_ms, runs, any(result.low_power for result in results))
    return Measurement(
        device=DeviceInfo(name=phone.name, os=phone.os, cpu=phone.product),
        runtime=RuntimeInfo(name="Core ML", version=phone.os),
        path_kind="app",
        file=path.name,
        sha256=digest_of(path),
        format="coreml",
        signature=signature,
        backend=Backend(asked=unit, obtained=_planned(runs[0])),
        threads=1,
        batch=batch,
        samples_ms=samples_ms,
        percentile=percentile,
        latency_ms=percentile_of(samples_ms, percentile),
        ci95_ms=percentile_interval(samples_ms, percentile),
        p50_ms=percentile_of(samples_ms, 50),
        p90_ms=percentile_of(samples_ms, 90),
        drift_first_to_last_third=drift(samples_ms),
        load_cold_ms=runs[0].first_load_ms,  # later processes find what iOS has kept
        load_warm_ms=float(np.median(seconds)),
        first_run_ms=float(np.median(firsts)) if firsts else None,
        peak_memory_bytes=max(peaks, default=None),
        telemetry_before=_telemetry(runs[0].thermal_before, results[0]),
        telemetry_after=_telemetry(runs[-1].thermal_after, results[-1]),
        verdict=verdict,
        reasons=reasons,
    )


def _verdict(
    samples_ms: tuple[tuple[float, ...], ...], runs: list[_Unit], low_power: bool
) -> tuple[Verdict, tuple[str, ...]]:
    if low_power:
        return "invalid", ("low power mode is on: turn it off, it slows the phone down",)
    hottest = max((state for run in runs for state in (run.thermal_before, run.thermal_after)), key=_HEAT.__getitem__)
    if _HEAT[hottest] >= _SLOW_FROM:
        return "throttled", (f"the phone was hot enough to slow down: thermal state {hottest}",)
    if abs(drifted := drift(samples_ms)) > _LARGEST_DRIFT:
        return "invalid", (f"its times drifted by {drifted:+.0%} from the first to the last third",)
    return "valid", ()


def _planned(run: _Unit) -> str:
    """Where Core ML's compute plan would put the operators: an estimate of Apple's, not an observation."""
    told = ", ".join(f"{name} {count}" for name, count in sorted(run.planned.items(), key=lambda item: -item[1]))
    return f"planned: {told}" if told else "unknown"


def _telemetry(state: str, result: _Result) -> Telemetry:
    return Telemetry(thermal_status=_HEAT[state], battery_percent=result.battery_percent)


def _drawn(shapes: Any) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal([size or 1 for size in shape], np.float32) for name, shape in shapes.items()}


def _as_json(array: NDArray[Any]) -> dict[str, Any]:
    kind = "int32" if array.dtype.kind in "biu" else "float32"
    return {"shape": list(array.shape), "type": kind, "values": array.astype(kind).ravel().tolist()}
