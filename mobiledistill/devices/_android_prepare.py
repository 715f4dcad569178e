"""Makes the programs that phones need: our own from its source, the runtimes out of their makers' packages."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from converters import Format, InputError
from mobiledistill.devices._android_programs import HARNESS, LIBRARIES, VERSIONS, AbiPrograms, Programs, Versions

__all__ = ["Abi", "prepare"]

Abi = Literal["arm64-v8a", "armeabi-v7a", "x86_64"]

_NATIVE = Path(__file__).parent / "assets" / "native"
_SOURCES = ("mdharness.c", "mdruntime.c", "mdtensors.c", "mdlitert.c", "mdonnxruntime.c")
_COMPILERS: dict[Abi, str] = {
    "arm64-v8a": "aarch64-linux-android24-clang",
    "armeabi-v7a": "armv7a-linux-androideabi24-clang",
    "x86_64": "x86_64-linux-android24-clang",
}
_MACHINES: dict[Abi, int] = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62}
_LARGEST_LIBRARY_BYTES = 200 << 20
_GLIBC = b"libc.so.6\0"


def prepare(
    compiler: str | Path,
    packages: Sequence[str | Path],
    *,
    abi: Abi = "arm64-v8a",
    folder: str | Path | None = None,
) -> AbiPrograms:
    """Builds our program for a kind of processor and lays the runtimes beside it.

    Example:
        >>> prepare("~/Android/ndk/27.2", ["litert-2.3.0.aar", "onnxruntime-android-1.32.0.aar"])  # doctest: +SKIP

    Args:
        compiler: the folder of an Android NDK, or a C compiler for that processor.
        packages: .aar files with the runtimes (any .zip or .whl that holds libLiteRt.so or libonnxruntime.so does), or
            the libraries themselves. One of the two is enough for its format.
        abi: which processor; nearly all phones of today are arm64-v8a.
        folder: where to; None: where phones' programs are looked for.

    Raises:
        InputError: a package holds no library for this processor or for this system, or there is no such compiler, or
            it fails.
    """
    if abi not in get_args(Abi):
        raise InputError(f"abi must be one of {', '.join(get_args(Abi))}, but got {abi!r}.")
    to = (Path(folder) if folder is not None else Programs.found().folder) / abi
    found: dict[Format, tuple[bytes, str | None]] = {}
    for package in packages:
        found |= _libraries(Path(package).expanduser(), abi)
    if not found:
        raise InputError(f"No package was given; name one that holds {' or '.join(LIBRARIES.values())}.")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".making-") as aside:
        harness = Path(aside) / HARNESS
        _compile(_compiler(Path(compiler).expanduser(), abi), harness)
        glibc = _GLIBC in harness.read_bytes()
        for fmt, (content, _) in found.items():
            if (_GLIBC in content) != glibc:
                system = "Linux" if not glibc else "Android"
                raise InputError(
                    f"{LIBRARIES[fmt]} is made for {system}, and {compiler} for the other system; for phones take the"
                    " package for Android (.aar) and the compiler of its NDK."
                )
            (Path(aside) / LIBRARIES[fmt]).write_bytes(content)
        versions = Versions(**{fmt: version for fmt, (_, version) in found.items()})
        (Path(aside) / VERSIONS).write_text(versions.model_dump_json())
        for made in sorted(Path(aside).iterdir()):
            made.chmod(0o755)
            made.replace(to / made.name)
    return AbiPrograms(to)


def _libraries(package: Path, abi: Abi) -> dict[Format, tuple[bytes, str | None]]:
    """The runtimes in a package, and their version where its name tells it."""
    if not package.is_file():
        raise InputError(f"{package} is not a file; give an .aar, .zip or .whl file, or a library.")
    told = re.search(r"-(\d+(?:\.\d+){1,3})", package.name)
    version = told[1] if told else None
    if zipfile.is_zipfile(package):
        contents = _unzipped(package, abi)
    else:
        fmt = next((fmt for fmt, name in LIBRARIES.items() if package.name.startswith(name)), None)
        if fmt is None or package.stat().st_size > _LARGEST_LIBRARY_BYTES:
            raise InputError(f"{package} is neither a package nor one of {', '.join(LIBRARIES.values())}.")
        contents = {fmt: package.read_bytes()}
    for fmt, content in contents.items():
        if not _is_for(content, abi):
            raise InputError(
                f"{LIBRARIES[fmt]} of {package} is not made for {abi}; take the package for that processor."
            )
    if not contents:
        raise InputError(f"{package} holds neither {' nor '.join(LIBRARIES.values())} for {abi}; take another package.")
    return {fmt: (content, version) for fmt, content in contents.items()}


def _unzipped(package: Path, abi: Abi) -> dict[Format, bytes]:
    found: dict[Format, bytes] = {}
    with zipfile.ZipFile(package) as archive:
        entries = archive.infolist()
        if any(entry.filename.startswith("jni/") for entry in entries):
            entries = [entry for entry in entries if entry.filename.startswith(f"jni/{abi}/")]
        for fmt, name in LIBRARIES.items():
            for entry in entries:
                if re.fullmatch(rf"{re.escape(name)}(\.[\d.]+)?", entry.filename.rpartition("/")[2]):
                    if entry.file_size > _LARGEST_LIBRARY_BYTES:
                        raise InputError(
                            f"{entry.filename} of {package} is larger than any runtime; take another package."
                        )
                    found[fmt] = archive.read(entry)
                    break
    return found


def _is_for(content: bytes, abi: Abi) -> bool:
    is_elf = content[:4] == b"\x7fELF" and len(content) > 20
    return is_elf and struct.unpack_from("<H", content, 18)[0] == _MACHINES[abi]


def _compiler(named: Path, abi: Abi) -> Path:
    if not named.is_dir():
        return named
    found = sorted(named.glob(f"toolchains/llvm/prebuilt/*/bin/{_COMPILERS[abi]}"))
    if not found:
        raise InputError(
            f"{named} is no Android NDK: it has no {_COMPILERS[abi]}. Give the NDK's own folder, or a compiler."
        )
    return found[-1]


def _compile(compiler: Path, to: Path) -> None:
    sources = [str(_NATIVE / name) for name in _SOURCES]
    words = [str(compiler), "-std=c11", "-O2", "-Wall", *sources, "-o", str(to), "-ldl", "-lm"]
    try:
        ran = subprocess.run(words, capture_output=True, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise InputError(
            f"{compiler} cannot be started ({error.strerror}); give an Android NDK or a C compiler."
        ) from None
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if "error" in line] or ["it said nothing"]
        raise InputError(f"{compiler} does not compile our program: {said[0].strip()[:200]}.")
