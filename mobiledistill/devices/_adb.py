"""A phone's shell and files, through the real ``adb``.

Every call has a time limit, every word is quoted for the phone's shell, and whatever goes wrong ends in one line that
says what to do about it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters import DeviceError

__all__ = ["Adb", "Answer", "Connected", "connected", "status"]

_SHORT_S = 30.0
_BYTES_PER_S = 500_000  # what a bad cable carries
_NO_ADB = (
    "adb was not found. Install Android's platform tools (Debian: apt install adb; else"
    " https://developer.android.com/tools/releases/platform-tools), or name the program in the variable ADB."
)


@dataclass(frozen=True)
class Connected:
    """A phone that adb knows of; ``state`` is "device" where it can be used."""

    serial: str
    state: str
    model: str


@dataclass(frozen=True)
class Answer:
    """How a command on the phone ended."""

    code: int
    out: str
    err: str


def connected() -> list[Connected]:
    """What adb knows of.

    Raises:
        DeviceError: there is no adb, or it does not answer.
    """
    answer = _run([_program(), "devices", "-l"], _SHORT_S, "adb devices")
    if answer.code:
        raise DeviceError(f"adb does not list its phones: {_last_line(answer)}. Try adb kill-server.")
    found = []
    for line in answer.out.splitlines():
        # "no permissions (user in plugdev group; are your udev rules wrong?)" stands where one word does elsewhere
        match = re.match(r"(\S+)\s+(device|unauthorized|offline|recovery|sideload|bootloader|no permissions)\b", line)
        if match is not None:
            model = re.search(r"\bmodel:(\S+)", line)
            found.append(Connected(match[1], match[2], model[1] if model else ""))
    return found


class Adb:
    """One phone.

    Args:
        serial: as ``adb devices`` prints it.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def shell(self, *words: str, timeout_s: float = _SHORT_S, check: bool = True) -> Answer:
        """Runs one command, its words taken as they are.

        Raises:
            DeviceError: the phone does not answer in time, or went away; or the command failed and ``check`` is set.
        """
        return self.script(shlex.join(words), words[0], timeout_s=timeout_s, check=check)

    def script(self, text: str, what: str, *, timeout_s: float = _SHORT_S, check: bool = True) -> Answer:
        """Runs a line of the phone's shell, which its caller has quoted and calls ``what``; otherwise as ``shell``."""
        answer = self._adb(["shell", "-T", text], timeout_s, what)
        if check and answer.code:
            raise DeviceError(f"{self.serial}: {what} ended with {status(answer.code)}: {_last_line(answer)}.")
        return answer

    def push(self, local: Path, remote: str) -> None:
        """Copies a file to the phone.

        Raises:
            DeviceError: it has no room, it went away, or the cable is slower than 0.5 MB/s.
        """
        timeout_s = _SHORT_S + local.stat().st_size / _BYTES_PER_S
        answer = self._adb(["push", str(local), remote], timeout_s, f"copying {local.name}")
        if answer.code:
            if "No space left" in answer.out + answer.err:
                raise DeviceError(f"{self.serial} has no room for {local.name}; free some storage on the phone.")
            self._adb(["get-state"], _SHORT_S, "looking for the phone")  # where it is gone, that is what to say
            raise DeviceError(f"{self.serial} did not take {local.name}: {_last_line(answer)}.")

    def install(self, apk: Path) -> None:
        """Installs an app, or its other version in place of the one that is there.

        Raises:
            DeviceError: the phone refuses it; the message says what to do.
        """
        timeout_s = 4 * _SHORT_S + apk.stat().st_size / _BYTES_PER_S
        answer = self._adb(["install", "-r", str(apk)], timeout_s, f"installing {apk.name}")
        said = answer.out + answer.err
        if answer.code or "Success" not in answer.out:
            advice = next((advice for sign, advice in _REFUSALS if sign in said), "see what adb install says by hand")
            raise DeviceError(f"{self.serial} does not install {apk.name} ({_last_line(answer)}): {advice}.")

    def pull(self, remote: str, local: Path, *, missing_ok: bool = False) -> bool:
        """Copies a file from the phone; ``local`` appears whole or not at all. Whether there was one.

        Raises:
            DeviceError: there is no such file, or the phone went away.
        """
        aside = local.with_name(f".{local.name}.partial")
        try:
            answer = self._adb(["pull", remote, str(aside)], 10 * _SHORT_S, f"copying {local.name}")
            if not answer.code:
                aside.replace(local)
                return True
            if missing_ok and "No such file" in answer.out + answer.err:
                return False
            self._adb(["get-state"], _SHORT_S, "looking for the phone")
            raise DeviceError(f"{self.serial} did not give {Path(remote).name}: {_last_line(answer)}.")
        finally:
            aside.unlink(missing_ok=True)

    def _adb(self, words: Sequence[str], timeout_s: float, what: str) -> Answer:
        answer = _run([_program(), "-s", self.serial, *words], timeout_s, f"{what} on {self.serial}")
        if answer.code and (why := _went_away(answer.err + answer.out)):
            raise DeviceError(f"{self.serial} {why}")
        return answer


