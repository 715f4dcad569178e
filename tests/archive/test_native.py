"""The decoder in C gives the same bytes, refuses what Python refuses, and stays within its memory."""

from __future__ import annotations

import re
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

import mobiledistill as md
from mobiledistill.archive import _format, _symbols
from mobiledistill.archive._coder import PRIMER, Coder
from mobiledistill.archive._layout import Segment
from tests.archive.conftest import NATIVE
from tests.archive.test_archive import contents
from tests.archive.test_format import UNSAFE, entry, stored


def run(decoder: Path, archive: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([decoder, archive, target], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["tflite", "onnx", "mlpackage", "nibbles", "palette"])
def test_students_come_back(students: dict[str, Path], decoder: Path, tmp_path: Path, name: str) -> None:
    archive = md.pack(students[name], tmp_path / "student.mdpack")
    ran = run(decoder, archive, tmp_path / "back")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert contents(tmp_path / "back") == contents(students[name])


@pytest.mark.parametrize("content", [b"", b"x", b"text and text and text" * 30, np.random.default_rng(0).bytes(999)])
def test_plain_bytes_come_back(decoder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert run(decoder, md.pack(tmp_path / "file"), tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == content


def test_elements_of_every_width_come_back(decoder: Path, tmp_path: Path) -> None:
    """Values of a drifting size, in every packing, through a segment list of one's own."""
    random = np.random.default_rng(0)
    values = (random.normal(size=3001) * np.linspace(1, 40, 3001)).astype(np.int8)
    content = values.view(np.uint8).tobytes()
    for bits in (2, 4, 6, 8, 16, 32, 64):
        for signed, shape in ((True, (9, 1, 3, 3)), (False, (50, 5, 2, 2)), (True, (1, 1, 1, 1))):
            segment = Segment(1, 2993, bits, signed, *shape)
            coded = _format._coded(_format._number(0), content, [segment])
            head = b"\xb5MD\x11" + _format._number(len(content)) + zlib.crc32(b"\0" + content).to_bytes(4, "little")
            (tmp_path / "archive").write_bytes(head + coded)
            assert _format.extracted(head + coded, "archive") == content
            assert run(decoder, tmp_path / "archive", tmp_path / "back").returncode == 0
            assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("name", UNSAFE)
def test_no_path_leaves_its_folder(decoder: Path, tmp_path: Path, name: bytes) -> None:
    (tmp_path / "archive").write_bytes(stored(b"\2" + entry(name, 1), b"x"))
    ran = run(decoder, tmp_path / "archive", tmp_path / "back")
    assert ran.returncode == 2
    assert "is damaged or cut" in ran.stderr
    assert [part.name for part in tmp_path.iterdir()] == ["archive"]


def test_damage_and_other_files_are_refused(decoder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"words and words and words " * 20)
    archive = md.pack(tmp_path / "file").read_bytes()
    wrong = {
        "no archive of mobiledistill pack": [b"", b"PK\3\4", archive[1:]],
        "newer release": [archive[:3] + b"\x21" + archive[4:], archive[:3] + b"\x12" + archive[4:]],
        "damaged or cut": [archive[:-1], archive + b"\0", archive[:10], archive[:20] + b"\0" + archive[20:]],
    }
    for words, archives in wrong.items():
        for one in archives:
            (tmp_path / "archive").write_bytes(one)
            ran = run(decoder, tmp_path / "archive", tmp_path / "back")
            assert ran.returncode == 2
            assert words in ran.stderr
    assert not (tmp_path / "back").exists()


def test_a_claim_of_more_than_is_coded_ends_with_what_is_coded(decoder: Path, tmp_path: Path) -> None:
    """Ten kilobytes that claim to be twenty million bytes: decoding those would take minutes."""
    archive = overstated(np.random.default_rng(0).bytes(10_000), 20_000_000)
    (tmp_path / "archive").write_bytes(archive)
    with pytest.raises(md.ModelFileError, match="damaged or cut"):
        md.unpack(tmp_path / "archive", tmp_path / "back")
    ran = subprocess.run(
        [decoder, tmp_path / "archive", tmp_path / "back"], timeout=30, check=False, capture_output=True
    )
    assert ran.returncode == 2


def overstated(content: bytes, size: int) -> bytes:
    """An archive of some bytes that says there are more."""
    coder = Coder(size)
    stream = np.concatenate([PRIMER, np.frombuffer(b"\2\0\0" + content, np.uint8)])
    coder.structure(stream, len(PRIMER), len(stream))
    return b"\xb5MD\x11" + _format._number(size) + bytes(4) + coder.payload()


def test_a_limit_on_memory_is_kept(decoder: Path, tmp_path: Path) -> None:
    program = tmp_path / "limited.c"
    program.write_text(
        '#include <stdio.h>\n#include "mdpack.h"\nint main(void) {\n'
        "static uint8_t archive[100000]; size_t size = fread(archive, 1, sizeof archive, stdin);\n"
        "mdpack_contents found; size_t limit = 1000;\n"
        "while (mdpack_unpack(archive, size, limit, &found) == MDPACK_MEMORY) limit += limit / 8;\n"
        'printf("%zu %zu", limit, found.content_bytes); mdpack_release(&found); return 0; }\n'
    )
    flags = ["-std=c11", "-fsanitize=address,undefined", f"-I{NATIVE}"]
    subprocess.run(["gcc", *flags, NATIVE / "mdpack.c", program, "-o", tmp_path / "limited"], check=True)
    (tmp_path / "file").write_bytes(b"words and words " * 100)
    archive = md.pack(tmp_path / "file").read_bytes()
    ran = subprocess.run([tmp_path / "limited"], input=archive, capture_output=True, check=True)
    limit, size = map(int, ran.stdout.split())
    assert size == 1600
    assert 1_000_000 < limit < 4_000_000


def test_both_decoders_read_the_same_primer_and_numbers() -> None:
    header = (NATIVE / "mdpack_primer.h").read_text()
    assert bytes(map(int, re.findall(r"\d+", header.partition("{")[2]))) == PRIMER.tobytes()
    source = (NATIVE / "mdpack.c").read_text()
    for name in ("GROUPS", "MIXERS", "SETS", "INPUTS", "LEVELS", "ROWS", "CURVES", "MOST_OVERRUN"):
        assert re.search(rf"\b{name} = {getattr(_symbols, name)}\b", source), name
