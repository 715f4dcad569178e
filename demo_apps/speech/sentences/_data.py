"""The sentences: AN4, where it comes from, what its files must be, and how it is split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from converters import InputError
from demo_apps._public_data import PublicData, locate
from demo_apps.speech._wav import corpus_samples
from demo_apps.speech.sentences._features import SAMPLE_RATE
from demo_apps.speech.sentences._synthetic import synthetic_corpus
from demo_apps.speech.sentences._utterance import Corpus, Utterance

__all__ = ["ARCHIVE_URL", "load_corpus", "read_corpus"]

ARCHIVE_URL = "https://github.com/cmusphinx/an4/archive/b567d132f43304e70a2b2eca6077f22255311812.zip"
"""AN4 (Carnegie Mellon University, free for any purpose) at the commit that the demo was measured with."""

_DIGEST = "f0a3e6f759ee049b1a79884648c3aca696e27ea3709ee0af73bccef4f90f408e"
_LISTS = ("an4.dic", "an4_train.fileids", "an4_train.transcription", "an4_test.fileids", "an4_test.transcription")
_ENTRY = re.compile(r"[^/]+/(?P<place>etc/an4[\w.]+|wav/an4(?:test)?_clstk/\w+/[\w-]+\.wav)")
_LINE = re.compile(r"(?:<s> )?(?P<words>[A-Z' ]+?)\s*(?:</s> )?\((?P<name>(?P<take>\w+)-(?P<speaker>\w+)-\w+)\)\s*")
_VALIDATION_SHARE = 10  # one speaker in ten


def load_corpus(data: Path | None = None, *, cache: Path | None = None, archive_url: str = ARCHIVE_URL) -> Corpus:
    """Finds AN4: ``data``, else ``MOBILEDISTILL_DATA``, else the cache, else the network, else makes sentences.

    Args:
        data: a folder that holds ``an4``, or is it.
        cache: where a download is kept; None: the user's cache folder.
        archive_url: where the download comes from; what it unpacks to must match a fixed checksum.

    Raises:
        InputError: ``data`` holds no AN4, a file is damaged or foreign, or a download is not what it should be. That
            nothing can be reached is no error: then the speech is synthetic.
    """
    found = locate(_public_data(archive_url), data, cache)
    return synthetic_corpus() if found is None else read_corpus(*found)


def read_corpus(folder: Path, source: str) -> Corpus:
    """Reads AN4 from a folder that holds ``etc`` and ``wav``.

    A tenth of the training speakers, those whose names hash lowest, is the validation.

    Raises:
        InputError: a file is missing, damaged or not as AN4's are.
    """
    heard = tuple(_utterances(folder, "train"))
    held_back = _held_back({utterance.speaker for utterance in heard})
    train = tuple(utterance for utterance in heard if utterance.speaker not in held_back)
    validation = tuple(utterance for utterance in heard if utterance.speaker in held_back)
    test = tuple(_utterances(folder, "test"))
    for name, part in (("train", train), ("validation", validation), ("test", test)):
        if not part:
            raise InputError(f"The {name} part of {folder} is empty, but all three are needed: fetch AN4 again.")
    return Corpus(train, validation, test, _dictionary(folder), source, synthetic=False)


def _utterances(folder: Path, part: str) -> Iterator[Utterance]:
    lines = _lines(folder / "etc" / f"an4_{part}.transcription")
    places = _lines(folder / "etc" / f"an4_{part}.fileids")
    if len(lines) != len(places):
        raise InputError(
            f"{folder / 'etc'} lists {len(places)} files and {len(lines)} transcriptions of {part}, but they go in"
            " pairs: fetch AN4 again."
        )
    for line, place in zip(lines, places, strict=True):
        spoken = _LINE.fullmatch(line)
        if spoken is None or not place.endswith("/" + spoken["name"]) or ".." in place:
            raise InputError(
                f"{folder / 'etc' / f'an4_{part}.transcription'} says {line.strip()!r} of the file {place!r}, but such"
                " a line is WORDS (name): fetch AN4 again."
            )
        path = folder / "wav" / f"{place}.wav"
        if not path.is_file():
            raise InputError(f"{path} is missing, though a transcription names it: fetch AN4 again.")
        samples = corpus_samples(path, SAMPLE_RATE)
        yield Utterance(samples, tuple(spoken["words"].split()), spoken["speaker"].rstrip("0123456789"), spoken["name"])


def _dictionary(folder: Path) -> tuple[str, ...]:
    """The words of the pronouncing dictionary; what stands in brackets numbers a second pronunciation."""
    return tuple(sorted({re.sub(r"\(\d+\)$", "", line.split()[0]) for line in _lines(folder / "etc" / "an4.dic")}))


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): fetch AN4 again.") from None


def _held_back(speakers: set[str]) -> set[str]:
    """The validation speakers."""
    by_hash = sorted(speakers, key=lambda speaker: hashlib.sha256(speaker.encode()).hexdigest())
    return set(by_hash[: max(1, len(speakers) // _VALIDATION_SHARE)])


def _public_data(archive_url: str) -> PublicData:
    return PublicData(
        name="an4",
        holds="an4",
        looks_like="AN4 (etc/an4_train.transcription and the like)",
        find=_find,
        files=_files,
        kept=_kept,
        archive_url=archive_url,
        digest=_DIGEST,
    )


def _find(data: Path) -> Path | None:
    folders = (data / "an4", data)
    return next((folder for folder in folders if (folder / "etc" / "an4_train.transcription").is_file()), None)


def _files(folder: Path) -> list[Path]:
    return [*(folder / "etc" / name for name in _LISTS), *(folder / "wav").glob("*/*/*.wav")]


def _kept(entry: str) -> str | None:
    """Where an archive's entry goes; no part of such a place can lead out of the folder."""
    named = _ENTRY.fullmatch(entry)
    place = named["place"] if named else ""
    return place if place.endswith(".wav") or place.removeprefix("etc/") in _LISTS else None
