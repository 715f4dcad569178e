"""The archive's bytes: whatever goes in comes out, and no damage passes."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import InputError, ModelFileError
from mobiledistill.archive import _format
from mobiledistill.archive._format import archived, extracted

bounded = settings(max_examples=25, deadline=None)


def folder_of(path: Path) -> bytes | dict[str, bytes]:
    if path.is_file():
        return path.read_bytes()
    return {part.relative_to(path).as_posix(): part.read_bytes() for part in path.rglob("*") if part.is_file()}


@bounded
@given(st.binary(max_size=2000) | st.binary(max_size=8).map(lambda part: part * 200))
def test_any_bytes_come_back(content: bytes) -> None:
    archive = archived(content)
    assert extracted(archive, "archive") == content
    assert len(archive) <= len(content) + 11


@bounded
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3).map(lambda name: f"d/{name}"), st.binary(max_size=50)))
def test_any_folder_comes_back(contents: dict[str, bytes]) -> None:
    assert extracted(archived(contents), "archive") == contents


@bounded
@given(st.data())
def test_no_damage_passes(students: dict[str, Path], data: st.DataObject) -> None:
    content = folder_of(students[data.draw(st.sampled_from(["tflite", "onnx", "mlpackage"]))])
    archive = bytearray(ARCHIVES.setdefault(str(len(content)), archived(content)))
    place = data.draw(st.integers(0, len(archive) - 1))
    archive[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ModelFileError) as refused:
        extracted(bytes(archive), "archive")
    assert "\n" not in str(refused.value)


ARCHIVES: dict[str, bytes] = {}


@bounded
@given(st.data())
def test_no_cut_and_no_trailing_byte_passes(students: dict[str, Path], data: st.DataObject) -> None:
    archive = ARCHIVES.setdefault("onnx", archived(folder_of(students["onnx"])))
    cut = data.draw(st.integers(0, len(archive) - 1))
    with pytest.raises(ModelFileError):
        extracted(archive[:cut], "archive")
    with pytest.raises(ModelFileError):
        extracted(archive + data.draw(st.binary(min_size=1, max_size=3)), "archive")


@pytest.mark.parametrize("content", [b"", b"\0", random.Random(0).randbytes(500)])
def test_what_has_no_pattern_costs_eleven_bytes_at_most(content: bytes) -> None:
    archive = archived(content)
    assert len(archive) <= len(content) + 11
    for cut in range(len(archive)):
        with pytest.raises(ModelFileError):
            extracted(archive[:cut], "archive")


def test_a_newer_version_is_named() -> None:
    archive = bytearray(archived(b"x"))
    archive[3] += 16
    with pytest.raises(ModelFileError, match=r"version 2\.0, and this release reads 1; install a newer one"):
        extracted(bytes(archive), "archive")


def test_a_claim_of_gigabytes_costs_nothing() -> None:
    claim = b"\xb5MD\x11" + _format._number(1 << 30) + bytes(4) + bytes(1000)
    with pytest.raises(ModelFileError, match="damaged"):
        extracted(claim, "archive")


def stored(listed: bytes, content: bytes) -> bytes:
    """A sound archive with a list of names of one's own."""
    checksum = zlib.crc32(listed + content).to_bytes(4, "little")
    return b"\xb5MD\x10" + _format._number(len(content)) + checksum + listed + content


def entry(name: bytes, size: int) -> bytes:
    return bytes([len(name)]) + name + bytes([size])


def test_a_list_of_names_of_ones_own_is_read() -> None:
    assert extracted(stored(b"\3" + entry(b"a", 1) + entry(b"b/c", 2), b"xyz"), "archive") == {"a": b"x", "b/c": b"yz"}


UNSAFE = [b"../a", b"a/../../b", b"/a", b"a//b", b"./a", b"", b"a\\b", b"c:a", b"a\0", b"\xff", b"/", b"a/./b"]


@pytest.mark.parametrize("name", UNSAFE)
def test_no_path_leaves_its_folder(name: bytes) -> None:
    with pytest.raises(ModelFileError, match="damaged"):
        extracted(stored(b"\2" + entry(name, 1), b"x"), "archive")


@pytest.mark.parametrize(
    "listed",
    [
        b"\3" + entry(b"a", 1) + entry(b"a", 1),  # twice
        b"\3" + entry(b"b", 1) + entry(b"a", 1),  # not in order
        b"\3" + entry(b"a", 1) + entry(b"a/b", 1),  # a file as a folder
        b"\2" + entry(b"a", 1),  # a byte too few
        b"\2" + entry(b"a", 3),  # too many
        b"\2" + entry(b"a/", 2),  # a folder with content
        b"\2" + entry(b"a", 2) + b"\0",  # something behind the list
        b"\xff\xff\xff\xff\x7f",  # a billion files
    ],
)
def test_a_list_that_contradicts_itself_is_refused(listed: bytes) -> None:
    with pytest.raises(ModelFileError, match="damaged"):
        extracted(stored(listed, b"xy"), "archive")


def test_more_than_the_most_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_format, "_LARGEST", 10)
    with pytest.raises(InputError, match="has 11 bytes; the most is 10"):
        archived(bytes(11))


def test_the_size_limit_has_room_for_what_repeats() -> None:
    content = bytes(100_000)
    archive = archived(content)
    assert len(archive) < 300
    assert extracted(archive, "archive") == content


def test_the_limit_on_claims_is_one_for_both_sides() -> None:
    assert _format._is_allowed(2500 * 9, b"x")
    assert not _format._is_allowed(2500 * 9 + 1, b"x")


def test_segments_lie_in_the_content() -> None:
    sound = _format._listed([_format.Segment(2, 10, 8, True, 4)])
    (read,) = _format._read_segments(sound, 0, 10)
    assert (read.begin, read.end, read.bits, read.signed, read.row) == (2, 10, 8, True, 4)
    for wrong in (
        _format.Segment(2, 11, 8, True, 4),  # longer than the content
        _format.Segment(2, 2, 8, True, 1),  # empty
        _format.Segment(2, 10, 8, True, 9),  # a row longer than the tensor
        _format.Segment(2, 10, 8, True, 0),
        _format.Segment(2, 10, 8, True, 4, 1, 5000, 1),
        _format.Segment(2, 10, 8, True, 4, 1, 0, 1),
        _format.Segment(2, 9, 16),  # half an element
        _format.Segment(4, 8, 32, scalar=7, array=0),  # outside
        _format.Segment(4, 8, 32, scalar=0, array=2),  # its own factors
    ):
        with pytest.raises(_format._Damaged):
            _format._read_segments(_format._listed([wrong]), 0, 10)
    for cut in range(len(sound)):
        with pytest.raises(_format._Damaged):
            _format._read_segments(sound[:cut], 0, 10)
