"""The sentence pairs: where they come from, what a line must be, and how they are split."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_apps.translation._phrases import made_up_pairs
from mobiledistill import InputError

__all__ = ["ARCHIVE_URL", "HELD_OUT", "Corpus", "Pair", "Sentence", "Splits", "load_pairs", "read_pairs", "split_pairs"]

ARCHIVE_URL = (
    "https://raw.githubusercontent.com/rioyshky/translation/de48b7027f7318d77010a6e08ed928c10748c23d/deu-eng.zip"
)
"""The manythings.org selection of Tatoeba of 2018-05-13 (CC BY 2.0), which the demo was measured with."""

HELD_OUT = 2000
"""Distinct English sentences of validation and of test each."""

MADE_UP_SOURCE = "made-up sentences (no Tatoeba pairs found)"

_DIGEST = "sha256:b7688f84f99fa33c17397c14d8bd9cef1fdeb2ee0bf50074767023aee8926e28"
_FOLDER = "tatoeba_deu_eng"
_ARCHIVE, _TEXT = "deu-eng.zip", "deu.txt"

_MOST_BYTES = 100_000_000
_CONNECT_AND_READ_SECONDS = (5, 30)
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u00ad": None, "\u200b": None})


@dataclass(frozen=True)
class Pair:
    """A text and one translation of it."""

    source: str
    target: str


@dataclass(frozen=True)
class Corpus:
    """What was found.

    Attributes:
        pairs: in the order of the file.
        source: one line for people: the folder, the download, or that the sentences are made up.
        synthetic: whether the demo made the sentences itself.
    """

    pairs: tuple[Pair, ...]
    source: str
    synthetic: bool


@dataclass(frozen=True)
class Sentence:
    """A text to be translated, and all its translations."""

    source: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """Pairs to learn from, and two sets of sentences that none of them translates."""

    train: tuple[Pair, ...]
    validation: tuple[Sentence, ...]
    test: tuple[Sentence, ...]


def load_pairs(data: Path | None = None, *, cache: Path | None = None, archive_url: str = ARCHIVE_URL) -> Corpus:
    """Finds sentence pairs: ``data``, else ``MOBILEDISTILL_DATA``, else the cache, else the network, else makes some.

    Args:
        data: a folder that holds ``tatoeba_deu_eng/deu-eng.zip``, the zip, or its ``deu.txt``.
        cache: where a download is kept; None: the user's cache folder.
        archive_url: where the download comes from; it must match a fixed checksum.

    Raises:
        InputError: ``data`` holds no pairs, or a file is damaged. That nothing can be reached is no error: then the
            sentences are made up.
    """
    if data is not None:
        return Corpus(read_pairs(_file_in(data)), f"{data}", synthetic=False)
    named = os.environ.get("MOBILEDISTILL_DATA")
    if named:
        if not Path(named).is_dir():
            raise InputError(f"MOBILEDISTILL_DATA is {named}, which is not a folder: set it to one, or unset it.")
        file = _find(Path(named))
        if file is not None:
            return Corpus(read_pairs(file), named, synthetic=False)
    fetched = _fetch(archive_url, cache)
    if fetched is not None:
        return Corpus(read_pairs(fetched), f"{fetched}", synthetic=False)
    return Corpus(tuple(Pair(*pair) for pair in made_up_pairs()), MADE_UP_SOURCE, synthetic=True)


def read_pairs(file: Path) -> tuple[Pair, ...]:
    """Reads ``deu.txt``, or the zip that holds it: on each line English, a tab, German.

    Raises:
        InputError: the file is damaged, or a line is none of that kind.
    """
    text = _text_of(file)
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        columns = [" ".join(column.translate(_SPACES).split()) for column in line.split("\t")]
        if len(columns) < 2 or not columns[0] or not columns[1]:
            raise InputError(
                f"Line {number} of {file} must be English, a tab, German, but is {line[:60]!r}: repair or delete it."
            )
        pairs.append(Pair(columns[0], columns[1]))  # a newer selection has a third column: who wrote it
    if not pairs:
        raise InputError(f"{file} holds no sentence pairs: give the {_TEXT} of Tatoeba, or leave --data out.")
    return tuple(pairs)


def split_pairs(pairs: Sequence[Pair], *, held_out: int = HELD_OUT) -> Splits:
    """Splits by the English side and never by chance: its hash decides, so that the same pairs split the same.

    Pairs whose English differs from a held-out sentence in case or punctuation only are in no split.

    Args:
        pairs: all of them.
        held_out: how many distinct English sentences validation and test have each; of a small corpus at most a tenth.

    Raises:
        InputError: there are too few pairs for three splits.
    """
    references: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        references[pair.source].append(pair.target)
    held_out = min(held_out, len(references) // 10)
    if held_out < 1:
        raise InputError(
            f"These {len(pairs)} pairs have {len(references)} distinct English sides, but three splits need 10 or"
            " more: give the whole file."
        )
    order = sorted(references, key=_hash)
    test, validation = order[:held_out], order[held_out : 2 * held_out]
    known = {_bare(source) for source in (*test, *validation)}
    return Splits(
        train=tuple(pair for pair in pairs if _bare(pair.source) not in known),
        validation=_sentences(validation, references),
        test=_sentences(test, references),
    )


def _sentences(sources: Iterable[str], references: dict[str, list[str]]) -> tuple[Sentence, ...]:
    return tuple(Sentence(source, tuple(dict.fromkeys(references[source]))) for source in sources)


def _hash(text: str) -> bytes:
    return hashlib.sha256(f"split {text}".encode()).digest()


def _bare(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _file_in(data: Path) -> Path:
    if not data.is_dir():
        raise InputError(f"The data folder {data} does not exist: give a folder that holds {_ARCHIVE} or {_TEXT}.")
    file = _find(data)
    if file is None:
        raise InputError(f"The data folder {data} holds neither {_ARCHIVE} nor {_TEXT}: give one that does.")
    return file


def _find(data: Path) -> Path | None:
    candidates = [folder / name for folder in (data / _FOLDER, data) for name in (_ARCHIVE, _TEXT)]
    return next((file for file in candidates if file.is_file()), None)


def _text_of(file: Path) -> str:
    try:
        if file.suffix != ".zip":
            if file.stat().st_size > _MOST_BYTES:
                raise InputError(f"{file} has more than {_MOST_BYTES // 1_000_000} MB: give a smaller one.")
            return file.read_text("utf-8")
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(_TEXT).file_size > _MOST_BYTES:
                raise InputError(f"{file} unpacks to more than {_MOST_BYTES // 1_000_000} MB: give a smaller one.")
            return archive.read(_TEXT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 (byte {error.start}): convert it.") from error
    except KeyError as error:
        raise InputError(f"{file} holds no {_TEXT}: fetch it again.") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}): fetch it again.") from error


def _fetch(url: str, cache: Path | None) -> Path | None:
    """The archive in the user's cache, downloaded where it is missing; None where it cannot be reached."""
    try:
        import pooch
    except ImportError:
        return None
    folder = (cache if cache is not None else Path(pooch.os_cache("mobiledistill"))) / _FOLDER
    logger = pooch.get_logger()
    verbosity = logger.level
    try:
        logger.setLevel("ERROR")
        fetch = pooch.HTTPDownloader(timeout=_CONNECT_AND_READ_SECONDS)
        return Path(pooch.retrieve(url, _DIGEST, fname=_ARCHIVE, path=folder, downloader=fetch))
    except ValueError as error:  # what came is something else
        raise InputError(
            f"{url} did not send the expected archive: try again, or fetch it by hand and name its folder with --data."
        ) from error
    except OSError:  # no network, no such page, or no place to keep it
        return None
    finally:
        logger.setLevel(verbosity)
