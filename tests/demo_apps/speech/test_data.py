"""Finding and reading recordings, and splitting them."""

from __future__ import annotations

import io
import threading
import wave
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from converters import InputError
from demo_apps.speech import _data
from demo_apps.speech._data import load_recordings, recordings_digest, split_recordings
from demo_apps.speech._recording import Recording

NOWHERE = "http://127.0.0.1:9/nothing.zip"
TOO_SHORT_FOR_A_HEADER = 20


def wav_bytes(samples: int = 800, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        ramp = (np.arange(samples * channels) % 100 * 300).astype("<i2")
        file.writeframes(ramp.tobytes() if width == 2 else bytes(samples * channels * width))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBILEDISTILL_DATA", raising=False)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for index in (0, 11):
        (folder / f"7_theo_{index}.wav").write_bytes(wav_bytes())
    (folder / "notes.txt").write_text("not a recording")
    return folder


@pytest.mark.parametrize("up", [0, 1, 2])
def test_the_data_folder_may_be_any_of_three(recordings: Path, up: int) -> None:
    folder = [recordings, *recordings.parents][up]

    dataset = load_recordings(folder)

    assert [recording.name for recording in dataset.recordings] == ["7_theo_0", "7_theo_11"]
    assert not dataset.synthetic
    assert str(folder) in dataset.source


def test_samples_are_the_files_integers_over_32768(recordings: Path) -> None:
    recording = load_recordings(recordings).recordings[1]

    assert (recording.label, recording.speaker, recording.index) == (7, "theo", 11)
    assert recording.samples.dtype == np.float32
    np.testing.assert_array_equal(recording.samples * 32768, np.arange(800) % 100 * 300)


def test_a_named_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent does not exist: give a folder"):
        load_recordings(tmp_path / "absent")


def test_a_named_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no recordings named like 7_theo_12\.wav: give"):
        load_recordings(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav_bytes()[: 44 + 800], "holds 400 of the 800 samples .* cut off: fetch it again"),
        (wav_bytes()[:-1], "holds 799 of the 800 samples"),
        (wav_bytes()[:TOO_SHORT_FOR_A_HEADER], "ends within its header"),
        (b"", "ends within its header"),
        (b"this is no sound at all" * 9, "is not a PCM WAV file"),
        (wav_bytes(rate=16000), "at 16000 Hz, but a recording must have 1 of 16 bits at 8000 Hz: convert"),
        (wav_bytes(channels=2), r"has 2 channel\(s\)"),
        (wav_bytes(width=1), "of 8 bits"),
        (wav_bytes(samples=0), "holds no samples"),
        (wav_bytes(samples=31 * 8000), "is 31 s long, but a recording may last 30 s"),
    ],
)
def test_a_bad_wav_is_refused_by_name_in_one_line(recordings: Path, content: bytes, message: str) -> None:
    (recordings / "3_lucas_4.wav").write_bytes(content)

    with pytest.raises(InputError, match=message) as caught:
        load_recordings(recordings)

    assert "3_lucas_4.wav" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_names_the_folder(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(recordings.parents[1]))
    assert len(load_recordings(archive_url=NOWHERE).recordings) == 2


def test_the_environment_may_hold_other_data_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(tmp_path))
    assert load_recordings(cache=tmp_path / "cache", archive_url=NOWHERE).synthetic


def test_an_environment_that_names_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"MOBILEDISTILL_DATA is .*absent, which is not a folder"):
        load_recordings(cache=tmp_path, archive_url=NOWHERE)


def test_where_nothing_can_be_reached_the_speech_is_synthetic(tmp_path: Path) -> None:
    dataset = load_recordings(cache=tmp_path / "cache", archive_url=NOWHERE)

    assert dataset.synthetic
    assert dataset.source == "synthetic speech (no recordings found)"
    assert len(dataset.recordings) == 600


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    with zipfile.ZipFile(folder / "fsdd.zip", "w") as archive:
        archive.writestr("fsdd-1/recordings/7_theo_0.wav", wav_bytes())
        archive.writestr("fsdd-1/recordings/7_theo_11.wav", wav_bytes(samples=900))
        archive.writestr("fsdd-1/recordings/../../../../escaped/1_theo_1.wav", wav_bytes())
        archive.writestr("../recordings/../1_theo_2.wav", wav_bytes())
        archive.writestr("fsdd-1/README.md", "read me")
    return folder


