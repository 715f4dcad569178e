"""Exported programs that would run code, each its own way, in a torch that trusts them."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["HOSTILE", "Bomb", "edited", "records_of"]

Records = dict[str, bytes]


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.witness}",)


def records_of(path: Path) -> tuple[str, Records]:
    """The folder of an archive, and what lies in it."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = names[0].partition("/")[0]
        return root, {name.partition("/")[2]: archive.read(name) for name in names}


def edited(source: Path, target: Path, edit: Callable[[Records], None], **how: Any) -> Path:
    """A copy of an archive whose records were edited."""
    root, records = records_of(source)
    edit(records)
    with zipfile.ZipFile(target, "w", **how) as archive:
        for name, content in records.items():
            archive.writestr(name if name.startswith(("..", "/")) else f"{root}/{name}", content)
    return target


def _config(kind: str, change: Mapping[str, Any], content: bytes) -> Callable[[Records], None]:
    """Turns the first weight into what ``change`` says, with other content."""

    def edit(records: Records) -> None:
        name = f"data/{kind}/model_{kind}_config.json"
        document = json.loads(records[name])
        if document["config"]:
            entry = next(iter(document["config"].values()))
        else:
            weights = json.loads(records["data/weights/model_weights_config.json"])
            entry = document["config"]["extra"] = next(iter(weights["config"].values()))
        entry |= change
        records[name] = json.dumps(document).encode()
        records[f"data/{kind}/{entry['path_name']}"] = content

    return edit


def _model(change: Callable[[dict[str, Any]], None]) -> Callable[[Records], None]:
    def edit(records: Records) -> None:
        document = json.loads(records["models/model.json"])
        change(document)
        records["models/model.json"] = json.dumps(document).encode()

    return edit


def _record(name: str, content: bytes) -> Callable[[Records], None]:
    return lambda records: records.update({name: content})


def _saved(bomb: Bomb) -> bytes:
    content = io.BytesIO()
    torch.save((bomb,), content)
    return content.getvalue()


def _call(target: str, argument: str) -> Callable[[Records], None]:
    """Puts a call of a function with a text before everything else."""
    node = {
        "target": target,
        "inputs": [{"name": "", "arg": {"as_string": argument}, "kind": 1}],
        "outputs": [{"as_none": True}],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": "called",
    }
    return _model(lambda model: model["graph_module"]["graph"]["nodes"].insert(0, node))


def _size(expression: str, hint: object = 1) -> Callable[[Records], None]:
    def change(model: dict[str, Any]) -> None:
        for meta in model["graph_module"]["graph"]["tensor_values"].values():
            meta["sizes"] = [{"as_expr": {"expr_str": expression, "hint": {"as_int": hint}}}] * len(meta["sizes"])

    return _model(change)


def _renamed(name: str) -> Callable[[Records], None]:
    """Gives the user's input another name everywhere."""

    def edit(records: Records) -> None:
        text = records["models/model.json"].decode()
        records["models/model.json"] = text.replace(json.dumps("image"), json.dumps(name)).encode()

    return edit


def _argument(name: str) -> Callable[[Records], None]:
    """Gives the user's input another name where the call's arguments are described."""

    def change(model: dict[str, Any]) -> None:
        for call in model["graph_module"]["module_call_graph"]:
            if call["signature"]:
                call["signature"]["in_spec"] = call["signature"]["in_spec"].replace("image", name)

    return _model(change)


def _tree(text: str) -> Callable[[Records], None]:
    def change(model: dict[str, Any]) -> None:
        for call in model["graph_module"]["module_call_graph"]:
            if call["signature"]:
                call["signature"]["out_spec"] = text

    return _model(change)


HOSTILE: dict[str, Callable[[Path], Callable[[Records], None]]] = {
    "pickled weight": lambda w: _config("weights", {"use_pickle": True}, _saved(Bomb(w))),
    "pickled constant": lambda w: _config("constants", {"use_pickle": True, "path_name": "tensor_0"}, _saved(Bomb(w))),
    "object among the constants": lambda w: _config("constants", {"path_name": "opaque_obj_0"}, pickle.dumps(Bomb(w))),
    "script object among the constants": lambda w: _config(
        "constants", {"path_name": "custom_obj_0"}, pickle.dumps(Bomb(w))
    ),
    "pickled example inputs": lambda w: _record("data/sample_inputs/model.pt", _saved(Bomb(w))),
    "weights of the old kind": lambda w: _record("data/weights/model.pt", _saved(Bomb(w))),
    "constants of the old kind": lambda w: _record("data/constants/model.pt", _saved(Bomb(w))),
    "compiled library": lambda w: _record("data/aotinductor/model/model.so", b"\x7fELF"),
    "size that is Python": lambda w: _size(f"__import__('os').system('touch {w}')"),
    "size that is text": lambda w: _size(f"sympify(\"__import__('os').system('touch {w}')\")"),
    "size without end": lambda w: _size("9**9**9**9"),
    "power of powers": lambda w: _size("Pow(Pow(Integer(99), Integer(64)), Integer(64))"),
    "shell as operator": lambda w: _call("torch.os.system", f"touch {w}"),
    "library as operator": lambda w: _call("torch.ops.load_library", str(w)),
    "file as operator": lambda w: _call("torch.ops.aten.from_file.default", str(w)),
    "name that is Python": lambda w: _renamed(f"x=__import__('os').system('touch {w}')"),
    "argument that is Python": lambda w: _argument(f"x=__import__('os').system('touch {w}')"),
    "hint that is Python": lambda w: _size("Symbol('s0', integer=True)", f"__import__('os').system('touch {w}')"),
    "symbol without end": lambda w: _model(
        lambda model: model["range_constraints"].update({"u999999999999": {"min_val": 1, "max_val": 9}})
    ),
    "container of any module": lambda w: _tree(
        json.dumps(
            [1, {"type": "builtins.dict", "context": '[{"__enum__": true, "fqn": "this:s"}]', "children_spec": []}]
        )
    ),
    "record above the folder": lambda w: _record("../evil", b"evil"),
    "record at an absolute place": lambda w: _record(str(w), b"evil"),
}
"""By what they do: an edit of a sound archive, given the file that appears where the payload ran."""
