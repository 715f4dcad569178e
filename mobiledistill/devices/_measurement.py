"""What a device measured, in one schema for every runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from converters import Format, InputError, compare
from mobiledistill.devices._record import Record, first_fault
from mobiledistill.devices._statistics import RESAMPLES, bootstrap, interval

__all__ = [
    "Backend",
    "BrowserInfo",
    "DeviceInfo",
    "LatencyPerUse",
    "Measurement",
    "OutputCheck",
    "PathKind",
    "Prediction",
    "Reference",
    "RuntimeInfo",
    "Telemetry",
    "Verdict",
    "latency_per_use",
]

PathKind = Literal["shell", "app", "browser", "cloud", "host", "table"]
"""How the file was run; times of different kinds are not comparable. ``table``: not at all, it is a prediction."""

Verdict = Literal["valid", "throttled", "invalid", "predicted"]
Meets = Literal["met", "missed", "open"]

_SAME_DB = 28.0
_EQUAL_DB = 300.0  # in place of infinity, which JSON does not know
_WORST = 1e9

Arrays = Mapping[str, NDArray[Any]]
Milliseconds = Annotated[float, Field(ge=0)]
ProcessSamples = Annotated[tuple[Milliseconds, ...], Field(min_length=1)]
SamplesMs = Annotated[tuple[ProcessSamples, ...], Field(min_length=1)]


class DeviceInfo(Record):
    """What the file ran on."""

    name: str
    os: str
    cpu: str


class RuntimeInfo(Record):
    """What ran the file, for example ``onnxruntime 1.32.0``."""

    name: str
    version: str


class Backend(Record):
    """What was asked to compute, and what then did: they differ where an operator is not supported."""

    asked: str
    obtained: str


class Telemetry(Record):
    """The state of the device at one moment; None for what cannot be read there.

    Attributes:
        loadavg: processes that ran or waited, averaged over 1, 5 and 15 minutes.
        cpu_mhz: clock of the core that measures.
        governor: how its clock is steered.
        temperature_c: the hottest sensor.
        throttle_count: how often the core has been slowed down for heat since start.
        thermal_status: a phone's own word, 0 (none) to 6 (shutdown); from 1 on it slows down.
        battery_percent: how full the battery is.
        battery_c: how warm.
    """

    loadavg: tuple[float, float, float] | None = None
    cpu_mhz: float | None = None
    governor: str | None = None
    temperature_c: float | None = None
    throttle_count: int | None = None
    thermal_status: int | None = None
    battery_percent: int | None = None
    battery_c: float | None = None


class Reference(Record):
    """A fixed small model, run in turns with the file: whether the machine kept its pace.

    Attributes:
        sha256: of the reference's own file.
        samples_ms: by process, as those of the measurement.
        drift: last third against first third of all its samples, minus 1.
        largest_drift: largest departure found, 0 or more: over the whole measurement, within one process, or of one
            process from the fastest.
    """

    sha256: str
    samples_ms: SamplesMs
    drift: float
    largest_drift: float


class OutputCheck(Record):
    """How far a device's answers are from this computer's, to the same inputs: a fast wrong answer is worth nothing.

    Attributes:
        sqnr_db: signal to noise in dB, the worst output; this computer's answers are the signal.
        largest_error: largest difference, as a share of the largest absolute value of its output.
    """

    sqnr_db: float
    largest_error: Annotated[float, Field(ge=0)]

    @property
    def same(self) -> bool:
        """Whether they are one answer but for rounding: below these 28 dB lies no file that is right."""
        return self.sqnr_db >= _SAME_DB

    @classmethod
    def of(cls, due: Arrays, answered: Arrays) -> OutputCheck:
        """Compares outputs by name.

        Raises:
            InputError: they differ in names, shapes or kinds.
        """
        due, answered = _without_the_same_oddities(due, answered)
        found = compare(due, answered)
        if not all(np.isfinite(value).all() for arrays in (due, answered) for value in arrays.values()):
            return cls(sqnr_db=-_EQUAL_DB, largest_error=_WORST)
        largest = max(
            float(np.abs(value.astype(np.float64) - answered[name]).max()) / max(float(np.abs(value).max()), 1e-30)
            for name, value in due.items()
        )
        return cls(sqnr_db=min(found.sqnr_db, _EQUAL_DB), largest_error=min(largest, _WORST))


def _without_the_same_oddities(due: Arrays, answered: Arrays) -> tuple[Arrays, Arrays]:
    """Zeros where both are the same infinity, or both no number: an untrained network may overflow everywhere alike."""
    same = {
        name: ~np.isfinite(value) & ((value == answered[name]) | (np.isnan(value) & np.isnan(answered[name])))
        for name, value in due.items()
        if value.dtype.kind == "f" and name in answered and value.shape == answered[name].shape
    }
    cleared = [
        {name: np.where(same[name], 0.0, value) if name in same else value for name, value in arrays.items()}
        for arrays in (due, answered)
    ]
    return cleared[0], cleared[1]


class BrowserInfo(Record):
    """What a file ran in, where that was a browser.

    Attributes:
        cross_origin_isolated: whether the page had threads and a fine clock.
        clock_step_ms: the smallest step of its clock.
        runs_per_sample: so many runs at least were timed together, and a sample is their mean: the clock's step is then
            about 1 % of them at most. Samples spread less than single runs do.
        memory_gb: the device's own, as the browser rounds it and cuts it off; None where it does not tell.
        heap_bytes: the WebAssembly memory of the runtime with all files loaded, most of it the runtime's own: it begins
            with room for small models and grows in steps, so it is no model's memory.
    """

    user_agent: str
    logical_cores: Annotated[int, Field(ge=1)]
    cross_origin_isolated: bool
    clock_step_ms: Annotated[float, Field(gt=0)]
    runs_per_sample: Annotated[int, Field(ge=1)]
    memory_gb: float | None = None
    heap_bytes: Annotated[int, Field(ge=0)] | None = None


class Prediction(Record):
    """What a latency table says in place of a measurement.

    Attributes:
        latency_ms: the predicted median.
        error: by which share 95 % of the predictions were off at most, on networks that the table had not seen.
        files: how many files of such networks that was told on.
        unknown: kinds of kernels that the table has not seen; they count as the slowest it knows, never as nothing.
    """

    latency_ms: Milliseconds
    error: Annotated[float, Field(ge=0)]
    files: Annotated[int, Field(ge=1)]
    unknown: tuple[str, ...] = ()


class Measurement(Record):
    """How long one signature of one file takes on one device, how sure that is, and what it needs.

    One sample is one run of the graph: inputs lie where the runtime reads them, outputs stay where it wrote them. What
    a language's binding adds is left out, as it differs between languages; Python's takes several microseconds a call.
    Only a browser cannot leave out what its runtime does around a run, in JavaScript.
    ``latency_ms`` is the percentile that was asked for (the median unless said otherwise), with its 95 % interval.

    Attributes:
        file: the file's name; ``sha256`` says which bytes were run.
        samples_ms: one tuple for each fresh process, in the order of time.
        ci95_ms: interval of ``latency_ms``, by bootstrap over processes, then samples.
        drift_first_to_last_third: 0.05: the last third of the samples was 5 % slower than the first.
        load_cold_ms: from a file that is not in the page cache (where the system lets it be dropped) to ready;
            the median over processes. The runtime itself is loaded before.
        load_warm_ms: the same a second time in the same process.
        first_run_ms: the first call after loading, which often sets things up.
        peak_memory_bytes: what loading and running added to the process, measured in a pass of its own; of a hosted
            phone the whole process's, as its service tells it.
        repeated_processes: processes that were thrown away and run again because the machine did not keep its pace.
        outputs: what the device answered beside this computer; None where they are the same machine or nobody looked.
        browser: which one, and how it told the time; None where there was none.
        prediction: where nothing was run but a latency table asked; then ``samples_ms`` are what it holds possible.
        job_url: where a service that ran it keeps its own account of that.
        verdict: only a valid measurement can meet or miss a limit; ``reasons`` says why it is not valid.
    """

    schema_version: Literal[1] = 1
    device: DeviceInfo
    runtime: RuntimeInfo
    path_kind: PathKind
    file: str
    sha256: str
    format: Format
    signature: str
    backend: Backend
    threads: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    samples_ms: SamplesMs
    percentile: Annotated[float, Field(gt=0, lt=100)]
    latency_ms: Milliseconds
    ci95_ms: tuple[Milliseconds, Milliseconds]
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    drift_first_to_last_third: float
    reference: Reference | None = None
    outputs: OutputCheck | None = None
    browser: BrowserInfo | None = None
    prediction: Prediction | None = None
    load_cold_ms: Milliseconds | None = None
    load_warm_ms: Milliseconds | None = None
    first_run_ms: Milliseconds | None = None
    peak_memory_bytes: Annotated[int, Field(ge=0)] | None = None
    repeated_processes: Annotated[int, Field(ge=0)] = 0
    job_url: str | None = None
    telemetry_before: Telemetry
    telemetry_after: Telemetry
    verdict: Verdict
    reasons: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.ci95_ms[0] > self.ci95_ms[1]:
            raise ValueError("ci95_ms must run from its lower to its upper end")
        if (self.verdict == "valid") == bool(self.reasons):
            raise ValueError("a verdict other than valid has reasons, and a valid one has none")
        if (self.verdict == "predicted") != (self.prediction is not None):
            raise ValueError("what is predicted has the verdict predicted, and nothing else has it")
        return self

    def meets(self, limit_ms: float) -> Meets:
        """Whether the latency keeps a limit: met, missed, or open because the interval reaches across it.

        A measurement that is not valid proves nothing and stays open.
        """
        return _meets(self.ci95_ms, limit_ms, self.verdict)

    def with_outputs(self, check: OutputCheck) -> Self:
        """The same, with the answers checked: where they are not this computer's, nothing of it counts."""
        if check.same:
            return self.model_copy(update={"outputs": check})
        wrong = f"its answers are not this computer's: {check.sqnr_db:.0f} dB, off by {check.largest_error:.0%} at most"
        return self.model_copy(update={"outputs": check, "verdict": "invalid", "reasons": (wrong, *self.reasons)})

    def to_json(self) -> str:
        """One JSON object, raw samples included."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Measurement:
        """Reads what ``to_json`` wrote, or what another device sent.

        Raises:
            InputError: it is no JSON, a field is missing, unknown or out of range, or the schema is another version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"This is no measurement of schema 1: {first_fault(error)}. Give what to_json wrote."
            ) from None


