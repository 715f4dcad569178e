"""The recordings: where they come from, what a file must be, and how they are split."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import wave
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from converters import InputError, MissingExtraError
from demo_apps.speech._features import SAMPLE_RATE, Floats
from demo_apps.speech._recording import HELD_OUT_SPEAKER, Recording
from demo_apps.speech._synthetic import synthetic_recordings

__all__ = ["ARCHIVE_URL", "Dataset", "SplitScheme", "Splits", "load_recordings", "split_recordings"]

ARCHIVE_URL = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip"
)
"""The Free Spoken Digit Dataset (CC BY-SA 4.0) at the commit that the demo was measured with."""

SYNTHETIC_SOURCE = "synthetic speech (no recordings found)"

SplitScheme = Literal["official", "speaker"]
"""``official``: takes 0 to 4 of every speaker are the test. ``speaker``: one whole speaker is the test."""

# Of the unpacked recordings, since the host may pack the same files anew: see recordings_digest.
_DIGEST = "8fed8b0b058a7efa7544bbb3e8e98607ecdcbd47a2f0ea31139cab18a6b679c9"
_NAME = re.compile(r"(?P<label>[0-9])_(?P<speaker>[A-Za-z]+)_(?P<index>[0-9]{1,4})\.wav")
_OFFICIAL_TEST_TAKES = 5
_VALIDATION_SHARE = 10  # one recording in ten
_LONGEST_SECONDS = 30
_MOST_BYTES_IN_ARCHIVE = 200_000_000
_CONNECT_AND_READ_SECONDS = (5, 30)


@dataclass(frozen=True)
class Dataset:
    """What was found.

    Attributes:
        recordings: sorted by file name.
        source: one line for people: the folder, the download, or that it is synthetic.
        synthetic: whether the demo made the speech itself.
    """

    recordings: tuple[Recording, ...]
    source: str
    synthetic: bool


@dataclass(frozen=True)
class Splits:
    """Three sets of recordings without a common one."""

    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    test: tuple[Recording, ...]


def load_recordings(data: Path | None = None, *, cache: Path | None = None, archive_url: str = ARCHIVE_URL) -> Dataset:
    """Finds spoken digits: ``data``, else ``MOBILEDISTILL_DATA``, else the cache, else the network, else makes some.

    Args:
        data: a folder that holds ``fsdd/recordings``, or is itself ``fsdd`` or ``recordings``.
        cache: where a download is kept; None: the user's cache folder.
        archive_url: where the download comes from; what it unpacks to must match a fixed checksum.

    Raises:
        InputError: ``data`` holds no recordings, a WAV file is damaged or foreign, or a download is not what it
            should be. That nothing can be reached is no error: then the speech is synthetic.
    """
    if data is not None:
        return _from_folder(_recordings_folder(data), f"{data}")
    named = os.environ.get("MOBILEDISTILL_DATA")
    if named:
        folder = _named_by_environment(Path(named))
        if folder is not None:
            return _from_folder(folder, f"{named}")
    cache = cache if cache is not None else _user_cache()
    if cache is None:
        return _synthetic()
    unpacked = cache / "fsdd" / "recordings"
    if unpacked.is_dir() or _download(archive_url, unpacked):
        return _from_folder(unpacked, f"{unpacked}")
    return _synthetic()


def split_recordings(recordings: Sequence[Recording], scheme: SplitScheme) -> Splits:
    """Splits by what a recording is called, never by chance.

    The test is that of ``scheme``. One recording in ten of the rest, by hash of its name, is the validation. With
    ``speaker`` the validation thus hears known voices: with five voices left to learn from, holding back one more
    costs the unknown voice more than a truer validation gains.

    Raises:
        InputError: a split would be empty.
    """
    if scheme not in ("official", "speaker"):
        raise InputError(f"split is {scheme!r}, but must be 'official' or 'speaker': choose one of them.")
    test = tuple(recording for recording in recordings if _is_test(recording, scheme))
    rest = [recording for recording in recordings if not _is_test(recording, scheme)]
    validation = tuple(recording for recording in rest if _is_validation(recording))
    train = tuple(recording for recording in rest if not _is_validation(recording))
    for name, part in (("test", test), ("validation", validation), ("train", train)):
        if not part:
            raise InputError(
                f"The {scheme} split of these {len(recordings)} recordings has an empty {name} part, but it needs all"
                f" three: give the whole data set (takes 0 to 49, speaker {HELD_OUT_SPEAKER} included)."
            )
    return Splits(train, validation, test)


def recordings_digest(folder: Path) -> str:
    """The sha256 over names and contents of the recordings in a folder, in order of their names."""
    digest = hashlib.sha256()
    for path in _wav_files(folder):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_test(recording: Recording, scheme: SplitScheme) -> bool:
    if scheme == "speaker":
        return recording.speaker == HELD_OUT_SPEAKER
    return recording.index < _OFFICIAL_TEST_TAKES


def _is_validation(recording: Recording) -> bool:
    return int(hashlib.sha256(recording.name.encode()).hexdigest(), 16) % _VALIDATION_SHARE == 0


def _recordings_folder(data: Path) -> Path:
    if not data.is_dir():
        raise InputError(
            f"The data folder {data} does not exist: give a folder that holds fsdd/recordings, or leave it out."
        )
    folder = _find_recordings(data)
    if folder is None:
        raise InputError(
            f"The data folder {data} holds no recordings named like 7_theo_12.wav: give the folder that holds"
            " fsdd/recordings, or fsdd, or recordings itself."
        )
    return folder


def _named_by_environment(data: Path) -> Path | None:
    """The recordings below MOBILEDISTILL_DATA, which may well hold the data of other demos only."""
    if not data.is_dir():
        raise InputError(
            f"MOBILEDISTILL_DATA is {data}, which is not a folder: set it to a folder that holds fsdd/recordings,"
            " or unset it."
        )
    return _find_recordings(data)


def _find_recordings(data: Path) -> Path | None:
    for folder in (data / "fsdd" / "recordings", data / "recordings", data):
        if folder.is_dir() and _wav_files(folder):
            return folder
    return None


def _wav_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _from_folder(folder: Path, source: str) -> Dataset:
    return Dataset(tuple(_read(path) for path in _wav_files(folder)), source, synthetic=False)


def _synthetic() -> Dataset:
    return Dataset(synthetic_recordings(), SYNTHETIC_SOURCE, synthetic=True)


def _read(path: Path) -> Recording:
    named = _NAME.fullmatch(path.name)
    assert named is not None  # noqa: S101  (only matching files are listed)
    return Recording(_samples(path), int(named["label"]), named["speaker"], int(named["index"]))


def _samples(path: Path) -> Floats:
    """The samples of a WAV file in -1..1; every rule about such files stands here."""
    try:
        with path.open("rb") as file, wave.open(file) as wav:
            channels, width, rate, promised = wav.getparams()[:4]
            if (channels, width, rate) != (1, 2, SAMPLE_RATE):
                raise InputError(
                    f"{path} has {channels} channel(s) of {8 * width} bits at {rate} Hz, but a recording must have 1 of"
                    f" 16 bits at {SAMPLE_RATE} Hz: convert it, or take it out of the folder."
                )
            if promised > _LONGEST_SECONDS * rate:
                raise InputError(
                    f"{path} is {promised / rate:.0f} s long, but a recording may last {_LONGEST_SECONDS} s: cut it, or"
                    " take it out of the folder."
                )
            data = wav.readframes(promised)
    except EOFError as error:
        raise InputError(
            f"{path} ends within its header, so it was cut off: fetch it again, or take it out of the folder."
        ) from error
    except wave.Error as error:
        raise InputError(
            f"{path} is not a PCM WAV file ({error}): fetch it again, or take it out of the folder."
        ) from error
    if len(data) < 2 * promised:
        raise InputError(
            f"{path} holds {len(data) // 2} of the {promised} samples that its header promises, so it was cut off:"
            " fetch it again, or take it out of the folder."
        )
    if promised == 0:
        raise InputError(
            f"{path} holds no samples, but a recording must hold some: fetch it again, or take it out of the folder."
        )
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def _user_cache() -> Path | None:
    try:
        import pooch
    except ImportError:
        return None
    return Path(pooch.os_cache("mobiledistill"))


def _download(url: str, unpacked: Path) -> bool:
    """Fetches the archive and unpacks its recordings; False when it cannot be reached."""
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("pooch", "demos") from error
    logger = pooch.get_logger()
    verbosity = logger.level
    try:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=unpacked.parent) as aside:
            logger.setLevel("ERROR")
            fetch = pooch.HTTPDownloader(timeout=_CONNECT_AND_READ_SECONDS)
            archive = Path(pooch.retrieve(url, None, fname="fsdd.zip", path=aside, downloader=fetch))
            whole = Path(aside) / "recordings"
            _unpack(archive, whole, url)
            whole.rename(unpacked)
    except OSError:  # no network, no such page, or no place to keep it
        return False
    finally:
        logger.setLevel(verbosity)
    return True


def _unpack(archive: Path, folder: Path, url: str) -> None:
    """Writes the archive's recordings, by their bare names, and checks that they are the expected ones."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as packed:
            wanted = [entry for entry in packed.infolist() if _is_recording(entry.filename)]
            if sum(entry.file_size for entry in wanted) > _MOST_BYTES_IN_ARCHIVE:
                raise InputError(
                    f"{url} unpacks to more than {_MOST_BYTES_IN_ARCHIVE // 1_000_000} MB of recordings, so it is not"
                    " the data set: fetch it by hand and name its folder with --data."
                )
            for entry in wanted:
                (folder / Path(entry.filename).name).write_bytes(packed.read(entry))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(
            f"{url} did not send a readable zip archive ({error}): try again, or fetch it by hand and name its folder"
            " with --data."
        ) from error
    if recordings_digest(folder) != _DIGEST:
        raise InputError(
            f"The recordings from {url} do not have the expected checksum: try again, or fetch the data set by hand and"
            " name its folder with --data."
        )


def _is_recording(name: str) -> bool:
    """Whether an archive's entry is a recording in its place; only its last part is used, so nothing can escape."""
    parts = name.split("/")
    return len(parts) == 3 and parts[1] == "recordings" and _NAME.fullmatch(parts[2]) is not None
