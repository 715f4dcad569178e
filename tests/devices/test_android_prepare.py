"""Programs for phones, made by the real compiler from packages of the kind that makers hand out."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from converters import DeviceError, InputError
from mobiledistill.devices import Programs, prepare
from tests.devices.phone._fixtures import ARM_GCC, needs


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A library for aarch64 that needs Debian's C library."""
    needs(ARM_GCC)
    folder = tmp_path_factory.mktemp("library")
    (folder / "one.c").write_text('#include <stdio.h>\nint one(void) { return puts("one"); }\n')
    subprocess.run([ARM_GCC, "-shared", "-fPIC", folder / "one.c", "-o", folder / "one.so"], check=True)
    return (folder / "one.so").read_bytes()


def test_the_processors_own_library_is_taken_out_of_an_aar(tmp_path: Path, library: bytes) -> None:
    aar = tmp_path / "litert-2.3.0.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.writestr("jni/x86_64/libLiteRt.so", b"another")
        archive.writestr("jni/arm64-v8a/libLiteRt.so", library)
        archive.writestr("classes.jar", b"")
    made = prepare(ARM_GCC, [aar], folder=tmp_path / "programs")
    assert made.library("tflite").read_bytes() == library
    assert made.version("tflite") == "2.3.0"
    assert made.version("onnx") == "unknown"
    assert made.harness.read_bytes()[:4] == b"\x7fELF"
    assert sorted(path.name for path in made.folder.iterdir()) == ["libLiteRt.so", "mdharness", "versions.json"]
    with pytest.raises(DeviceError, match=r"libonnxruntime.so is not there"):
        made.library("onnx")
    assert Programs(tmp_path / "programs").of(["arm64-v8a", "armeabi-v7a"]) == made
    with pytest.raises(DeviceError, match="no programs for this phone, whose processor is x86_64"):
        Programs(tmp_path / "programs").of(["x86_64"])


def test_what_cannot_run_on_the_phone_is_refused(tmp_path: Path, library: bytes) -> None:
    empty, foreign = tmp_path / "empty.zip", tmp_path / "foreign.aar"
    with zipfile.ZipFile(empty, "w"):
        pass
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("jni/arm64-v8a/libLiteRt.so", library.replace(b"\xb7\x00", b"\x3e\x00", 1))
    good = tmp_path / "libLiteRt.so"
    good.write_bytes(library)
    android = tmp_path / "libonnxruntime.so"
    android.write_bytes(library.replace(b"libc.so.6\0", b"libc.so\0\0\0"))
    cases = [
        ([tmp_path / "none.aar"], ARM_GCC, "is not a file"),
        ([empty], ARM_GCC, "holds neither libLiteRt.so nor libonnxruntime.so for arm64-v8a"),
        ([foreign], ARM_GCC, "is not made for arm64-v8a"),
        ([Path(__file__)], ARM_GCC, "neither a package nor one of"),
        ([], ARM_GCC, "No package was given"),
        ([android], ARM_GCC, "is made for Android, and aarch64-linux-gnu-gcc for the other system"),
        ([good], "no-such-compiler", "cannot be started"),
        ([good], str(tmp_path), "is no Android NDK"),
        ([good], "false", "does not compile our program"),
    ]
    for packages, compiler, message in cases:
        with pytest.raises(InputError, match=message) as raised:
            prepare(compiler, packages, folder=tmp_path / "programs")
        assert "\n" not in str(raised.value)
        left = tmp_path / "programs" / "arm64-v8a"
        assert not left.exists() or not list(left.iterdir())
    with pytest.raises(InputError, match="abi must be one of"):
        prepare(ARM_GCC, [good], abi="mips", folder=tmp_path)  # type: ignore[arg-type]  # what is no abi
