"""A task small enough to train in a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo_apps.speech.sentences import Augmentation, Corpus, SentencesTask
from demo_apps.speech.sentences._synthetic import synthetic_corpus

WIDTH = 16


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Forty synthetic sentences of four voices, and a few of the two others."""
    whole = synthetic_corpus()
    return replace(whole, train=whole.train[::6], validation=whole.validation[:6], test=whole.test[:12])


@pytest.fixture(scope="session")
def task(corpus: Corpus) -> SentencesTask:
    return SentencesTask(corpus, width=WIDTH, augmentation=Augmentation())


@pytest.fixture(scope="session")
def an4_root(data_root: Path) -> Path:
    root = data_root / "an4"
    if not (root / "etc").is_dir():
        pytest.skip(f"needs AN4, and {root} has no folder etc")
    return root
