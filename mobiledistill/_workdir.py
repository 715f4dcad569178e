"""The work folder: what a run has already done, written so that a killed run goes on where it stopped."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from converters import InputError
from mobiledistill._task import Task

__all__ = ["Workdir", "code_fingerprint", "data_fingerprint", "digest_of", "fingerprint", "write_text"]


class Workdir:
    """A folder that belongs to one call of ``compress``.

    Answers that cost time (``recall``) and training checkpoints (``checkpoint``) live here. Every file is written
    aside and renamed, so what is on disk is always whole.

    Args:
        path: the folder; made where it is missing.
        call: what identifies the call. A folder that holds another call's work is refused, never overwritten.

    Raises:
        InputError: the folder cannot be written, or holds another run.
    """

    def __init__(self, path: Path, call: Mapping[str, Any]) -> None:
        self.path = path
        text = json.dumps(call, indent=1, sort_keys=True, default=str)
        make_folder(path)
        record = path / "run.json"
        if record.exists() and (before := record.read_text(errors="replace")) != text:
            changed = sorted(_changed(before, call))
            raise InputError(
                f"{path} holds another run (it differs in {', '.join(changed)});"
                " choose another workdir, or delete this one to start over."
            )
        write_text(record, text)

    def recall(self, name: str, key: object, compute: Callable[[], Any]) -> Any:
        """The JSON value remembered under ``name`` for ``key``, computed and remembered the first time."""
        file = self.path / f"{name}.json"
        known = _object(file) if file.exists() else {}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
        if digest not in known:
            known[digest] = compute()
            write_text(file, json.dumps(known, indent=1))
        return known[digest]

    def checkpoint(self, phase: str) -> Path:
        """Where the training of a phase keeps its state."""
        folder = self.path / "training"
        folder.mkdir(exist_ok=True)
        return folder / f"{phase}.pt"

    def files(self, name: str) -> Path:
        """A folder for exported files."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard(self, name: str) -> None:
        """Drops exported files that only served a measurement."""
        shutil.rmtree(self.path / name, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Makes a folder and checks that it can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"The folder {path} cannot be written ({error.strerror or error}); choose another one with --workdir."
        ) from None


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or none."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.partial")  # processes that share a folder may write the same
    aside.write_text(text)
    aside.replace(path)


def fingerprint(module: nn.Module) -> str:
    """A digest of a module's layers and weights; where objects lie in memory does not count."""
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def digest_of(path: Path) -> str:
    """A digest of a file, or of a folder's files and their names."""
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return digest.hexdigest()


def data_fingerprint(task: Task) -> str:
    """A digest of a task's calibration inputs, and of what it calls its ``fingerprint``: other data, another call."""
    digest = hashlib.sha256(task.name.encode() + getattr(task, "fingerprint", "").encode())
    for name in task.signatures:
        for key, value in task.calibration_inputs(name).items():
            digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def code_fingerprint(*things: object) -> str:
    """A digest of the code that defines objects and functions: their files, and what those import from beside them.

    Comments and docstrings do not count, nor does torch's own code.
    """
    found: dict[str, str] = {}
    for module in dict.fromkeys(str(getattr(thing, "__module__", "")) for thing in things):
        file = getattr(sys.modules.get(module), "__file__", None)
        if module.partition(".")[0] != "torch" and file is not None:
            _gather_code(module, Path(file), found)
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def _gather_code(module: str, file: Path, found: dict[str, str]) -> None:
    """Of what is imported beside it the files are looked up, not what is loaded: that changes while a program runs."""
    if module in found or not file.is_file():
        return
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]  # what only says something
    found[module] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    package, _, _ = module.rpartition(".")
    folder = file.parents[1] if package and file.name == "__init__.py" else file.parent
    if not package and file.name == "__init__.py":
        package = module
    for name in _imported(tree):
        if package and name.startswith(f"{package}."):
            beside = folder.joinpath(*name.removeprefix(f"{package}.").split("."))
            _gather_code(name, beside / "__init__.py" if beside.is_dir() else beside.with_suffix(".py"), found)
        elif not package and "." not in name:  # a script, which is in no package
            _gather_code(name, folder / f"{name}.py", found)


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _object(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_bytes())
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise InputError(f"{file} is damaged; delete it, and the same call does again what it held.")
    return known


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _changed(before: str, call: Mapping[str, Any]) -> set[str]:
    try:
        old = json.loads(before)
    except ValueError:
        old = None
    if not isinstance(old, dict):
        return {"its damaged run.json"}
    new = json.loads(json.dumps(call, default=str))
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
