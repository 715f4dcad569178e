"""The translation page: what it computes is what Python computes, and it answers as the command line does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from converters import Format
from demo_apps.translation import Corpus, TranslationTask, load_pairs, translator, try_out
from tests.demo_apps.pages.conftest import FORMATS, Opened, Tried

ODD = (
    *("", " ", "  two   spaces  ", "Where is my book?", "where's  it ", "\ufb01ne \ufb02oor", "e\u0301clair \u00e9"),
    *("\uff21\uff22\u3000\uff11", "half \u00bd, 5 \u00b0C, x\u00b2, \u2116", "tabs\tand\nlines", "\u2581 already"),
    *("na\u00efve caf\u00e9", "a\u200bb", "\u65e5\u672c \u8a9e", "\U0001f600 smile \U0001f600\U0001f600", "\u0000x"),
    *("<s> </s> <unk>", "\u2026", "\u201cquotes\u201d", "\u01c5 \ufdfa", "a" * 50, "alll sssss teeee moooo"),
)
"""Ligatures, wide and composed letters, fractions, spaces of all kinds, characters that no training text had."""


@pytest.fixture(scope="module")
def pairs(data_root: Path) -> Corpus:
    if not (data_root / "tatoeba_deu_eng").is_dir():
        pytest.skip(f"needs Tatoeba's pairs, and {data_root} has no folder tatoeba_deu_eng")
    whole = load_pairs(data_root)
    return Corpus(whole.pairs[5000:25_000:5], whole.source, synthetic=False)


@pytest.fixture(scope="module")
def task(pairs: Corpus) -> TranslationTask:
    return TranslationTask(pairs, vocabulary_size=600, held_out=100)


@pytest.fixture(scope="module")
def tried(opened: Opened, task: TranslationTask) -> Tried:
    torch.manual_seed(0)
    sizes = {"source_tokens": len(task.source_vocabulary), "target_tokens": len(task.target_vocabulary)}
    return opened("en-de", try_out, task, translator(32, 1, **sizes))


def written(tried: Tried, text: str) -> str:
    """Types a text and presses Enter."""
    tried.tab.evaluate(f"document.querySelector('#text').value = {json.dumps(text)}")
    press = "new KeyboardEvent('keydown', {key: 'Enter', cancelable: true})"
    return tried.asked(lambda: tried.tab.evaluate(f"void document.querySelector('#text').dispatchEvent({press})"))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_sentence_is_translated_as_the_command_line_does_it(tried: Tried, task: TranslationTask, fmt: Format) -> None:
    tried.chosen(fmt)
    answers = []
    for sentence in task.sentences_of("test")[:4]:
        answers.append(written(tried, f" {sentence.source}  "))
        assert answers[-1] == tried.here(fmt, sentence.source)
    assert len(set(answers)) > 1  # an untrained student, but not one that says the same of everything
    assert "one thread of WebAssembly" in tried.tab.text("#status")


def test_what_the_file_cannot_read_is_told(tried: Tried) -> None:
    assert "The text is empty" in written(tried, "  ")
    assert "No training text had the characters 日 本" in written(tried, "日本")
    assert "tokens, but this file reads at most 32" in written(tried, "I am here. " * 20)


def test_sentences_have_the_same_tokens(tried: Tried, task: TranslationTask, pairs: Corpus) -> None:
    texts = [pair.source for pair in pairs.pairs[::8]]
    found = encoded(tried, "source.model", texts)
    assert found == task.source_vocabulary.encode_all(texts)
    german = [pair.target for pair in pairs.pairs[::16]]
    assert encoded(tried, "target.model", german) == task.target_vocabulary.encode_all(german)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_have_the_same_tokens(tried: Tried, task: TranslationTask, text: str) -> None:
    assert encoded(tried, "source.model", [text]) == [task.source_vocabulary.encode(text)]


def test_any_tokens_have_the_same_text(tried: Tried, task: TranslationTask) -> None:
    draw = np.random.default_rng(0)
    given = [draw.integers(0, len(task.target_vocabulary), 12).tolist() for _ in range(200)]
    call = """async (name, given) => {
      const vocabulary = new core.Vocabulary(await (await fetch(`assets/${name}`)).arrayBuffer());
      return given.map((tokens) => vocabulary.decode(tokens));
    }"""
    found = tried.tab.call("core.js", call, "target.model", given)
    assert found == [task.target_vocabulary.decode(tokens) for tokens in given]


def encoded(tried: Tried, name: str, texts: list[str]) -> list[list[int]]:
    call = """async (name, texts) => {
      const vocabulary = new core.Vocabulary(await (await fetch(`assets/${name}`)).arrayBuffer());
      return texts.map((text) => vocabulary.encode(text));
    }"""
    found: list[list[int]] = tried.tab.call("core.js", call, name, texts)
    return found
