"""pack and unpack as a person calls them: what comes back, what is refused, what is left on disk."""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path

import brotli
import pytest
import zstandard

import mobiledistill as md
from mobiledistill import InputError, MissingExtraError, ModelFileError


def contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {part.relative_to(path).as_posix(): part.read_bytes() for part in path.rglob("*") if part.is_file()}


@pytest.mark.parametrize("name", ["tflite", "onnx", "mlpackage", "nibbles", "palette"])
def test_a_student_comes_back_and_is_smaller_than_the_best_of_four(
    students: dict[str, Path], tmp_path: Path, name: str
) -> None:
    archive = md.pack(students[name], tmp_path / "student.mdpack")
    back = md.unpack(archive, tmp_path / "back")

    files = contents(students[name])
    assert contents(back) == files
    whole = b"".join(files.values())
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as written:
        for number, content in enumerate(files.values()):
            written.writestr(str(number), content)
    others = [len(zipped.getvalue()), len(zstandard.ZstdCompressor(level=19).compress(whole))]
    others += [len(brotli.compress(whole, quality=11)), len(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME))]
    assert archive.stat().st_size < 0.97 * min(others)


def test_the_archive_lies_beside_the_model_and_the_model_beside_the_archive(tmp_path: Path) -> None:
    model = tmp_path / "net.bin"
    model.write_bytes(b"weights " * 50)
    archive = md.pack(model)
    assert archive == tmp_path / "net.bin.mdpack"
    assert archive.stat().st_size < 50
    model.unlink()
    assert md.unpack(archive) == model
    assert model.read_bytes() == b"weights " * 50
    assert sorted(part.name for part in tmp_path.iterdir()) == ["net.bin", "net.bin.mdpack"]


def test_a_folder_keeps_its_names_and_empty_folders(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    (folder / "a" / "nothing").mkdir(parents=True)
    (folder / "a" / "größe.txt").write_bytes(b"1")
    (folder / "empty").write_bytes(b"")
    back = md.unpack(md.pack(folder), tmp_path / "back")
    assert contents(back) == {"a/größe.txt": b"1", "empty": b""}
    assert (back / "a" / "nothing").is_dir()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: folder / "nowhere", "is no file and no folder; give the path of a model"),
        (lambda folder: linked(folder), "holds a link, inner"),
        (lambda folder: linked(folder) / "inner", "is a link"),
    ],
)
def test_what_cannot_be_packed_is_refused(tmp_path: Path, prepare: object, words: str) -> None:
    path = prepare(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        md.pack(path, tmp_path / "archive.mdpack")
    assert not (tmp_path / "archive.mdpack").exists()


@pytest.mark.parametrize("name", ["a\\b", "c:d", "\udcff"])
def test_names_that_not_every_system_keeps_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / name).write_bytes(b"1")
    with pytest.raises(InputError, match="not every system can keep; rename it"):
        md.pack(tmp_path / "net", tmp_path / "archive.mdpack")


def linked(folder: Path) -> Path:
    (folder / "net").mkdir()
    (folder / "net" / "inner").symlink_to(folder)
    return folder / "net"


def test_an_archive_is_not_put_into_what_it_packs(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    with pytest.raises(InputError, match="would lie in what it packs"):
        md.pack(tmp_path / "net", tmp_path / "net" / "archive.mdpack")


def test_an_archive_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"1")
    with pytest.raises(InputError, match="cannot be written"):
        md.pack(tmp_path / "net.bin", tmp_path / "nowhere" / "archive.mdpack")
    assert [part.name for part in tmp_path.iterdir()] == ["net.bin"]


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("nowhere.mdpack", None, "is no file; give an archive"),
        ("model.bin", None, "does not end in .mdpack"),
        ("model.bin", "out", "is no archive of mobiledistill pack"),
        ("model.bin.mdpack", "folder", "is there already, and no folder is replaced"),
        ("model.bin.mdpack", "model.bin.mdpack", "is the archive itself"),
        ("model.bin.mdpack", "nowhere/out", "cannot be written"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(tmp_path: Path, name: str, target: str | None, words: str) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    (tmp_path / "folder").mkdir()
    md.pack(tmp_path / "model.bin")
    before = sorted(part.name for part in tmp_path.iterdir())
    with pytest.raises(InputError, match=words):
        md.unpack(tmp_path / name, None if target is None else tmp_path / target)
    assert sorted(part.name for part in tmp_path.iterdir()) == before


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    (tmp_path / "model.bin").write_bytes(b"model")
    with pytest.raises(MissingExtraError, match=r"mobiledistill\[pack\]"):
        md.pack(tmp_path / "model.bin")


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model" * 100)
    archive = md.pack(tmp_path / "model.bin")
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="is damaged or cut; fetch it again"):
        md.unpack(archive, tmp_path / "out")
    assert sorted(part.name for part in tmp_path.iterdir()) == ["model.bin", "model.bin.mdpack"]


def test_the_library_loads_no_compiler_before_it_packs() -> None:
    program = "import sys, mobiledistill; assert mobiledistill.pack; print('numba' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False"]
