"""Translators from Hugging Face: tiny ones with random weights, read from folders as real ones are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from demo_apps.translation._huggingface import MarianTeacher, relabelled
from demo_apps.translation._pairs import Corpus, Pair
from demo_apps.translation._task import TranslationTask
from mobiledistill import InputError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
pytest.importorskip("sacremoses")

LINES = [
    *("the cat sits on the mat", "a dog runs in the park", "where is the station"),
    *("die katze sitzt auf der matte", "ein hund rennt im park", "wo ist der bahnhof"),
]
TEXTS = ["the cat runs", "where is a dog in the park", "a", "the station sits on the mat", "qx ü?"]
PLACES = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marian")
    written = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=written, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    special = ["</s>", "<unk>"]  # first, as OPUS-MT has them; the padding is last
    pieces = [piece for piece in map(model.id_to_piece, range(len(model))) if piece not in ("<s>", *special)]
    vocabulary = {piece: number for number, piece in enumerate([*special, *pieces, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    paths = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    transformers.MarianTokenizer(*paths, source_lang="en", target_lang="de").save_pretrained(folder)
    save_model(folder, len(vocabulary))
    return folder


def save_model(folder: Path, tokens: int) -> None:
    ids = {"pad_token_id": tokens - 1, "eos_token_id": 0, "decoder_start_token_id": tokens - 1}
    config = transformers.MarianConfig(
        vocab_size=tokens,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=PLACES,
        **ids,
    )
    model = transformers.MarianMTModel(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1 and weight.requires_grad:
                weight.normal_(0, 0.4)
    model.generation_config = transformers.GenerationConfig(max_length=12, bad_words_ids=[[tokens - 1]], **ids)
    model.save_pretrained(folder)


def greedily(teacher: MarianTeacher, text: str) -> str:
    """What the teacher must say, without ``generate``: all of it is read anew for each token."""
    model, tokenizer = teacher.checkpoint.model, teacher.checkpoint.processor
    source = tokenizer([text], return_tensors="pt")
    start, end = model.config.decoder_start_token_id, model.config.eos_token_id
    written = [start]
    while len(written) < 12 and written[-1] != end:
        with torch.no_grad():
            logits = model(**source, decoder_input_ids=torch.tensor([written])).logits[0, -1]
        logits[start] = -torch.inf
        written.append(int(logits.argmax()))
    spoken = [token for token in written[1:] if token != end]
    answer: str = tokenizer.spm_target.decode_pieces([tokenizer.decoder[token] for token in spoken])
    return answer.strip()


def test_greedy_translations_are_the_likeliest_token_each_time(folder: Path) -> None:
    teacher = MarianTeacher.from_pretrained(folder, beams=1)
    answers = teacher.translate(TEXTS)
    assert answers == [greedily(teacher, text) for text in TEXTS]
    assert len(set(answers)) > 2


def test_beams_find_translations_at_least_as_likely(folder: Path) -> None:
    narrow, wide = (MarianTeacher.from_pretrained(folder, beams=beams) for beams in (1, 4))
    assert narrow.translate(TEXTS) != wide.translate(TEXTS)
    tokenizer = wide.checkpoint.processor
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    wanted = wide.checkpoint.model.generate(**inputs, num_beams=4)
    wanted = [answer.strip() for answer in tokenizer.batch_decode(wanted, skip_special_tokens=True)]
    assert wide.translate(TEXTS) == wanted


def test_more_than_a_batch_in_the_order_given(folder: Path) -> None:
    teacher = MarianTeacher.from_pretrained(folder, beams=1)
    many = [" ".join(["cat", "dog", "park"][: 1 + number % 3] * (1 + number % 2)) for number in range(40)]
    answers = teacher.translate(many)
    wanted = {text: greedily(teacher, text) for text in set(many)}
    assert answers == [wanted[text] for text in many]


def test_blank_texts_stay_blank(folder: Path) -> None:
    teacher = MarianTeacher.from_pretrained(folder, beams=1)
    assert teacher.translate(["", TEXTS[0], " \n"]) == ["", *teacher.translate(TEXTS[:1]), ""]
    assert teacher.translate([" "]) == [""]
    assert teacher.translate([]) == []


def test_a_text_that_is_too_long(folder: Path) -> None:
    with pytest.raises(InputError, match=rf"^The text that begins 'cat .*teacher reads {PLACES} at most") as refused:
        MarianTeacher.from_pretrained(folder).translate(["cat " * PLACES])
    assert "\n" not in str(refused.value)


def test_a_vocabulary_that_is_missing(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != "source.spm":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="cannot be loaded as MarianMTModel") as refused:
        MarianTeacher.from_pretrained(tmp_path)
    assert "\n" not in str(refused.value)


class Backwards:
    """Says the words in the other order; knows no question."""

    def translate(self, texts: Sequence[str]) -> list[str]:
        return ["" if "?" in text else turned(text) for text in texts]


def turned(text: str) -> str:
    return " ".join(reversed(text.split()))


WORDS = ["cat", "dog", "park", "mat", "hund", "katze"]
CORPUS = Corpus(
    tuple(Pair(f"{a} {b} {c}", f"{c} {b}") for a in WORDS for b in WORDS for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ?"),
    "here",
    synthetic=True,
)


@pytest.fixture(scope="module")
def task() -> TranslationTask:
    return TranslationTask(CORPUS, vocabulary_size=60)


def learned(task: TranslationTask) -> set[tuple[str, str]]:
    """Sources and targets of every training batch, as text again; four epochs are one pass."""
    pairs = set()
    for batch in (batch for epoch in range(4) for batch in task.train_batches(epoch)):
        rows: Any = zip(batch.inputs["source"].tolist(), batch.targets["next"].tolist(), strict=True)
        pairs |= {(task.source_vocabulary.decode(row), task.target_vocabulary.decode(target)) for row, target in rows}
    return pairs


def test_a_task_learns_what_the_teacher_says(task: TranslationTask) -> None:
    people = learned(task)
    transfer = relabelled(task, Backwards())
    sources = {source for source, _ in people}
    assert any("?" in source for source in sources)
    assert learned(transfer) == {(source, turned(source)) for source in sources if "?" not in source}
    assert transfer.held_out == task.held_out
    assert learned(task) == people  # the task that was given is as it was


def test_a_teacher_that_says_nothing(task: TranslationTask) -> None:
    with pytest.raises(InputError, match="answers none of 2 texts"):
        relabelled(task.with_pairs([Pair("cat?", "x"), Pair("dog?", "y"), Pair("dog?", "z")]), Backwards())
