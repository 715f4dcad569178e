"""Keras models of several kinds, made and saved by Keras in a process of its own, as users have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters import KerasModel, load_keras, run_in_child
from tests.converters.keras._models import save_models


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``save_models`` saves."""
    folder = tmp_path_factory.mktemp("keras")
    run_in_child(save_models, folder)
    return folder


@pytest.fixture(scope="session")
def cnn(saved: Path) -> KerasModel:
    return load_keras(saved / "cnn.keras")
