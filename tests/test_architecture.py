"""The house rules that no single file can see: which way imports run, what loads when, and who may name a task."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("converters", "demo_apps", "mobiledistill")
ABOVE = {"converters": {"mobiledistill", "demo_apps"}, "mobiledistill": {"demo_apps"}, "demo_apps": set[str]()}
HEAVY = {
    *("accelerate", "ai_edge_litert", "coremltools", "jax", "litert_torch"),
    *("onnx", "onnxruntime", "tensorflow", "torch_pruning"),
}
ONLY_RUN = {"pymobiledevice3"}  # under the GPL: a program of the user's, no library of ours
TASK_WORDS = {  # in the singular
    *("audio", "digit", "phoneme", "sentence", "speaker", "speech", "utterance", "waveform"),
    *("bleu", "detection", "detector", "translation", "translator"),
    *("an4", "bccd", "fsdd", "tatoeba"),
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_downwards(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(package)
        for line, module in imports(ast.parse(path.read_text()))
        if module.split(".")[0] in ABOVE[package]
    ]
    assert not wrong


def test_what_is_only_run_is_neither_imported_nor_installed() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for package in PACKAGES
        for path in sources(package)
        for line, module in imports(ast.parse(path.read_text()))
        if module.split(".")[0] in ONLY_RUN
    ]
    assert not wrong
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert not [one for one in wanted if any(one.lower().startswith(name) for name in ONLY_RUN)]


def test_demos_use_the_public_interface_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources("demo_apps")
        for line, module in imports(ast.parse(path.read_text()))
        if module.split(".")[0] in {"converters", "mobiledistill"} and is_private(module)
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["converters", "mobiledistill"])
def test_nothing_below_the_demos_names_a_task(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} says {word!r}"
        for path in sources(package)
        for line, word in [*spoken_words(ast.parse(path.read_text())), *((0, word) for word in words(path.stem))]
        if names_a_task(word)
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["converters", "mobiledistill"])
def test_importing_loads_nothing_heavy(package: str) -> None:
    program = f"import sys, {package}; print(*{{name.split('.')[0] for name in sys.modules}})"
    fresh = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(fresh.stdout.split())
    assert package in loaded
    assert not loaded & HEAVY


SAMPLE = '''
"""Docstrings may say speech."""
import importlib
import demo_apps.speech as demo
from mobiledistill import _plan, compress
importlib.import_module("demo_apps.vision")

class DigitReader:
    """Reads digits."""

    best_detection: int = 0
    """An attribute's docstring about sentences."""

    def isdigit(self, utterance):
        return f"no translations of {self.text}"
'''


def test_the_readers_of_this_file_see_what_they_look_for() -> None:
    tree = ast.parse(SAMPLE)
    modules = {module for _, module in imports(tree)}
    assert {"demo_apps.speech", "demo_apps.vision", "mobiledistill._plan", "mobiledistill.compress"} <= modules
    assert [module for module in sorted(modules) if is_private(module)] == ["mobiledistill._plan"]
    assert {word for _, word in spoken_words(tree) if names_a_task(word)} == {
        "speech",  # the import, not the docstring
        "digit",  # DigitReader, and neither isdigit nor the docstring
        "detection",
        "translations",
        "utterance",
    }


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports, by name at run time included."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from ((node.lineno, f"{'.' * level}{module or ''}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module


def is_private(module: str) -> bool:
    return any(part.startswith("_") for part in module.split("."))


def spoken_words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and lower-case word of every identifier and string but the docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        for _, field in ast.iter_fields(node):
            texts = field if isinstance(field, list) else [field]
            if id(node) not in docstrings:
                line = getattr(node, "lineno", 0)
                yield from ((line, word) for text in texts if isinstance(text, str) for word in words(text))


def names_a_task(word: str) -> bool:
    return bool({word, word.removesuffix("s")} & TASK_WORDS)


def words(text: str) -> list[str]:
    """Splits prose, ``snake_case`` and ``CamelCase`` into lower-case words."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower())
