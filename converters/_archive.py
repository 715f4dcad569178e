"""Reads what a .pt2 archive holds before torch opens it, because torch would run some of it.

``torch.export.load`` unpickles whatever it finds in the older places for weights and, where the safe way fails, example
inputs; it loads compiled libraries, resolves operators by dotted name, and evaluates the sizes of dynamic shapes as
Python. An archive that needs none of this is all that a module of tensors needs.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from converters._errors import ModelFileError

__all__ = ["inspect_archive"]

_LARGEST_JSON = 256_000_000

_KNOWN_ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|extra/.*|models/\w+\.json|data/weights/weight_\d+"
    r"|data/constants/tensor_\d+|data/(weights|constants)/\w+_config\.json|data/sample_inputs/\w+\.pt"
)
_KNOWN_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|higher_order|torchvision)\.\w+(\.\w+)?"
    r"|torch\.(ops\.)?_?sym_\w+(\.\w+)?|math\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_REACHES_FILES = re.compile(r"torch\.ops\.aten\.from_file\b.*")
_IMPORTS = ("default_factory_module", "__enum__")
_ARITHMETIC = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Constant, ast.Load, ast.Tuple),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def inspect_archive(path: Path) -> None:
    """Goes through an archive without unpickling or evaluating anything.

    Raises:
        ModelFileError: it is damaged, or holds anything but graphs of known operators and plain tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = _names(path, archive)
            documents = {name: _document(path, archive, entry) for name, entry in names.items() if ".json" in name}
            examples = [archive.read(entry) for name, entry in names.items() if name.startswith("data/sample_inputs/")]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError):
        raise ModelFileError(f"{path} is no .pt2 archive, or a damaged one; export it anew.") from None
    if not any(name.startswith("models/") for name in documents):
        raise ModelFileError(f"{path} holds no exported program, or one of a torch before 2.8; export it anew.")
    for name, document in documents.items():
        if name.startswith("models/"):
            _check_program(path, document)
        else:
            _check_tensors(path, document)
    for example in examples:
        _check_examples(path, example)


def _names(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries by their name below the archive's one folder; torch's own reader takes upper case for lower."""
    names: dict[str, zipfile.ZipInfo] = {}
    roots = set()
    for entry in archive.infolist():
        root, _, name = entry.filename.partition("/")
        roots.add(root)
        if name.lower() in {known.lower() for known in names} or len(roots) > 1 or archive.comment:
            raise ModelFileError(f"{path} is put together in a way that torch never does; export it anew.")
        if not _KNOWN_ENTRY.fullmatch(name):
            raise ModelFileError(
                f"{path} carries {entry.filename!r}, which is no plain tensor and could run code; export it anew, with"
                " torch.export.save and plain tensors."
            )
        names[name] = entry
    return names


def _document(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.file_size > _LARGEST_JSON:
        raise ModelFileError(f"{path} describes itself in more than 256 MB; this is no model we can read.")
    text = archive.read(entry).decode()
    if word := next((word for word in _IMPORTS if word in text), None):
        raise ModelFileError(f"{path} names Python modules to import ({word}); export it with plain arguments.")
    return json.loads(text)


def _check_tensors(path: Path, document: Any) -> None:
    config = document.get("config") if isinstance(document, dict) else None
    for name, entry in (config or {}).items():
        plain = isinstance(entry, dict) and entry.get("use_pickle") is False
        if not plain or not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
            raise ModelFileError(
                f"{path} carries pickled payloads ({name!r}), which could run any code; export it with plain tensors."
            )


def _check_program(path: Path, document: Any) -> None:
    for part in _dictionaries(document):
        target, size = part.get("target"), part.get("expr_str")
        if "inputs" in part and isinstance(target, str) and not _is_harmless(target):
            raise ModelFileError(
                f"{path} calls {target!r}, which is none of torch's own operators on tensors; replace it in the module."
            )
        if size is not None and not _is_arithmetic(size):
            raise ModelFileError(f"{path} gives a size as {str(size)[:80]!r}, which is no arithmetic; export it anew.")


def _is_harmless(operator: str) -> bool:
    return bool(_KNOWN_OPERATOR.fullmatch(operator)) and not _REACHES_FILES.fullmatch(operator)


def _dictionaries(document: Any) -> Iterator[dict[str, Any]]:
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _is_arithmetic(text: Any) -> bool:
    """Whether an expression only puts numbers and symbols into functions of sympy."""
    import sympy
    import torch.utils._sympy.functions as more

    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, TypeError, ValueError, RecursionError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _ARITHMETIC):
            return False
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"[a-z]\w*", node.value):
            return False
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            function = getattr(sympy, name, None) or getattr(more, name, None)
            if not (isinstance(function, type) and issubclass(function, sympy.Basic)):
                return False
    return True


def _check_examples(path: Path, content: bytes) -> None:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:
        raise ModelFileError(
            f"{path} carries example inputs that are no plain tensors and could run code; export it with tensors."
        ) from None
