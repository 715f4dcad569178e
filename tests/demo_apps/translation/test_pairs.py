"""Finding and reading sentence pairs, and splitting them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from demo_apps.translation._pairs import Pair, load_pairs, read_pairs, split_pairs
from demo_apps.translation._phrases import made_up_pairs
from mobiledistill import InputError

NOWHERE = "http://127.0.0.1:9/nothing.zip"
MADE_UP = [Pair(*pair) for pair in made_up_pairs()]


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBILEDISTILL_DATA", raising=False)


def written(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "deu.txt"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_a_line_is_a_pair_and_odd_spaces_are_plain_ones(tmp_path: Path) -> None:
    file = written(tmp_path, "Hi.\tHallo!\nI\u00a0am  here.\tIch bin\u202fhier.\tCC-BY 2.0\n\n")
    assert read_pairs(file) == (Pair("Hi.", "Hallo!"), Pair("I am here.", "Ich bin hier."))


def test_the_zip_and_the_text_in_it_read_the_same(tmp_path: Path) -> None:
    text = written(tmp_path / "text", "Hi.\tHallo!\n")
    (tmp_path / "zip" / "tatoeba_deu_eng").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "zip" / "tatoeba_deu_eng" / "deu-eng.zip", "w") as archive:
        archive.write(text, "deu.txt")
    assert load_pairs(tmp_path / "zip").pairs == load_pairs(tmp_path / "text").pairs == (Pair("Hi.", "Hallo!"),)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("Hi.\tHallo!\nonly English\n", "Line 2 of .*deu.txt must be English, a tab, German"),
        ("Hi.\t\n", "Line 1"),
        ("\n\n", "holds no sentence pairs"),
        (b"Hi.\tGr\xfc\xdf Gott!\n", r"not UTF-8 \(byte 6\)"),
    ],
)
def test_damaged_text_is_refused_in_one_line(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(InputError, match=complaint) as refused:
        read_pairs(file)
    assert "\n" not in str(refused.value)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deu-eng.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="cannot be read"):
        load_pairs(tmp_path)
    with zipfile.ZipFile(tmp_path / "deu-eng.zip", "w") as archive:
        archive.writestr("fra.txt", "Hi.\tSalut !\n")
    with pytest.raises(InputError, match=r"holds no deu\.txt"):
        load_pairs(tmp_path)


def test_a_folder_without_pairs_is_refused_when_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither"):
        load_pairs(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        load_pairs(tmp_path / "nowhere")


def test_with_nothing_at_hand_sentences_are_made_up_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILEDISTILL_DATA", str(tmp_path))
    corpus = load_pairs(cache=tmp_path / "cache", archive_url=NOWHERE)
    assert corpus.synthetic
    assert "made-up" in corpus.source
    assert len(set(corpus.pairs)) == len(corpus.pairs) == 3200


def test_no_training_pair_translates_a_held_out_sentence() -> None:
    pairs = [*MADE_UP, Pair("i SEE the dog", "Ich seh den Hund"), Pair("I see the dog!", "Ich seh' den Hund!")]
    splits = split_pairs(pairs)

    held_out = {sentence.source for sentence in (*splits.validation, *splits.test)}
    assert len(splits.validation) == len(splits.test) == len({pair.source for pair in pairs}) // 10
    assert len(held_out) == len(splits.validation) + len(splits.test)
    bare = {"".join(c for c in source.casefold() if c.isalnum()) for source in held_out}
    assert not bare & {"".join(c for c in pair.source.casefold() if c.isalnum()) for pair in splits.train}


def test_the_split_hangs_on_the_sentences_and_not_on_their_order() -> None:
    assert split_pairs(MADE_UP).test == split_pairs(MADE_UP[::-1]).test


def test_every_translation_of_a_sentence_is_a_reference() -> None:
    doubled = [*MADE_UP, *(Pair(pair.source, f"{pair.target} Ja.") for pair in MADE_UP)]
    assert all(len(sentence.references) == 2 for sentence in split_pairs(doubled).test)


def test_too_few_pairs_for_three_splits_are_refused() -> None:
    with pytest.raises(InputError, match="three splits need 10"):
        split_pairs(MADE_UP[:9])


def test_real_pairs_give_2000_sentences_each(data_root: Path) -> None:
    if not (data_root / "tatoeba_deu_eng").is_dir():
        pytest.skip(f"needs the Tatoeba pairs, and {data_root} has no folder tatoeba_deu_eng")
    corpus = load_pairs(data_root)
    splits = split_pairs(corpus.pairs)

    assert len(corpus.pairs) == 169_813
    assert len(splits.validation) == len(splits.test) == 2000
    assert len(splits.train) > 160_000
    assert "\u00a0" not in "".join(pair.source + pair.target for pair in corpus.pairs)
