"""A stay on a phone: what is copied, what is changed and put back, and what is asked of it meanwhile."""

from __future__ import annotations

import hashlib
import shlex
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from converters import DeviceError
from mobiledistill.devices._adb import Adb
from mobiledistill.devices._android_state import (
    Battery,
    Thermal,
    battery,
    cores,
    fastest,
    is_awake,
    properties,
    status_name,
    thermal,
)
from mobiledistill.devices._gates import phone_gates
from mobiledistill.devices._measurement import DeviceInfo, Telemetry

__all__ = ["ROOT", "Visit", "abis", "put_back"]

ROOT = "/data/local/tmp/mobiledistill"
_COOL_DOWN_S = 300.0
_POLL_S = 5.0
_WARMER_C = 2.0


class Visit:
    """What is on the phone for the time of a measurement; everything but copied programs is put back at its end.

    The command that puts settings back lies on the phone before they are changed, so that the next visit can do it
    where a cable was pulled.
    """

    def __init__(self, adb: Adb) -> None:
        self.adb = adb
        self.folder = f"{ROOT}/run-{uuid.uuid4().hex[:12]}"
        self.start: Thermal = Thermal(None, None)

    def __enter__(self) -> Visit:
        put_back(self.adb)
        self.adb.shell("mkdir", "-p", f"{ROOT}/files", self.folder)
        try:
            self._refuse_unready()
            self._keep_awake()
            self.start = self.cool()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(DeviceError):  # it went away: the next visit puts back what is left
            put_back(self.adb)

    def lay(self, local: Path) -> str:
        """Where a program lies on the phone; it is copied where its like is not there yet."""
        digest = hashlib.sha256(local.read_bytes()).hexdigest()
        remote = f"{ROOT}/files/{digest[:24]}/{local.name}"
        there = self.adb.shell("sha256sum", remote, check=False)
        if there.code or not there.out.startswith(digest):
            self.adb.shell("mkdir", "-p", remote.rpartition("/")[0])
            self.adb.push(local, remote)
            self.adb.shell("chmod", "755", remote)
        return remote

    def cool(self) -> Thermal:
        """Waits until the phone is no warmer than at first and not slowed down.

        Raises:
            DeviceError: it stays warm.
        """
        until = time.monotonic() + _COOL_DOWN_S
        while True:
            now = thermal(self.adb.shell("dumpsys", "thermalservice", check=False).out)
            warmer = now.hottest_c is not None and now.hottest_c > (self.start.hottest_c or 1e9) + _WARMER_C
            if not now.status and not warmer:
                return now
            if time.monotonic() > until:
                told = f"thermal status {status_name(now.status)}" if now.status else f"{now.hottest_c} degrees"
                raise DeviceError(
                    f"{self.adb.serial} stays warm ({told}) after {_COOL_DOWN_S / 60:.0f} minutes; take its case off,"
                    " let it cool and run it again."
                )
            time.sleep(_POLL_S)

    def fastest(self, threads: int) -> tuple[int, ...]:
        """The cores to run on; none where the phone does not tell."""
        listed = self.adb.script(
            "for c in /sys/devices/system/cpu/cpu[0-9]*; do"
            ' echo "${c##*cpu} $(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done',
            "listing cores",
        )
        return fastest(cores(listed.out), threads)

    def described(self, pinned: Sequence[int]) -> DeviceInfo:
        """The phone, and the cores that are measured on."""
        said = properties(self.adb.shell("getprop").out)
        products = ("product.manufacturer", "product.model", "soc.manufacturer", "soc.model")
        names = (*products, "build.version.release", "build.fingerprint")
        maker, model, soc_maker, soc, release, fingerprint = (said.get(f"ro.{name}", "") for name in names)
        on = ",".join(str(core) for core in pinned)
        return DeviceInfo(
            name=f"{maker} {model}".strip() or self.adb.serial,
            os=f"Android {release} ({fingerprint})",
            cpu=f"{soc_maker} {soc}".strip() + (f", cores {on}" if on else ""),
        )

    def telemetry(self, pinned: Sequence[int]) -> Telemetry:
        """The phone's state now, with the clock of the last of these cores."""
        adb, core = self.adb, (tuple(pinned) or (0,))[-1]
        warm: Thermal = thermal(adb.shell("dumpsys", "thermalservice", check=False).out)
        charge: Battery = battery(adb.shell("dumpsys", "battery", check=False).out)
        clock = f"/sys/devices/system/cpu/cpu{core}/cpufreq"
        khz = adb.shell("cat", f"{clock}/scaling_cur_freq", check=False).out.strip()
        return Telemetry(
            cpu_mhz=int(khz) / 1000 if khz.isdigit() else None,
            governor=adb.shell("cat", f"{clock}/scaling_governor", check=False).out.strip() or None,
            temperature_c=warm.hottest_c,
            thermal_status=warm.status,
            battery_percent=charge.level_percent,
            battery_c=charge.temperature_c,
        )

    def _refuse_unready(self) -> None:
        for gate in phone_gates(self.adb):
            if not gate.passed and not gate.waits:
                raise DeviceError(f"{self.adb.serial} is not ready: {gate.name} {gate.seen}; {gate.advice}.")

    def _keep_awake(self) -> None:
        before = self.adb.shell("settings", "get", "global", "stay_on_while_plugged_in").out.strip()
        awake = is_awake(self.adb.shell("dumpsys", "power").out)
        back = [f"settings put global stay_on_while_plugged_in {before if before.isdigit() else 0}"]
        back += ["input keyevent KEYCODE_SLEEP"] if awake is False else []
        text = "; ".join(back)
        self.adb.script(f"echo {shlex.quote(text)} > {ROOT}/put-back.sh", "noting what to put back")
        self.adb.shell("svc", "power", "stayon", "true")
        if awake is False:
            self.adb.shell("input", "keyevent", "KEYCODE_WAKEUP")


def abis(adb: Adb) -> list[str]:
    """The kinds of programs that the phone runs, the best first."""
    return adb.shell("getprop", "ro.product.cpu.abilist").out.strip().split(",")


def put_back(adb: Adb) -> None:
    """Puts settings back that a visit changed, and removes its folders; programs and models stay."""
    there = f"{ROOT}/put-back.sh"
    adb.script(f"if [ -f {there} ]; then sh {there}; rm -f {there}; fi; rm -rf {ROOT}/run-*", "putting things back")
