"""Runs a parser in a process of its own, because a hostile file may crash it, stall it or eat all memory."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from converters._errors import MobileDistillError, ModelFileError

__all__ = ["Resident", "run_in_child"]

T = TypeVar("T")

_GRACE_S = 5.0  # a child whose parent is gone ends itself this long after its time


def run_in_child(
    function: Callable[..., T],
    *args: object,
    what: str = "The file",
    timeout_s: float = 120.0,
    memory_bytes: int = 8_000_000_000,
) -> T:
    """Calls ``function(*args)`` in a fresh process and returns what it returns; nothing reaches the terminal.

    The price is a second or two of imports, so it is for files from outside, not for those just written.

    Args:
        function: a function at the top level of an importable module; it, its arguments and its result are pickled.
        args: its arguments.
        what: what is being read, for the error message, for example ``"model.tflite"``.
        timeout_s: wall-clock limit in seconds, imports included.
        memory_bytes: limit on the address space (where the system knows such a limit).

    Raises:
        MobileDistillError: raised by the function; it arrives with its own class and message.
        ModelFileError: the child crashed, ran out of time or memory, or raised anything else.

    Example:
        >>> run_in_child(read_integers, Path("model.onnx"), what="model.onnx", timeout_s=20)  # doctest: +SKIP
    """
    request = pickle.dumps(_Limits(timeout_s, memory_bytes)) + pickle.dumps((function, args))
    with _python("_serve") as child:
        try:
            answer, _ = child.communicate(request, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ModelFileError(
                f"{what} could not be read within {timeout_s:g} s: it is damaged or too large; export it again."
            ) from None
        finally:
            _end(child)
    result: T = _unpack(answer, child.returncode, what, memory_bytes)
    return result


class Resident:
    """An object that lives in a fresh process and is called there, as often as one likes, until it is let go.

    The process starts with the first call, and ends with this object or its parent.

    Args:
        make: what makes the object: a function or class at the top level of an importable module.
        args: its arguments; they, and those of calls, are pickled, and so are the answers.
        what: what is being read, for the error message.
        timeout_s: wall-clock limit of each call in seconds, the first with all imports.
        memory_bytes: limit on the address space (where the system knows such a limit).
    """

    def __init__(
        self,
        make: Callable[..., object],
        *args: object,
        what: str = "The file",
        timeout_s: float = 900.0,
        memory_bytes: int = 16_000_000_000,
    ) -> None:
        self._first = pickle.dumps(_Limits(None, memory_bytes)) + pickle.dumps((make, args))
        self._what, self._timeout_s, self._memory_bytes = what, timeout_s, memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def call(self, method: str, *args: object) -> Any:
        """Calls a method of the object, and returns what it returns.

        Raises:
            MobileDistillError: raised by the object; it arrives with its own class and message.
            ModelFileError: the process crashed, ran out of time or memory, or raised anything else.
        """
        with self._lock:
            child = self._started()
            late = threading.Event()

            def stop() -> None:
                late.set()
                _end(child)

            watch = threading.Timer(self._timeout_s, stop)
            watch.start()
            try:
                return _unpack(
                    self._answer(child, pickle.dumps((method, args))), child.poll() or 0, self._what, self._memory_bytes
                )
            except ModelFileError:
                self.close()
                if late.is_set():
                    raise ModelFileError(
                        f"{self._what} gave no answer within {self._timeout_s:g} s: it is damaged or too slow."
                    ) from None
                raise
            finally:
                watch.cancel()

    def close(self) -> None:
        """Ends the process; the next call would start another one."""
        if self._child is not None:
            _end(self._child)
            for stream in (self._child.stdin, self._child.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            self._child = None

    def __del__(self) -> None:
        if getattr(self, "_child", None) is not None:
            self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = _python("_reside")
            self._send(self._child, self._first)
        return self._child

    def _answer(self, child: subprocess.Popen[bytes], request: bytes) -> bytes:
        try:
            self._send(child, request)
        except OSError:  # it has crashed
            return b""
        answers = cast(BinaryIO, child.stdout)
        length = answers.read(8)
        return answers.read(int.from_bytes(length, "little")) if len(length) == 8 else b""

    @staticmethod
    def _send(child: subprocess.Popen[bytes], request: bytes) -> None:
        requests = cast(BinaryIO, child.stdin)
        requests.write(request)
        requests.flush()


@dataclass(frozen=True)
class _Limits:
    timeout_s: float | None
    memory_bytes: int

    def impose(self) -> None:
        """On the calling process, as far as its system knows such limits."""
        with contextlib.suppress(ImportError):
            import resource

            self._lower(resource.RLIMIT_AS, self.memory_bytes)
            self._lower(resource.RLIMIT_CORE, 0)
        if self.timeout_s is not None and hasattr(signal, "alarm"):
            signal.alarm(math.ceil(self.timeout_s + _GRACE_S))

    @staticmethod
    def _lower(kind: int, value: int) -> None:
        import resource

        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Raised:
    """An error as its parts, since an exception with a constructor of its own does not survive pickling."""

    kind: type[MobileDistillError]
    message: str
    attributes: dict[str, Any]

    def error(self) -> MobileDistillError:
        error = self.kind.__new__(self.kind, self.message)
        error.__dict__.update(self.attributes)
        return error


@dataclass(frozen=True)
class _Broke:
    reason: str
    trace: str
    memory: bool


def _python(function: str) -> subprocess.Popen[bytes]:
    """A fresh process that runs one of the functions below."""
    search_path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from converters._child import {function}; {function}()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search_path},
        start_new_session=True,
    )


def _serve() -> None:
    """The child's side: the request comes on standard input, the answer goes where standard output was."""
    with _quiet_answers() as answers:
        pickle.load(sys.stdin.buffer).impose()

        def answer() -> Any:
            function, args = pickle.load(sys.stdin.buffer)
            return function(*args)

        answers.write(_packed(answer))