class LatencyPerUse(Record):
    """How long one use of a model with several signatures takes: each one's latency times its calls.

    Attributes:
        latency_ms: the sum.
        ci95_ms: its 95 % interval, the signatures resampled independently.
        verdict: the worst of the signatures'.
    """

    latency_ms: Milliseconds
    ci95_ms: tuple[Milliseconds, Milliseconds]
    verdict: Verdict

    def meets(self, limit_ms: float) -> Meets:
        """As ``Measurement.meets``."""
        return _meets(self.ci95_ms, limit_ms, self.verdict)


def latency_per_use(
    measurements: Mapping[str, Measurement], calls_per_use: Mapping[str, float] | None = None
) -> LatencyPerUse:
    """Adds up the signatures of a model as one use of the product calls them.

    Example:
        ``latency_per_use({"encode": ..., "step": ...}, {"encode": 1, "step": 12})`` for a translation of 12 words.

    Args:
        measurements: by signature.
        calls_per_use: by signature; what is not named is called once.

    Raises:
        InputError: nothing was measured, or a signature is named that was not.
    """
    calls = dict(calls_per_use or {})
    if unknown := sorted(set(calls) - set(measurements)):
        raise InputError(
            f"calls_per_use names {', '.join(unknown)}, but only {', '.join(sorted(measurements)) or 'nothing'} was"
            " measured; name signatures that were."
        )
    if not measurements:
        raise InputError("latency_per_use was given no measurement; give one for each signature.")
    total = 0.0
    replicates = None
    for seed, (signature, measurement) in enumerate(sorted(measurements.items())):
        count = calls.get(signature, 1.0)
        total += count * measurement.latency_ms
        drawn = count * _replicates(measurement, seed)
        replicates = drawn if replicates is None else replicates + drawn
    assert replicates is not None  # noqa: S101  # the loop ran at least once
    fewest = min(len(measurement.samples_ms) for measurement in measurements.values())
    verdicts = {measurement.verdict for measurement in measurements.values()}
    order: tuple[Verdict, ...] = ("invalid", "throttled", "predicted")
    worst: Verdict = next((verdict for verdict in order if verdict in verdicts), "valid")
    return LatencyPerUse(latency_ms=total, ci95_ms=interval(replicates, fewest), verdict=worst)


def _replicates(measurement: Measurement, seed: int) -> NDArray[np.float64]:
    """What the latency may as well be: by bootstrap, or of a prediction by what others were off."""
    if measurement.prediction is None:
        return bootstrap(measurement.samples_ms, measurement.percentile, seed=seed)
    return np.random.default_rng(seed).choice(np.array(measurement.samples_ms[0]), RESAMPLES)


def _meets(ci95_ms: tuple[float, float], limit_ms: float, verdict: Verdict) -> Meets:
    if verdict != "valid":
        return "open"
    if ci95_ms[1] <= limit_ms:
        return "met"
    return "missed" if ci95_ms[0] > limit_ms else "open"
