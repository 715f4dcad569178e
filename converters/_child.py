"""Runs a parser in a process of its own, because a hostile file may crash it, stall it or eat all memory."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from converters._errors import MobileDistillError, ModelFileError

__all__ = ["run_in_child"]

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
    search_path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", "from converters._child import _serve; _serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search_path},
        start_new_session=True,
    ) as child:
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


@dataclass(frozen=True)
class _Limits:
    timeout_s: float
    memory_bytes: int

    def impose(self) -> None:
        """On the calling process, as far as its system knows such limits."""
        with contextlib.suppress(ImportError):
            import resource

            self._lower(resource.RLIMIT_AS, self.memory_bytes)
            self._lower(resource.RLIMIT_CORE, 0)
        if hasattr(signal, "alarm"):
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


def _serve() -> None:
    """The child's side: the request comes on standard input, the answer goes where standard output was."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    pickle.load(sys.stdin.buffer).impose()
    answer: _Returned | _Raised | _Broke
    try:
        function, args = pickle.load(sys.stdin.buffer)
        packed = pickle.dumps(_Returned(function(*args)))
    except MobileDistillError as error:
        packed = pickle.dumps(_Raised(type(error), str(error), error.__dict__))
    except Exception as error:
        message = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {message[0][:300]}" if message else type(error).__name__
        answer = _Broke(reason, traceback.format_exc(), memory=isinstance(error, MemoryError))
        packed = pickle.dumps(answer)
    with answers:
        answers.write(packed)


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
