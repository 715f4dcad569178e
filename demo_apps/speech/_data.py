"""The recordings: where they come from, what a file must be, and how they are split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converters import InputError
from demo_apps._public_data import PublicData, digest_of_files, locate
from demo_apps.speech._features import SAMPLE_RATE
from demo_apps.speech._recording import HELD_OUT_SPEAKER, Recording
from demo_apps.speech._synthetic import synthetic_recordings
from demo_apps.speech._wav import corpus_samples

__all__ = ["ARCHIVE_URL", "Dataset", "SplitScheme", "Splits", "load_recordings", "split_recordings"]

ARCHIVE_URL = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip"
)
"""The Free Spoken Digit Dataset (CC BY-SA 4.0) at the commit that the demo was measured with."""

SYNTHETIC_SOURCE = "synthetic speech (no recordings found)"

SplitScheme = Literal["official", "speaker"]
"""``official``: takes 0 to 4 of every speaker are the test. ``speaker``: one whole speaker is the test."""

_DIGEST = "8fed8b0b058a7efa7544bbb3e8e98607ecdcbd47a2f0ea31139cab18a6b679c9"
_NAME = re.compile(r"(?P<label>[0-9])_(?P<speaker>[A-Za-z]+)_(?P<index>[0-9]{1,4})\.wav")
_OFFICIAL_TEST_TAKES = 5
_VALIDATION_SHARE = 10  # one recording in ten


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
    found = locate(_public_data(archive_url), data, cache)
    if found is None:
        return Dataset(synthetic_recordings(), SYNTHETIC_SOURCE, synthetic=True)
    folder, source = found
    return Dataset(tuple(_read(path) for path in _wav_files(folder)), source, synthetic=False)


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
    return digest_of_files(folder, _wav_files(folder))


def _public_data(archive_url: str) -> PublicData:
    return PublicData(
        name="fsdd",
        holds="fsdd/recordings",
        looks_like="recordings named like 7_theo_12.wav",
        find=_find_recordings,
        files=_wav_files,
        kept=_kept,
        archive_url=archive_url,
        digest=_DIGEST,
    )


def _is_test(recording: Recording, scheme: SplitScheme) -> bool:
    if scheme == "speaker":
        return recording.speaker == HELD_OUT_SPEAKER
    return recording.index < _OFFICIAL_TEST_TAKES


def _is_validation(recording: Recording) -> bool:
    return int(hashlib.sha256(recording.name.encode()).hexdigest(), 16) % _VALIDATION_SHARE == 0


def _find_recordings(data: Path) -> Path | None:
    for folder in (data / "fsdd" / "recordings", data / "recordings", data):
        if folder.is_dir() and _wav_files(folder):
            return folder
    return None


def _wav_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _read(path: Path) -> Recording:
    named = _NAME.fullmatch(path.name)
    assert named is not None  # noqa: S101  (only matching files are listed)
    return Recording(corpus_samples(path, SAMPLE_RATE), int(named["label"]), named["speaker"], int(named["index"]))


def _kept(entry: str) -> str | None:
    """The bare name of a recording in its place; nothing of an archive's paths is used, so nothing can escape."""
    parts = entry.split("/")
    is_recording = len(parts) == 3 and parts[1] == "recordings" and _NAME.fullmatch(parts[2]) is not None
    return parts[2] if is_recording else None
