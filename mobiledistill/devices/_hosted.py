"""A phone in Qualcomm's data centre: the model is sent there, run, timed, and its answers come back."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters import DeviceError, Format, InputError
from mobiledistill.devices._aihub import PREPARE, answer
from mobiledistill.devices._base import Inputs, InputsBySignature, Subject
from mobiledistill.devices._gates import Gate
from mobiledistill.devices._host import Answers, Host, answers
from mobiledistill.devices._measurement import (
    Backend,
    DeviceInfo,
    Measurement,
    OutputCheck,
    RuntimeInfo,
    Telemetry,
)
from mobiledistill.devices._record import first_fault
from mobiledistill.devices._runs import RUNTIMES, one_signature
from mobiledistill.devices._statistics import drift, percentile_interval
from mobiledistill.devices._statistics import percentile as percentile_of

__all__ = ["ComputeUnit", "Hosted", "hosted_gates"]

ComputeUnit = Literal["all", "npu", "gpu", "cpu"]

_POLL_S = 10.0
_LARGEST_DRIFT = 0.10


class Hosted:
    """Measures .tflite and .onnx files on a phone that Qualcomm AI Hub hosts, NPU and GPU included.

    What you gain: real milliseconds of phones that you do not have, on every unit they compute with. What you give:
    **the model and its inputs leave this computer**, for a service of Qualcomm under your account, so nothing is sent
    before ``upload=True`` says so. What you do not get: a phone that is yours alone, its temperature, or a second
    process; a measurement is one job, and its interval knows only how samples within it differ.

    Args:
        phone: as the service spells it, for example ``"Samsung Galaxy S23"``.
        upload: whether models may be sent.
        compute_unit: where it may run; ``"all"`` prefers the NPU, then the GPU. What it obtained stands in
            ``Measurement.backend``.
        wait_s: how long a job may take, its time in the queue included.
    """

    formats: Final[tuple[Format, ...]] = ("tflite", "onnx")

    def __init__(
        self, phone: str, *, upload: bool = False, compute_unit: ComputeUnit = "all", wait_s: float = 3600.0
    ) -> None:
        if not phone:
            raise InputError('A hosted phone needs a name, for example "aihub:Samsung Galaxy S23".')
        if compute_unit not in get_args(ComputeUnit):
            raise InputError(
                f"compute_unit must be one of {', '.join(get_args(ComputeUnit))}, but got {compute_unit!r}."
            )
        self._phone, self._upload, self._unit, self._wait_s = phone, upload, compute_unit, wait_s

    @property
    def name(self) -> str:
        """As ``devices.open`` takes it."""
        return f"aihub:{self._phone}"

    def signatures(self, path: Path, fmt: Format) -> tuple[str, ...]:
        """As ``Host.signatures``: a file's names are the same everywhere."""
        return Host().signatures(path, fmt)

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
        """Measures one file in one job of the service; see ``Host.measure``.

        ``processes``, ``max_processes`` and ``limit_ms`` change nothing: a job is one process. ``threads`` must be 1,
        since the service chooses how many its runtime takes.

        Raises:
            InputError: models may not be sent, there is no such file, or an argument does not fit.
            ModelFileError: the file is damaged or no such model.
            DeviceError: there is no client, token or phone of that name; the job failed; or the service says no.
        """
        if fmt not in self.formats:
            return None
        if threads != 1:
            raise InputError(f"threads is {threads}, but Qualcomm AI Hub chooses how many it takes; leave it at 1.")
        signature, own = one_signature(inputs, signature)
        subject = Subject(Path(path), fmt, own, signature)
        if not self._upload:
            raise InputError(
                f"{subject.file} would be sent to Qualcomm AI Hub, and nothing leaves this computer unasked: say"
                f" --upload, or devices.open({self.name!r}, upload=True)."
            )
        self._refuse_many(subject)
        (expected,) = answers([subject])
        reply, answered = self._job(subject, expected, samples)
        return _checked(_measurement(subject, expected, reply, percentile, self._unit), expected, answered)

    def examine(self) -> list[Gate]:
        """Whether the client, the token and the phone are there; nothing is sent."""
        return hosted_gates(self._phone)

    def _refuse_many(self, subject: Subject) -> None:
        if subject.fmt == "tflite" and len(found := self.signatures(subject.file, "tflite")) > 1:
            raise DeviceError(
                f"{subject.file} has the signatures {', '.join(found)}, and hosted phones run one a file; export each"
                " to a file of its own."
            )

    def _job(self, subject: Subject, expected: Answers, samples: int) -> tuple[_Reply, dict[str, NDArray[Any]]]:
        with tempfile.TemporaryDirectory(prefix="mobiledistill-") as folder:
            given, got = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
            np.savez(given, *expected.inputs.values())
            request = {
                "mode": "measure",
                "model": str(subject.file.resolve()),
                "name": subject.file.name,
                "device": self._phone,
                "inputs": {"path": str(given), "names": list(expected.inputs)},
                "outputs": str(got),
                "options": "" if self._unit == "all" else f"--compute_unit {self._unit}",
                "profiling_options": f"--max_profiler_iterations {samples}",
                "wait_s": self._wait_s,
                "poll_s": _POLL_S,
            }
            said = answer(request, what=subject.file.name, wait_s=self._wait_s)
            try:
                reply = _Reply.model_validate(said)
            except ValidationError as error:
                raise DeviceError(
                    f"Qualcomm AI Hub told no times of {subject.file.name} ({first_fault(error)}); look at"
                    f" {said.get('job_url')}."
                ) from None
            with np.load(got, allow_pickle=False) as archive:
                arrays = [archive[f"arr_{index}"] for index in range(len(reply.outputs))]
        return reply, dict(zip(reply.outputs, arrays, strict=True))


