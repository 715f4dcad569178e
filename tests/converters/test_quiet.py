from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings

import pytest

from converters._quiet import quiet


def test_nothing_reaches_the_terminal_and_all_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as said:
        print("by print")
        sys.stderr.write("by stderr\n")
        os.write(2, b"by a descriptor\n")
        ctypes.CDLL(None).puts(b"by the C library")
        warnings.warn("an error under pytest", stacklevel=1)
        logging.getLogger("library").critical("by a logger")
        with quiet() as inner:
            os.write(1, b"further in\n")
    assert capfd.readouterr() == ("", "")
    for way in ("print", "stderr", "a descriptor", "the C library"):
        assert f"by {way}\n" in said.text
    assert inner.text == "further in\n"
    assert "further in" not in said.text


def test_everything_is_as_before_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    streams, level = (sys.stdout, sys.stderr), logging.root.manager.disable
    with pytest.raises(ZeroDivisionError), quiet():
        print(1 / 0)
    assert (sys.stdout, sys.stderr) == streams
    assert logging.root.manager.disable == level
    os.write(1, b"one")
    print("two")
    assert capfd.readouterr().out == "onetwo\n"
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
