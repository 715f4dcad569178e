"""What a .pt2 may hold: tensors, sizes and tensor operators. Anything else is refused before torch sees it.

``torch.export.load`` trusts its file: it unpickles what a configuration calls pickled, objects by their file's name,
and example inputs that no safe unpickler takes; it evaluates sizes as Python, looks operators up by any name below
``torch`` (``torch.os.system``), writes names into the source of a function that it compiles, and loads compiled
libraries. So every record, name, size and operator is compared with what ``torch.export.save`` writes for a plain
module. What passed is written anew, in memory, so that torch reads what was inspected.
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

__all__ = ["plain_archive"]

_LARGEST_JSON = 256_000_000

_MODEL = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_EXAMPLES = "data/sample_inputs/model.pt"
_RECORD = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|\.\w+|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(model_weights_config\.json|weight_\d+)|data/constants/(model_constants_config\.json|tensor_\d+)"
)
_SYMBOL = re.compile(r"[A-Za-z_]+\d{0,5}")  # torch counts up to the number in its name
_PAYLOAD = re.compile(r"weight_\d+|tensor_\d+")
_NAME = re.compile(r"[\w.-]*")

_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed)\.(?!(from_file|save|load)\b)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|map_impl|scan|while_loop|wrap_with_autocast|wrap_with_set_grad_enabled)"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv)"
    r"|math\.(ceil|floor|trunc)|torch\._?sym_\w+"
)

_SIZE_FUNCTIONS = {
    *("Add", "And", "Equality", "Float", "GreaterThan", "Integer", "LessThan", "Max", "Min", "Mod", "Mul", "Not", "Or"),
    *("Pow", "Rational", "StrictGreaterThan", "StrictLessThan", "Symbol", "Unequality"),
    *("CeilDiv", "CeilToInt", "CleanDiv", "FloatPow", "FloatTrueDiv", "FloorDiv", "FloorToInt", "Identity"),
    *("IntTrueDiv", "ModularIndexing", "PowByNatural", "PythonMod", "RoundDecimal", "RoundToInt", "ToFloat"),
    *("TruncToFloat", "TruncToInt", "Where"),
}
_SIZE_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.UnaryOp, ast.USub, ast.BinOp),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE),
    *(ast.Gt, ast.GtE),
)
_LARGEST_EXPRESSION = 2_000
_LARGEST_EXPONENT = 64
_POWERS = ("Pow", "PowByNatural", "FloatPow")

_TREES = (None, "builtins.dict", "builtins.list", "builtins.tuple", "collections.OrderedDict")


def plain_archive(path: Path) -> io.BytesIO:
    """A .pt2 that holds nothing but a plain exported program, inspected and written anew in memory.

    Raises:
        ModelFileError: it is no such archive, damaged, or holds what could run code.
    """
    try:
        root, records = _records(path)
        for name in _CONFIGS:
            _check_config(path, name.rpartition("/")[0], json.loads(records[name]), records)
        model = json.loads(records[_MODEL])
        _check_program(path, model)
        _check_examples(path, records[_EXAMPLES])
    except KeyError as error:
        raise ModelFileError(
            f"{path} is no .pt2 archive, or a damaged one (no {error.args[0]}); export it anew."
        ) from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError):
        raise ModelFileError(f"{path} is no .pt2 archive, or a damaged one; export it anew.") from None
    except (AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ModelFileError(
            f"{path} is a damaged .pt2 archive ({type(error).__name__} while inspecting it); export it anew."
        ) from None
    model["guards_code"] = []  # Python that torch would compile; shapes are checked where a program is used
    records[_MODEL] = json.dumps(model).encode()
    anew = io.BytesIO()
    with zipfile.ZipFile(anew, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"{root}/{name}", content)
    anew.seek(0)
    return anew


def _records(path: Path) -> tuple[str, dict[str, bytes]]:
    """The archive's folder and what lies in it; extra files, which are a user's notes, stay behind."""
    records: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        root = entries[0].filename.partition("/")[0]
        _check_stored(path, entries, path.stat().st_size)
        for entry in entries:
            folder, _, name = entry.filename.partition("/")
            if folder == root and name.startswith("extra/"):
                continue
            if folder != root or folder in ("", ".", "..") or not _RECORD.fullmatch(name) or name in records:
                raise _unsafe(path, f"the record {entry.filename[:100]!r}")
            if name.endswith(".json") and entry.file_size > _LARGEST_JSON:
                raise ModelFileError(f"{path} describes itself in more than 256 MB; this is no model we can read.")
            records[name] = archive.read(entry)
    return root, records


def _check_stored(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    """Nothing may grow when it is read: a small archive must not fill the memory."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        raise ModelFileError(
            f"{path} keeps its records compressed or shared, which torch.export.save never does and which can fill the"
            " memory; export it anew."
        )