def hosted_gates(phone: str | None = None) -> list[Gate]:
    """Whether hosted phones can be used: the client, the token, and a phone where one is named."""
    try:
        said = answer({"mode": "devices"})
    except DeviceError as error:
        return [Gate("Qualcomm AI Hub", "not to be used", False, str(error))]
    names = sorted({str(one["name"]) for one in said["devices"]})
    found = [
        Gate("client", f"qai-hub {said['version']}", True, PREPARE),
        Gate("token", "accepted", True, ""),
    ]
    if phone is not None:
        advice = f"choose one of {', '.join(names) or 'none: your account sees no phone'}"
        found.append(Gate("phone", phone if phone in names else f"no {phone}", phone in names, advice))
    return found


# -- what the service says ----------------------------------------------------------------------------------------


class _Said(BaseModel):
    """What comes from the service: it may say more than is asked for, and leave out what it does not know."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Summary(_Said):
    """Times in microseconds, memory in bytes; 0 stands for unknown."""

    estimated_inference_time: float = Field(gt=0)
    all_inference_times: tuple[float, ...] | None = None
    first_load_time: float | None = None
    warm_load_time: float | None = None
    estimated_inference_peak_memory: int | None = None


class _Layer(_Said):
    compute_unit: str = "UNSPECIFIED"


class _Profile(_Said):
    execution_summary: _Summary
    execution_detail: tuple[_Layer, ...] = ()


class _Phone(_Said):
    name: str
    os: str = ""
    attributes: tuple[str, ...] = ()


class _Reply(_Said):
    job_url: str
    hub_version: str | None = None
    device: _Phone
    profile: _Profile
    outputs: tuple[str, ...] = ()


def _measurement(
    subject: Subject, expected: Answers, reply: _Reply, percentile: float, unit: ComputeUnit
) -> Measurement:
    summary = reply.profile.execution_summary
    samples_ms = (tuple(us / 1000 for us in summary.all_inference_times or (summary.estimated_inference_time,)),)
    reasons = _reasons(samples_ms, bool(summary.all_inference_times))
    first = next(iter(expected.inputs.values()), None)
    return Measurement(
        device=_device(reply.device),
        runtime=RuntimeInfo(name=f"{RUNTIMES[subject.fmt]} at Qualcomm AI Hub", version=reply.hub_version or "unknown"),
        path_kind="cloud",
        file=subject.file.name,
        sha256=sha256(subject.file.read_bytes()).hexdigest(),
        format=subject.fmt,
        signature=expected.signature,
        backend=Backend(asked=unit, obtained=_units(reply.profile)),
        threads=1,
        batch=max(1, first.shape[0]) if first is not None and first.ndim else 1,
        samples_ms=samples_ms,
        percentile=percentile,
        latency_ms=percentile_of(samples_ms, percentile),
        ci95_ms=percentile_interval(samples_ms, percentile),
        p50_ms=percentile_of(samples_ms, 50),
        p90_ms=percentile_of(samples_ms, 90),
        drift_first_to_last_third=drift(samples_ms),
        load_cold_ms=_ms(summary.first_load_time),
        load_warm_ms=_ms(summary.warm_load_time),
        peak_memory_bytes=summary.estimated_inference_peak_memory or None,
        job_url=reply.job_url,
        telemetry_before=Telemetry(),
        telemetry_after=Telemetry(),
        verdict="invalid" if reasons else "valid",
        reasons=reasons,
    )


def _reasons(samples_ms: tuple[tuple[float, ...], ...], sampled: bool) -> tuple[str, ...]:
    if not sampled:
        return ("the service told one time and no samples",)
    if abs(drifted := drift(samples_ms)) > _LARGEST_DRIFT:
        return (f"its times drifted by {drifted:+.0%} from the first to the last third",)
    return ()


def _checked(found: Measurement, expected: Answers, answered: Mapping[str, NDArray[Any]]) -> Measurement:
    """With the answers held against this computer's, where the service gave any.

    The service may call outputs by other names than the file's signature, but keeps their order.
    """
    if not answered:
        return found
    if set(answered) != set(expected.outputs) and len(answered) == len(expected.outputs):
        answered = dict(zip(expected.outputs, answered.values(), strict=True))
    try:
        return found.with_outputs(OutputCheck.of(expected.outputs, answered))
    except InputError as error:
        unlike = f"its answers are not this computer's: {error}"
        return found.model_copy(update={"verdict": "invalid", "reasons": (unlike, *found.reasons)})


def _device(phone: _Phone) -> DeviceInfo:
    told = dict(attribute.partition(":")[::2] for attribute in phone.attributes)
    system = {"android": "Android", "ios": "iOS"}.get(told.get("os", ""), told.get("os", ""))
    return DeviceInfo(name=phone.name, os=f"{system} {phone.os}".strip(), cpu=told.get("chipset", "unknown"))


def _units(profile: _Profile) -> str:
    """How many of the model's layers ran where: "NPU 61, CPU 2"."""
    counted = Counter(layer.compute_unit for layer in profile.execution_detail)
    return ", ".join(f"{unit} {count}" for unit, count in counted.most_common()) or "unknown"


def _ms(microseconds: float | None) -> float | None:
    return microseconds / 1000 if microseconds else None
