"""Programs for phones, emulated processors, and phones that the real adb is connected to."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mobiledistill.devices
from mobiledistill.devices import Programs, prepare
from tests.devices.phone._daemon import Phone

__all__ = [
    "ARM_GCC",
    "adb_server",
    "app_core",
    "arm_wheels",
    "connect",
    "harness",
    "libraries",
    "needs",
    "phone",
    "plugged_in",
    "programs",
    "qemu",
]

APP = Path(__file__).parents[3] / "demo_apps" / "android"
NATIVE = Path(mobiledistill.devices.__file__).parent / "assets" / "native"
CACHE = Path(__file__).parents[3] / ".cache"
WHEELS = {"ai_edge_litert": "ai-edge-litert==2.3.*", "onnxruntime": "onnxruntime==1.32.*"}
QEMU = "qemu-aarch64-static"
ARM_GCC = "aarch64-linux-gnu-gcc"
# What programs look for of a phone's processor; without it they read this computer's and stop.
ARM_CPUINFO = """processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 0

"""


def needs(*programs: str) -> None:
    """Skips where one is not installed."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def app_core(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs a class of the app's core, or of the programs here that ask it, on this computer's Java."""
    needs("kotlinc", "java")
    jar = tmp_path_factory.mktemp("core") / "core.jar"
    here = sorted(Path(__file__).parent.glob("*.kt"))
    subprocess.run(["kotlinc", APP / "core" / "src" / "main" / "kotlin", *here, "-d", jar], check=True)
    return ["java", "-Dfile.encoding=UTF-8", "-cp", f"{jar}:/usr/share/java/kotlin-stdlib.jar"]


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our program for this computer, which stops at the first thing that C leaves undefined."""
    needs("gcc")
    program = tmp_path_factory.mktemp("native") / "mdharness"
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=undefined"]
    sources = [NATIVE / f"{name}.c" for name in ("mdharness", "mdruntime", "mdtensors", "mdlitert", "mdonnxruntime")]
    subprocess.run(["gcc", *flags, *sources, "-o", program, "-ldl", "-lm"], check=True)
    return program


@pytest.fixture(scope="session")
def libraries() -> dict[str, Path]:
    """The runtimes' libraries for this computer, by format."""
    found = {}
    for fmt, package, pattern in (
        ("tflite", "ai_edge_litert", "libLiteRt.so"),
        ("onnx", "onnxruntime", "capi/libonnxruntime.so*"),
    ):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        (found[fmt],) = Path(spec.origin).parent.glob(pattern)
    return found


@pytest.fixture(scope="session")
def arm_wheels() -> list[Path]:
    """The runtimes' packages for aarch64, as PyPI has them."""
    folder = CACHE / "aarch64"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, wanted in WHEELS.items():
        if not list(folder.glob(f"{name}-*.whl")):
            kinds = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
            words = ["download", "-q", "--no-deps", "--only-binary=:all:", *kinds, "--python-version=3.11", wanted]
            ran = subprocess.run([sys.executable, "-m", "pip", *words, "-d", folder], capture_output=True, text=True)
            if ran.returncode:
                pytest.skip(f"needs {wanted} for aarch64 from PyPI: {ran.stderr.strip()[-200:]}")
        found.append(next(folder.glob(f"{name}-*.whl")))
    return found


@pytest.fixture(scope="session")
def programs(arm_wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """What a phone with an aarch64 processor needs, made the way that a user makes it."""
    needs(ARM_GCC)
    folder = tmp_path_factory.mktemp("programs")
    prepare(ARM_GCC, arm_wheels, folder=folder)
    return Programs(folder)


@pytest.fixture(scope="session")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """The command line that an aarch64 program runs in, for a processor by qemu's name."""
    needs(QEMU)
    root = tmp_path_factory.mktemp("aarch64")
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(ARM_CPUINFO)
    (root / "sys/devices/system/cpu").mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (root / "sys/devices/system/cpu" / name).write_text("0\n")
    (root / "lib").symlink_to("/usr/aarch64-linux-gnu/lib")
    return lambda processor: [QEMU, "-cpu", processor, "-L", str(root)]


@pytest.fixture(scope="session")
def adb_server() -> Iterator[None]:
    """An adb server of our own, that knows no other phone."""
    needs("adb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    before = os.environ.get("ANDROID_ADB_SERVER_PORT")
    os.environ["ANDROID_ADB_SERVER_PORT"] = port
    yield
    subprocess.run(["adb", "kill-server"], check=False, capture_output=True)
    os.environ.pop("ANDROID_ADB_SERVER_PORT")
    if before is not None:
        os.environ["ANDROID_ADB_SERVER_PORT"] = before


@pytest.fixture
def phone(adb_server: None, tmp_path: Path, qemu: Callable[[str], list[str]]) -> Iterator[Phone]:
    """A phone that adb is connected to."""
    with Phone(tmp_path / "phone", qemu=qemu("cortex-a76")) as made, plugged_in(made):
        yield made


@contextmanager
def plugged_in(phone: Phone) -> Iterator[Phone]:
    """Lets the real adb know the phone, for as long as it is needed."""
    connect(phone)
    yield phone
    subprocess.run(["adb", "disconnect", phone.address], check=False, capture_output=True)


def connect(phone: Phone) -> None:
    """Lets the real adb find the phone, also after its cable was pulled: a server may still hold the old connection."""
    for words in (["disconnect", phone.address], ["connect", phone.address]):
        subprocess.run(["adb", *words], check=False, capture_output=True)
    if not phone.faults.unauthorized:
        subprocess.run(["adb", "-s", phone.address, "wait-for-device"], check=True, capture_output=True, timeout=20)
