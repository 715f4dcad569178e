"""Public data sets: found in a folder, the environment or the cache, else fetched once and checked."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mobiledistill import InputError, MissingExtraError

__all__ = ["PublicData", "digest_of_files", "locate", "unpack"]

_MOST_BYTES_IN_ARCHIVE = 200_000_000
_CONNECT_AND_READ_SECONDS = (5, 30)


@dataclass(frozen=True)
class PublicData:
    """A public data set of files in a folder.

    Attributes:
        name: of its folder in the cache.
        holds: where its files lie in a data folder, for people: ``fsdd/recordings``.
        looks_like: what is missing where they are not found: ``recordings named like 7_theo_12.wav``.
        find: a folder -> the folder of the files in or below it, None where there is none.
        files: that folder -> its files.
        kept: an archive's entry -> where it goes below that folder; None: it is not needed.
        archive_url: a zip archive.
        digest: of the files that it unpacks to, see :func:`digest_of_files`. The host may pack the same files anew.
    """

    name: str
    holds: str
    looks_like: str
    find: Callable[[Path], Path | None]
    files: Callable[[Path], list[Path]]
    kept: Callable[[str], str | None]
    archive_url: str
    digest: str


def locate(wanted: PublicData, data: Path | None = None, cache: Path | None = None) -> tuple[Path, str] | None:
    """Where the files are, and that place for people: ``data``, else ``MOBILEDISTILL_DATA``, else cache or network.

    Args:
        wanted: the data set.
        data: a folder in which it must be.
        cache: where a download is kept; None: the user's cache folder.

    Returns:
        None where the data set can neither be found nor fetched.

    Raises:
        InputError: ``data`` does not hold it, or a download is not what it should be.
    """
    if data is not None:
        return _found_in(wanted, data), f"{data}"
    named = os.environ.get("MOBILEDISTILL_DATA")
    if named:
        if not Path(named).is_dir():
            raise InputError(
                f"MOBILEDISTILL_DATA is {named}, which is not a folder: set it to a folder that holds {wanted.holds},"
                " or unset it."
            )
        folder = wanted.find(Path(named))  # it may well hold the data of other demos only
        if folder is not None:
            return folder, named
    cache = cache if cache is not None else _user_cache()
    if cache is None:
        return None
    unpacked = cache / wanted.holds
    return (unpacked, f"{unpacked}") if unpacked.is_dir() or _download(wanted, unpacked) else None


def digest_of_files(folder: Path, files: list[Path]) -> str:
    """The sha256 over places, sizes and contents of files below a folder, in order of their places."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _found_in(wanted: PublicData, data: Path) -> Path:
    if not data.is_dir():
        raise InputError(
            f"The data folder {data} does not exist: give a folder that holds {wanted.holds}, or leave it out."
        )
    folder = wanted.find(data)
    if folder is None:
        raise InputError(
            f"The data folder {data} holds no {wanted.looks_like}: give the folder that holds {wanted.holds}, or one"
            " of the folders on the way there."
        )
    return folder


def _user_cache() -> Path | None:
    try:
        import pooch
    except ImportError:
        return None
    return Path(pooch.os_cache("mobiledistill"))


def _download(wanted: PublicData, unpacked: Path) -> bool:
    """Fetches the archive and unpacks its files; False when it cannot be reached."""
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
            archive = pooch.retrieve(wanted.archive_url, None, fname=f"{wanted.name}.zip", path=aside, downloader=fetch)
            whole = Path(aside) / "unpacked"
            unpack(wanted, Path(archive), whole)
            whole.rename(unpacked)
    except OSError:  # no network, no such page, or no place to keep it
        return False
    finally:
        logger.setLevel(verbosity)
    return True


def unpack(wanted: PublicData, archive: Path, folder: Path) -> None:
    """Writes an archive's files that are needed into a new folder, and checks that they are the expected ones.

    Raises:
        InputError: the archive is damaged, too large, or holds other files.
    """
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as packed:
            places = {entry: place for entry in packed.infolist() if (place := wanted.kept(entry.filename)) is not None}
            if sum(entry.file_size for entry in places) > _MOST_BYTES_IN_ARCHIVE:
                raise InputError(
                    f"{wanted.archive_url} unpacks to more than {_MOST_BYTES_IN_ARCHIVE // 1_000_000} MB, so it is not"
                    " the data set: fetch it by hand and name its folder with --data."
                )
            for entry, place in places.items():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes(packed.read(entry))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(
            f"{wanted.archive_url} did not send a readable zip archive ({error}): try again, or fetch it by hand and"
            " name its folder with --data."
        ) from error
    if digest_of_files(folder, wanted.files(folder)) != wanted.digest:
        raise InputError(
            f"The files from {wanted.archive_url} do not have the expected checksum: try again, or fetch the data set"
            " by hand and name its folder with --data."
        )