def _check_config(path: Path, folder: str, document: Any, records: dict[str, bytes]) -> None:
    for name, entry in document["config"].items():
        if entry["use_pickle"] is not False:
            raise ModelFileError(
                f"{path} carries pickled payloads ({name!r}), which could run any code; export it with plain tensors."
            )
        if not _PAYLOAD.fullmatch(entry["path_name"]):
            raise _unsafe(path, f"the payload {entry['path_name'][:100]!r}")
        _check_name(path, name)
        sizes = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
        if not records[f"{folder}/{entry['path_name']}"] and 0 not in sizes:  # torch would fill them with zeros
            raise ModelFileError(f"{path} holds nothing for the weight {name!r} of shape {sizes}; export it anew.")


def _check_program(path: Path, model: Any) -> None:
    for key, value in _entries(model):
        match key:
            case "target" | "as_operator":
                if not isinstance(value, str) or not _OPERATOR.fullmatch(value):
                    raise _unsafe(path, f"the operator {str(value)[:100]!r}")
            case "expr_str":
                if not isinstance(value, str) or not _is_size(value):
                    raise _unsafe(path, f"the size {str(value)[:100]!r}")
            case "as_int" | "min_val" | "max_val":
                if value is not None and type(value) is not int:  # text would be evaluated
                    raise _unsafe(path, f"the number {str(value)[:100]!r}")
            case "range_constraints":
                for name in value:
                    if not _SYMBOL.fullmatch(name):
                        raise _unsafe(path, f"the symbol {name[:100]!r}")
            case "in_spec" | "out_spec":
                _check_tree(path, value, of_inputs=key == "in_spec")
            case "forward_arg_names":
                for name in value or ():
                    _check_name(path, name)
            case "name" | "as_name" | "fqn" | "class_fqn":
                _check_name(path, value)
            case _ if key.endswith("_name"):
                _check_name(path, value)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a document, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _check_name(path: Path, name: Any) -> None:
    """Names become part of Python source: none may be more than a name."""
    if name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        raise _unsafe(path, f"the name {str(name)[:100]!r}")


def _check_tree(path: Path, text: Any, *, of_inputs: bool) -> None:
    """Inputs and outputs may be nested in dictionaries, lists and tuples; other classes would have to be imported."""
    if not text:
        return
    for key, value in _entries(json.loads(text)):
        if key == "type" and value not in _TREES:
            raise _unsafe(path, f"the container {str(value)[:100]!r}")
        if key == "context" and value is not None:
            names = json.loads(value)
            if names is not None and any(not isinstance(name, str | int) for name in names):
                raise _unsafe(path, f"the container {str(value)[:100]!r}")
            for name in (names or ()) if of_inputs else ():
                _check_name(path, name if isinstance(name, str) else None)


def _is_size(expression: str) -> bool:
    """Whether an expression only computes with integers and symbols, and not much."""
    if len(expression) > _LARGEST_EXPRESSION:
        return False
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(isinstance(node, _SIZE_NODES) and _is_plain(node) for node in nodes)


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return node.value.isidentifier()
        return isinstance(node.value, int | float) and abs(node.value) < 2**63
    if not isinstance(node, ast.Call):
        return True
    if not isinstance(node.func, ast.Name) or node.func.id not in _SIZE_FUNCTIONS:
        return False
    if any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in node.args):
        return node.func.id == "Symbol"  # any other function would evaluate the text
    return node.func.id not in _POWERS or _is_small_power(node)


def _is_small_power(call: ast.Call) -> bool:
    """Neither a power of a power nor a large exponent, which would take forever."""
    inside = [node for part in call.args for node in ast.walk(part)]
    if len(call.args) != 2 or any(isinstance(node, ast.Name) and node.id in _POWERS for node in inside):
        return False
    numbers = [node.value for node in ast.walk(call.args[1]) if isinstance(node, ast.Constant)]
    return len(numbers) <= 2 and all(isinstance(n, int | float) and abs(n) <= _LARGEST_EXPONENT for n in numbers)


def _check_examples(path: Path, content: bytes) -> None:
    """They are the one part that is pickled by design; torch would fall back to executing what is not safe."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_stored(path, archive.infolist(), len(content))
        torch.load(io.BytesIO(content), weights_only=True)
    except ModelFileError:
        raise
    except Exception:  # whatever the unpickler meets
        raise ModelFileError(
            f"{path} carries example inputs that are no plain tensors, which could run any code; export it"
            " with tensors."
        ) from None


def _unsafe(path: Path, what: str) -> ModelFileError:
    return ModelFileError(
        f"{path} holds {what}, which no plain exported program has and which could run any code; do not use it."
    )