def _program() -> str:
    program = os.environ.get("ADB") or shutil.which("adb")
    if program is None:
        raise DeviceError(_NO_ADB)
    return program


def _run(words: Sequence[str], timeout_s: float, what: str) -> Answer:
    try:
        ran = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError:
        raise DeviceError(_NO_ADB) from None
    except OSError as error:
        raise DeviceError(f"{words[0]} cannot be started ({error.strerror}); set ADB to a working adb.") from None
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"{what} did not end within {timeout_s:.0f} s. Unlock the phone, check the cable and run it again."
        ) from None
    return Answer(ran.returncode, ran.stdout, ran.stderr)


_REFUSALS = (
    ("UPDATE_INCOMPATIBLE", "one signed with another key is there; uninstall it first"),
    ("VERSION_DOWNGRADE", "a newer version is there; uninstall it first"),
    ("USER_RESTRICTED", "allow installing over USB in the phone's developer options"),
    ("INSUFFICIENT_STORAGE", "free some storage on the phone"),
    ("OLDER_SDK", "the phone's Android is older than the app is built for"),
    ("NO_MATCHING_ABIS", "build it for this phone's processor"),
    ("PARSE_FAILED", "give an APK that is whole and signed"),
)
_IN_THE_MIDDLE = (
    "error: closed", "connection reset", "no response", "protocol fault", "still connecting", "failed to read",
    "onnection refused", "onnect refused", "EOF", "roken pipe",
)  # fmt: skip
_AWAY = (
    (r"unauthorized|still authorizing", "does not allow this computer yet: unlock it and answer its question."),
    (r"device '[^']*' not found|no devices/emulators found", "is not connected: check the cable and USB debugging."),
    (r"device offline", "is offline: unplug it, plug it in again, and unlock it."),
    ("|".join(_IN_THE_MIDDLE), "went away in the middle: check the cable and run it again."),
)


def _went_away(said: str) -> str | None:
    """Why adb did not reach the phone; None where the phone answered."""
    about_adb = "\n".join(line for line in said.splitlines() if line.startswith(("error:", "adb:", "* ")))
    return next((why for pattern, why in _AWAY if re.search(pattern, about_adb)), None)


def status(code: int) -> str:
    """An exit status of the phone's shell, in words."""
    if code == 137:
        return "status 137 (the phone ended it, most often for want of memory)"
    if code == 132:
        return "status 132 (SIGILL: this processor lacks an instruction that it was built for)"
    return f"status {code}"


def _last_line(answer: Answer) -> str:
    lines = [line.strip() for line in (answer.err + "\n" + answer.out).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else "it said nothing"