def _reside() -> None:
    """The side of a child that stays: first what to make, then calls, each answer with its length before it."""
    with _quiet_answers() as answers:
        pickle.load(sys.stdin.buffer).impose()
        make, args = pickle.load(sys.stdin.buffer)
        made: list[Any] = []

        def answer(method: str, args: tuple[object, ...]) -> Any:
            if not made:
                made.append(make(*first))
            found = getattr(made[0], method)
            return found(*args) if callable(found) else found

        first = args
        with contextlib.suppress(EOFError):  # the parent has let go
            while True:
                call = pickle.load(sys.stdin.buffer)
                packed = _packed(functools.partial(answer, *call))
                answers.write(len(packed).to_bytes(8, "little") + packed)
                answers.flush()


def _quiet_answers() -> BinaryIO:
    """Where standard output was; the two streams of that name lead nowhere from now on."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _packed(compute: Callable[[], Any]) -> bytes:
    """What a computation came to, whether it went well or not."""
    try:
        return pickle.dumps(_Returned(compute()))
    except MobileDistillError as error:
        return pickle.dumps(_Raised(type(error), str(error), error.__dict__))
    except Exception as error:
        message = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {message[0][:300]}" if message else type(error).__name__
        return pickle.dumps(_Broke(reason, traceback.format_exc(), memory=isinstance(error, MemoryError)))


def _unpack(packed: bytes, exit_code: int, what: str, memory_bytes: int) -> Any:
    try:
        answer = pickle.loads(packed)
    except (EOFError, pickle.UnpicklingError):
        raise ModelFileError(
            f"{what} crashed its parser ({_cause(exit_code)}): it is damaged or not what its name says;"
            " export it again."
        ) from None
    if isinstance(answer, _Returned):
        return answer.value
    if isinstance(answer, _Raised):
        raise answer.error()
    if answer.memory:
        raise ModelFileError(
            f"{what} needs more than {memory_bytes / 1e9:g} GB of memory to be read: it is damaged or too large;"
            " export it again."
        )
    raise ModelFileError(
        f"{what} cannot be read ({answer.reason}): it is damaged or foreign; export it again."
    ) from RuntimeError(answer.trace)


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends what is still running, grandchildren included."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    else:  # pragma: no cover - Windows
        child.kill()
    child.wait()