def test_a_download_is_checked_kept_and_stays_in_its_folder(
    site: Path, tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (recordings / "7_theo_11.wav").write_bytes(wav_bytes(samples=900))
    monkeypatch.setattr(_data, "_DIGEST", recordings_digest(recordings))
    cache = tmp_path / "deep" / "er" / "cache"

    with served(site) as url:
        first = load_recordings(cache=cache, archive_url=f"{url}/fsdd.zip")
    second = load_recordings(cache=cache, archive_url=NOWHERE)

    assert [recording.name for recording in first.recordings] == ["7_theo_0", "7_theo_11"]
    assert [recording.name for recording in second.recordings] == ["7_theo_0", "7_theo_11"]
    written = sorted(path.relative_to(cache) for path in cache.rglob("*") if path.is_file())
    assert written == [Path("fsdd/recordings/7_theo_0.wav"), Path("fsdd/recordings/7_theo_11.wav")]
    assert not list(tmp_path.rglob("1_theo_*.wav"))
    assert capfd.readouterr() == ("", "")


def test_a_download_with_another_checksum_is_refused_and_not_kept(site: Path, tmp_path: Path) -> None:
    with served(site) as url, pytest.raises(InputError, match="do not have the expected checksum"):
        load_recordings(cache=tmp_path / "cache", archive_url=f"{url}/fsdd.zip")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_download_that_is_no_archive_is_refused(site: Path, tmp_path: Path) -> None:
    (site / "fsdd.zip").write_bytes(b"<html>please log in</html>")
    with served(site) as url, pytest.raises(InputError, match="did not send a readable zip archive"):
        load_recordings(cache=tmp_path / "cache", archive_url=f"{url}/fsdd.zip")


def test_a_page_that_is_missing_counts_as_out_of_reach(site: Path, tmp_path: Path) -> None:
    with served(site) as url:
        assert load_recordings(cache=tmp_path / "cache", archive_url=f"{url}/gone.zip").synthetic


def test_the_digest_sees_names_and_contents(recordings: Path) -> None:
    before = recordings_digest(recordings)
    (recordings / "7_theo_11.wav").rename(recordings / "7_theo_12.wav")
    renamed = recordings_digest(recordings)
    (recordings / "7_theo_12.wav").write_bytes(wav_bytes(samples=801))

    assert len({before, renamed, recordings_digest(recordings)}) == 3


def named(label: int, speaker: str, index: int) -> Recording:
    return Recording(np.zeros(8, np.float32), label, speaker, index)


EVERYONE = [
    named(label, speaker, index)
    for label in range(10)
    for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    for index in range(50)
]


def names(recordings: tuple[Recording, ...]) -> set[str]:
    return {recording.name for recording in recordings}


@pytest.mark.parametrize("scheme", ["official", "speaker"])
def test_splits_are_disjoint_whole_and_do_not_depend_on_order(scheme: _data.SplitScheme) -> None:
    splits = split_recordings(EVERYONE, scheme)
    train, validation, test = names(splits.train), names(splits.validation), names(splits.test)

    assert not train & validation
    assert not train & test
    assert not validation & test
    assert train | validation | test == names(tuple(EVERYONE))
    assert 0.07 < len(validation) / len(train | validation) < 0.13
    backwards = split_recordings(EVERYONE[::-1], scheme)
    assert (names(backwards.train), names(backwards.test)) == (train, test)


def test_the_official_test_is_takes_0_to_4() -> None:
    test = split_recordings(EVERYONE, "official").test
    assert len(test) == 300
    assert {recording.index for recording in test} == {0, 1, 2, 3, 4}


def test_the_speaker_test_is_theo_and_nothing_else_of_theo_is_heard() -> None:
    splits = split_recordings(EVERYONE, "speaker")
    assert len(splits.test) == 500
    assert {recording.speaker for recording in splits.test} == {"theo"}
    assert "theo" not in {recording.speaker for recording in splits.train + splits.validation}


def test_a_split_that_would_be_empty_is_refused() -> None:
    without_theo = [recording for recording in EVERYONE if recording.speaker != "theo"]
    with pytest.raises(InputError, match="speaker split of these 2500 recordings has an empty test part"):
        split_recordings(without_theo, "speaker")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="split is 'random', but must be"):
        split_recordings(EVERYONE, "random")  # type: ignore[arg-type]  # the point of the test


def test_the_real_recordings_have_the_checksum_that_a_download_must_have(fsdd_root: Path) -> None:
    assert recordings_digest(fsdd_root / "recordings") == _data._DIGEST
