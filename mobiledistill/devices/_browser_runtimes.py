"""The runtimes that a browser computes with: npm packages of exact versions, fetched once into the user's cache."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters import DeviceError, Format, InputError

__all__ = ["PREPARE", "WEB_RUNTIMES", "Runtimes", "WebRuntime", "prepare_browser"]

PREPARE = "mobiledistill devices prepare-browser"

_LARGEST_FILE_BYTES = 64 << 20
_FETCH_S = 600


@dataclass(frozen=True)
class _Package:
    """An npm package, and what is taken out of it.

    Attributes:
        integrity: what the registry says of its archive, "sha512-" and base64.
        files: by the name they are served under, their place in the archive.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class WebRuntime:
    """What runs one format.

    Attributes:
        bare: imports by a package's name, which only a bundler understands, and the file that is meant.
    """

    name: str
    packages: tuple[_Package, ...]
    bare: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Of the first package, which the others belong to."""
        return self.packages[0].version

    @property
    def files(self) -> tuple[str, ...]:
        """Their names, as they are served."""
        return tuple(name for package in self.packages for name in package.files)


_ORT = (
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
)
_LITERT = tuple(
    f"litert_wasm_{kind}internal.{suffix}"
    for kind in ("", "compat_", "threaded_", "jspi_")  # the last for GPUs
    for suffix in ("js", "wasm")
)

WEB_RUNTIMES: dict[Format, WebRuntime] = {
    "tflite": WebRuntime(
        "LiteRT.js",
        (
            _Package(
                "@litertjs/core",
                "2.5.3",
                "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
                {"index.js": "package/dist/index.js", **{name: f"package/wasm/{name}" for name in _LITERT}},
            ),
            _Package(
                "@litertjs/wasm-utils",
                "2.5.3",
                "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
                {"wasm-utils.js": "package/dist/index.js"},
            ),
        ),
        bare={"@litertjs/wasm-utils": "wasm-utils.js"},
    ),
    "onnx": WebRuntime(
        "onnxruntime-web",
        (
            _Package(
                "onnxruntime-web",
                "1.30.0",
                "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
                {name: f"package/dist/{name}" for name in _ORT},
            ),
        ),
    ),
}


@dataclass(frozen=True)
class Runtimes:
    """A folder with one folder for each runtime and version."""

    folder: Path

    @classmethod
    def found(cls) -> Runtimes:
        """The folder that ``MOBILEDISTILL_BROWSER`` names, else the one in the user's cache."""
        named = os.environ.get("MOBILEDISTILL_BROWSER")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(Path(named) if named else cache / "mobiledistill" / "browser")

    def of(self, fmt: Format) -> Path:
        """Where the runtime of a format lies, or would."""
        runtime = WEB_RUNTIMES[fmt]
        return self.folder / f"{runtime.name}-{runtime.version}"

    def has(self, fmt: Format) -> bool:
        """Whether a format can be run."""
        return all((self.of(fmt) / name).is_file() for name in WEB_RUNTIMES[fmt].files)

    def files(self, fmt: Format) -> dict[str, Path]:
        """The files of a runtime, by name.

        Raises:
            DeviceError: they are not there.
        """
        runtime = WEB_RUNTIMES[fmt]
        if not self.has(fmt):
            raise DeviceError(
                f"{self.of(fmt)} does not hold {runtime.name} {runtime.version}, which a browser runs .{fmt} files"
                f" with; fetch it with {PREPARE}."
            )
        return {name: self.of(fmt) / name for name in runtime.files}


def prepare_browser(packages: Sequence[str | Path] = (), *, folder: str | Path | None = None) -> Runtimes:
    """Fetches the runtimes with npm, checks them, and lays out what a page needs of them.

    Example:
        >>> prepare_browser().has("onnx")  # doctest: +SKIP
        True

    Args:
        packages: archives that ``npm pack`` made elsewhere (.tgz), in place of fetching: both formats, or those of one.
        folder: where to; None: where runtimes are looked for.

    Raises:
        InputError: npm is missing or fails, or an archive is not the one that this version was tested with.
    """
    to = Runtimes(Path(folder)) if folder is not None else Runtimes.found()
    to.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.folder, prefix=".making-") as aside:
        archives = [Path(package).expanduser() for package in packages] or _fetched(Path(aside))
        by_integrity = {_integrity(archive): archive for archive in archives}
        known = {package.integrity for runtime in WEB_RUNTIMES.values() for package in runtime.packages}
        if strange := [str(archive) for integrity, archive in by_integrity.items() if integrity not in known]:
            raise InputError(f"{strange[0]} is none of the archives that are needed: {_wanted()}; give those.")
        made = [fmt for fmt, runtime in WEB_RUNTIMES.items() if _lay_out(runtime, by_integrity, Path(aside) / fmt)]
        if not made:
            raise InputError(f"No format's archives are complete; the archives are {_wanted()}.")
        for fmt in made:
            shutil.rmtree(to.of(fmt), ignore_errors=True)
            (Path(aside) / fmt).replace(to.of(fmt))
    return to


def _wanted() -> str:
    every = [package for runtime in WEB_RUNTIMES.values() for package in runtime.packages]
    return ", ".join(f"{package.name}@{package.version}" for package in every)


def _fetched(folder: Path) -> list[Path]:
    names = _wanted().split(", ")
    # npm's own script of that name on Windows has an ending, which only a shell would find.
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"npm is not installed, which fetches {_wanted()}; install Node.js, or give the archives.")
    try:
        ran = subprocess.run(
            [npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", str(folder), *names],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            timeout=_FETCH_S,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"npm did not fetch {_wanted()} within {_FETCH_S} s; try again.") from None
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise InputError(f"npm does not fetch {_wanted()}: {said[0].strip()[:200]}.")
    return sorted(folder.glob("*.tgz"))


def _integrity(archive: Path) -> str:
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise InputError(
            f"{archive} cannot be read ({error.strerror}); give the archives that npm pack made."
        ) from None
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def _lay_out(runtime: WebRuntime, archives: Mapping[str, Path], to: Path) -> bool:
    """Whether the runtime's archives are all there; its files then lie in the folder."""
    if not all(package.integrity in archives for package in runtime.packages):
        return False
    to.mkdir()
    for package in runtime.packages:
        with tarfile.open(archives[package.integrity]) as archive:
            for name, member in package.files.items():
                (to / name).write_bytes(_content(archive, member))
    for bare, meant in runtime.bare.items():
        for path in to.glob("*.js"):
            path.write_text(path.read_text().replace(f'from "{bare}"', f'from "./{meant}"'))
    return True


def _content(archive: tarfile.TarFile, member: str) -> bytes:
    found = archive.getmember(member)
    stream = archive.extractfile(found)
    if stream is None or found.size > _LARGEST_FILE_BYTES:
        raise InputError(f"{member} is no plain file of a bearable size; give another archive.")
    return stream.read()
