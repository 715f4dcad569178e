from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from converters._child import Resident, run_in_child
from converters._errors import MissingExtraError, ModelFileError


def doubled(numbers: list[int]) -> list[int]:
    print("a parser's progress")
    os.write(2, b"a parser's complaint")
    return [2 * number for number in numbers]


def refuse(path: Path) -> None:
    error = MissingExtraError(str(path), "onnx")  # its constructor takes other arguments than its message
    error.add_note("and more")
    raise error


def crash(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def leave() -> None:
    os._exit(7)


def sleep(seconds: float, note: Path) -> None:
    note.write_text(str(os.getpid()))
    time.sleep(seconds)


def fill(count: int) -> int:
    return len(bytearray(count))


def fail() -> None:
    raise ValueError("magic number 0x7f\nis wrong")


def test_a_result_comes_back_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_in_child(doubled, [1, 2, 3]) == [2, 4, 6]
    assert capfd.readouterr() == ("", "")


def test_our_errors_arrive_as_they_were_raised() -> None:
    with pytest.raises(MissingExtraError) as caught:
        run_in_child(refuse, Path("a/library"))
    assert str(caught.value) == str(MissingExtraError("a/library", "onnx"))
    assert caught.value.__notes__ == ["and more"]


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (crash, (signal.SIGSEGV,), r"^m\.tflite crashed its parser \(SIGSEGV\): .* export it again\.$"),
        (leave, (), r"^m\.tflite crashed its parser \(exit code 7\)"),
        (fail, (), r"^m\.tflite cannot be read \(ValueError: magic number 0x7f\): .*\.$"),
    ],
)
def test_a_parser_that_breaks_is_one_clear_line(function: object, args: tuple[object, ...], message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        run_in_child(function, *args, what="m.tflite")  # type: ignore[arg-type]  # the table holds functions
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce a limit on the address space")
def test_a_parser_that_eats_memory_is_stopped() -> None:
    assert run_in_child(fill, 10_000_000, memory_bytes=6_000_000_000) == 10_000_000
    with pytest.raises(ModelFileError, match=r"^m\.onnx needs more than 6 GB of memory"):
        run_in_child(fill, 6_000_000_000, what="m.onnx", memory_bytes=6_000_000_000)


def test_a_parser_that_stalls_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(ModelFileError, match=r"^m\.onnx could not be read within 6 s"):
        run_in_child(sleep, 600, note, what="m.onnx", timeout_s=6)
    assert time.monotonic() - started < 30
    if note.exists():  # on a machine too busy to import anything in 6 s, there is nothing left to look for
        with pytest.raises(ProcessLookupError):
            os.kill(int(note.read_text()), 0)


class Counter:
    """Lives in a process of its own and counts."""

    def __init__(self, start: int) -> None:
        self.count = start

    def add(self, number: int) -> int:
        print("chatter")
        self.count += number
        return self.count

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def refuse(self) -> None:
        raise MissingExtraError("nothing", "onnx")

    def stall(self) -> None:
        time.sleep(60)


def test_a_resident_keeps_what_it_is_between_calls(capfd: pytest.CaptureFixture[str]) -> None:
    resident = Resident(Counter, 5)
    assert [resident.call("add", 2), resident.call("add", 3), resident.call("count")] == [7, 10, 10]
    with pytest.raises(MissingExtraError, match="mobiledistill\\[onnx\\]"):
        resident.call("refuse")
    assert resident.call("count") == 10  # an error of ours ends nothing
    resident.close()
    assert resident.call("add", 1) == 6  # another process, from the start
    resident.close()
    assert capfd.readouterr() == ("", "")


def test_a_resident_that_crashes_or_stalls_is_one_clear_line() -> None:
    resident = Resident(Counter, 0, what="model.bin", timeout_s=3.0)
    assert resident.call("add", 1) == 1
    with pytest.raises(ModelFileError, match=r"model\.bin crashed its parser"):
        resident.call("crash")
    with pytest.raises(ModelFileError, match=r"model\.bin gave no answer within 3 s"):
        resident.call("stall")


def test_a_resident_ends_with_its_owner() -> None:
    resident = Resident(Counter, 0)
    assert resident.call("add", 1) == 1
    child = resident._child
    assert child is not None
    del resident
    assert child.poll() is not None
