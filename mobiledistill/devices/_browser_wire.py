"""What a page in a browser is asked for, and what it may answer; browser/src/wire.ts is the other end."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from converters import Format
from mobiledistill.devices._record import Record

__all__ = ["MESSAGE", "BrowserBackend", "Failed", "Finished", "Message", "Phase", "Result", "Timed", "Work"]

BrowserBackend = Literal["wasm", "webgpu"]

_Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
_Nanoseconds = Annotated[float, Field(ge=0, le=1e15)]
_Count = Annotated[int, Field(ge=0, le=1_000_000)]
_Percent = Annotated[int, Field(ge=0, le=100)]


class Work(Record):
    """One run in a fresh worker: files in turns with the reference.

    Attributes:
        largest_clock_share: the clock's step, as a share of a sample, that may not be exceeded.
    """

    job: int
    format: Format
    signatures: tuple[str, ...]
    backend: BrowserBackend
    threads: int
    samples: int
    block: int
    largest_clock_share: float


class Timed(Record):
    """What was measured of one file; a sample is the mean of several runs that were timed together."""

    samples_ns: Annotated[tuple[_Nanoseconds, ...], Field(min_length=1, max_length=100_000)]
    runs_per_sample: Annotated[int, Field(ge=1, le=10_000)]
    load_cold_ms: _Milliseconds
    load_warm_ms: _Milliseconds
    first_run_ms: _Milliseconds


class TimedFile(Timed):
    """The same of a file that was asked about."""

    signature: Annotated[str, Field(max_length=1000)]
    backend: Annotated[str, Field(max_length=100)]


class Page(Record):
    """What the browser says about itself; None for what it does not tell.

    Attributes:
        memory_gb: the device's, rounded and cut off by the browser.
        heap_bytes: of the runtime's WebAssembly, with all files loaded.
        hidden_runs: runs that were thrown away, since the page was hidden in them.
        battery_percent: before and after.
    """

    user_agent: Annotated[str, Field(max_length=400)]
    platform: Annotated[str, Field(max_length=100)]
    logical_cores: Annotated[int, Field(ge=1, le=4096)]
    cross_origin_isolated: bool
    clock_step_ms: Annotated[float, Field(gt=0, le=1000)]
    memory_gb: Annotated[float, Field(gt=0, le=1e6)] | None
    heap_bytes: Annotated[int, Field(ge=0, le=2**40)]
    hidden_runs: _Count
    battery_percent: tuple[_Percent | None, _Percent | None]


class Result(Record):
    """All of a run, but for the outputs, which come by themselves."""

    files: Annotated[tuple[TimedFile, ...], Field(min_length=1, max_length=1000)]
    reference: Timed
    page: Page


class Failure(Record):
    """What went wrong, in one line; ``backend``: the browser does not have the one that was asked for."""

    kind: Literal["failure", "backend"]
    message: Annotated[str, Field(max_length=300)]


class Phase(Record):
    """How far it came; ``hidden``: the page waits until it is in front again."""

    phase: Literal["start", "load", "inputs", "run", "hidden"]
    done: _Count | None = None
    of: _Count | None = None


class Failed(Record):
    """It ended without a result."""

    error: Failure


class Finished(Record):
    """It ended with one."""

    result: Result


Message = Phase | Failed | Finished
MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)
