"""Finding, reading and splitting AN4."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from converters import InputError
from demo_apps._public_data import digest_of_files
from demo_apps.speech.sentences import _data, load_corpus
from demo_apps.speech.sentences._synthetic import synthetic_corpus

NOWHERE = "http://127.0.0.1:9/nothing.zip"
SPEAKERS = ("fash", "mdcs", "mdcs2", *(f"m{letter}ab" for letter in "abcdefghijklmnopqrst"))


def write_wav(path: Path, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.arange(1600) % 100 * 300).astype("<i2").tobytes())


@pytest.fixture
def an4(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "an4"
    (folder / "etc").mkdir(parents=True)
    heard = {
        "train": [(f"an4_clstk/{who}", f"an1-{who}-b", "<s> GO TO A </s>") for who in SPEAKERS],
        "test": [("an4test_clstk/fvap", "cen2-fvap-b", "O'CLOCK YES")],
    }
    for part, lines in heard.items():
        (folder / "etc" / f"an4_{part}.fileids").write_text("".join(f"{place}/{name}\n" for place, name, _ in lines))
        spoken = "".join(f"{words} ({name})\n" for _, name, words in lines)
        (folder / "etc" / f"an4_{part}.transcription").write_text(spoken)
        for place, name, _ in lines:
            write_wav(folder / "wav" / place / f"{name}.wav")
    (folder / "etc" / "an4.dic").write_text("A    AH\nA(2)  EY\nGO  G OW\n")
    return folder


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBILEDISTILL_DATA", raising=False)


@pytest.mark.parametrize("up", [0, 1])
def test_transcripts_lose_their_marks_and_words_their_second_pronunciation(an4: Path, up: int) -> None:
    corpus = load_corpus([an4, an4.parent][up])
    assert {utterance.words for utterance in corpus.train} == {("GO", "TO", "A")}
    assert corpus.test[0].words == ("O'CLOCK", "YES")
    assert corpus.dictionary == ("A", "GO")
    assert not corpus.synthetic
    assert corpus.test[0].seconds == pytest.approx(0.1)
    np.testing.assert_array_equal(corpus.test[0].samples * 32768, np.arange(1600) % 100 * 300)


def test_a_tenth_of_the_speakers_is_held_back_whole(an4: Path) -> None:
    corpus = load_corpus(an4)
    train, validation = ({utterance.speaker for utterance in part} for part in (corpus.train, corpus.validation))
    assert len(validation) == 2
    assert not train & validation
    assert len(corpus.train) + len(corpus.validation) == len(SPEAKERS)
    assert "mdcs" in train | validation
    assert "mdcs2" not in train | validation  # a second session of the same person


def test_the_environment_names_the_folder(an4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(an4.parent))
    assert len(load_corpus(archive_url=NOWHERE).test) == 1


def spoil(an4: Path, name: str, old: str, new: str) -> None:
    path = an4 / "etc" / name
    path.write_text(path.read_text().replace(old, new, 1))


def test_defects_are_refused_in_one_line(an4: Path) -> None:
    cases = [
        (lambda: spoil(an4, "an4_test.transcription", "YES", "yes"), r"says .*yes.* such a line is WORDS \(name\)"),
        (lambda: spoil(an4, "an4_test.transcription", "yes", "YES"), None),
        (lambda: spoil(an4, "an4_test.fileids", "an4test_clstk", "../an4"), "of the file '../an4/fvap"),
        (lambda: spoil(an4, "an4_test.fileids", "../an4", "an4test_clstk"), None),
        (lambda: spoil(an4, "an4_train.fileids", "an4_clstk/fash/an1-fash-b\n", ""), "lists 22 files and 23 trans"),
    ]
    for change, message in cases:
        change()
        if message is None:
            load_corpus(an4)
            continue
        with pytest.raises(InputError, match=message) as caught:
            load_corpus(an4)
        assert "\n" not in str(caught.value)


def test_a_missing_or_foreign_recording_is_named(an4: Path) -> None:
    path = an4 / "wav" / "an4test_clstk" / "fvap" / "cen2-fvap-b.wav"
    write_wav(path, rate=8000)
    with pytest.raises(InputError, match=r"cen2-fvap-b\.wav has .* at 8000 Hz, but .* at 16000 Hz"):
        load_corpus(an4)
    path.unlink()
    with pytest.raises(InputError, match=r"cen2-fvap-b\.wav is missing"):
        load_corpus(an4)


def test_a_folder_without_an4_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no AN4 .*: give the folder that holds an4"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("an4-b5/wav/an4_clstk/fash/an251-fash-b.wav", "wav/an4_clstk/fash/an251-fash-b.wav"),
        ("an4-b5/etc/an4.dic", "etc/an4.dic"),
        ("an4-b5/etc/an4.ug.lm", None),
        ("an4-b5/wav/an4_clstk/../../../../x.wav", None),
        ("an4-b5/README", None),
    ],
)
def test_only_what_is_needed_leaves_an_archive(entry: str, place: str | None) -> None:
    assert _data._kept(entry) == place


def test_where_nothing_can_be_reached_the_sentences_are_synthetic(tmp_path: Path) -> None:
    corpus = load_corpus(cache=tmp_path / "cache", archive_url=NOWHERE)
    assert corpus.synthetic
    assert corpus.source == "synthetic sentences of digits (no recordings found)"


def test_synthetic_sentences_are_the_same_every_time_and_speakers_apart() -> None:
    corpus, again = synthetic_corpus(), synthetic_corpus()
    assert [len(corpus.train), len(corpus.validation), len(corpus.test)] == [240, 60, 60]
    assert all(np.array_equal(one.samples, two.samples) for one, two in zip(corpus.train, again.train, strict=True))
    assert {u.speaker for u in corpus.train}.isdisjoint({u.speaker for u in (*corpus.validation, *corpus.test)})
    assert {word for u in corpus.train for word in u.words} == set(corpus.dictionary)


def test_the_real_recordings_have_the_checksum_that_a_download_must_have(an4_root: Path) -> None:
    assert digest_of_files(an4_root, _data._files(an4_root)) == _data._DIGEST
    corpus = load_corpus(an4_root)
    assert (len(corpus.train) + len(corpus.validation), len(corpus.test)) == (948, 130)
    assert sum(len(utterance.words) for utterance in corpus.test) == 773
