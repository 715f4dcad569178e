"""Small real model files, made by the script that made the reference models."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import mobiledistill.devices

ASSETS = Path(mobiledistill.devices.__file__).parent / "assets"


@pytest.fixture
def assets() -> Path:
    """Where the committed reference models lie."""
    return ASSETS


@pytest.fixture
def maker() -> ModuleType:
    """A fresh copy of the script, whose image side a test may change."""
    spec = importlib.util.spec_from_file_location("make_reference", ASSETS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tflite(assets: Path) -> Path:
    return assets / "reference.tflite"


@pytest.fixture
def onnx(assets: Path) -> Path:
    return assets / "reference.onnx"
