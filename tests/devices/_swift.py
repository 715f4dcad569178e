"""What Swift's types say that their JSON is, read from their declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_swift

from tests.devices._grammar import walked

__all__ = ["Declarations", "language", "parsed"]

_CODED = {"Codable", "Decodable", "Encodable"}
_PLAIN: dict[str, tuple[type, ...]] = {
    **{"String": (str,), "Bool": (bool,), "Int": (int,), "Int32": (int,)},
    **{"Double": (float, int), "Float": (float, int)},
}


@cache
def language() -> tree_sitter.Language:
    return tree_sitter.Language(tree_sitter_swift.language())


def parsed(path: Path) -> tree_sitter.Node:
    return tree_sitter.Parser(language()).parse(path.read_bytes()).root_node


@dataclass
class _Struct:
    """A struct's members, by the key that each has in JSON."""

    scope: str
    members: dict[str, tree_sitter.Node] = field(default_factory=dict)


class Declarations:
    """All Codable types of some files; one inside another is called ``Outer.Inner``."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._structs: dict[str, _Struct] = {}
        self._enums: dict[str, set[str]] = {}
        for path in paths:
            self._read(parsed(path), "")

    def cases(self, name: str) -> set[str]:
        """The words that an enum knows."""
        return self._enums[name]

    def disagreements(self, name: str, value: Any, *, exactly: bool = True) -> list[str]:
        """Where a JSON value is not what a type declares.

        Args:
            name: of the type.
            value: as ``json.loads`` gives it.
            exactly: whether keys that Swift does not read are wrong too.
        """
        return list(self._of_type(name, "", value, name, exactly))

    def _read(self, node: tree_sitter.Node, scope: str) -> None:
        for child in node.children:
            if child.type != "class_declaration":
                self._read(child, scope)
                continue
            name = _text(child.child_by_field_name("name"))
            own = f"{scope}.{name}" if scope else name
            body = child.child_by_field_name("body")
            inherited = {_text(one) for one in child.children if one.type == "inheritance_specifier"}
            if body is not None and body.type == "enum_class_body":
                self._enums[own] = set(_cases(body).values())
            elif body is not None and inherited & _CODED:
                self._structs[own] = _Struct(own, _members(body))
            if body is not None:
                self._read(body, own)

    def _of(self, node: tree_sitter.Node, scope: str, value: Any, where: str, exactly: bool) -> Iterator[str]:
        inner = [child for child in node.children if child.is_named]
        if node.type == "optional_type":
            if value is not None:
                yield from self._of(inner[0], scope, value, where, exactly)
        elif node.type == "array_type":
            if not isinstance(value, list):
                yield f"{where} is no list"
                return
            for index, one in enumerate(value):
                yield from self._of(inner[0], scope, one, f"{where}[{index}]", exactly)
        elif node.type == "dictionary_type":
            if not isinstance(value, dict):
                yield f"{where} is no object"
                return
            for key, one in value.items():
                yield from self._of(inner[1], scope, one, f"{where}.{key}", exactly)
        else:
            yield from self._of_type(_text(node), scope, value, where, exactly)

    def _of_type(self, name: str, scope: str, value: Any, where: str, exactly: bool) -> Iterator[str]:
        if name in _PLAIN:
            if not isinstance(value, _PLAIN[name]) or (isinstance(value, bool) and name != "Bool"):
                yield f"{where} is {value!r}, no {name}"
            return
        seen = (known for known in _seen_from(scope, name) if known in self._enums or known in self._structs)
        found = next(seen, None)
        assert found is not None, f"{where} is of {name}, which no file declares as Codable"
        if found in self._enums:
            if value not in self._enums[found]:
                yield f"{where} is {value!r}, which {found} does not know"
            return
        struct = self._structs[found]
        if not isinstance(value, dict):
            yield f"{where} is no object"
            return
        yield from (f"{where} lacks {key}" for key in struct.members.keys() - value.keys())
        if exactly:
            yield from (f"{where} has {key} besides" for key in value.keys() - struct.members.keys())
        for key, node in struct.members.items():
            if key in value:
                yield from self._of(node, struct.scope, value[key], f"{where}.{key}", exactly)


def _seen_from(scope: str, name: str) -> Iterator[str]:
    """What a type's name can mean where it is written, the innermost first."""
    parts = scope.split(".") if scope else []
    for length in range(len(parts), -1, -1):
        yield ".".join([*parts[:length], name])


def _members(body: tree_sitter.Node) -> dict[str, tree_sitter.Node]:
    keys: dict[str, str] = {}
    for child in body.children:
        if child.type == "class_declaration" and _text(child.child_by_field_name("name")) == "CodingKeys":
            inner = child.child_by_field_name("body")
            assert inner is not None
            keys = _cases(inner)
    found = {}
    for child in body.children:
        if child.type != "property_declaration" or child.child_by_field_name("computed_value"):
            continue
        if any(b"static" in (one.text or b"") for one in child.children if one.type == "modifiers"):
            continue
        annotation = next(one for one in child.children if one.type == "type_annotation")
        node = annotation.child_by_field_name("name")
        assert node is not None
        name = _text(child.child_by_field_name("name"))
        found[keys[name] if keys else name] = node  # where there are CodingKeys, each member has one
    return found


def _cases(body: tree_sitter.Node) -> dict[str, str]:
    """An enum's raw values, by case."""
    found: dict[str, str] = {}
    for entry in (child for child in body.children if child.type == "enum_entry"):
        last = ""
        for index, child in enumerate(entry.children):
            of = entry.field_name_for_child(index)
            if of == "name":
                last = _text(child)
                found[last] = last
            elif of == "raw_value":
                found[last] = "".join(_text(one) for one in walked(child) if one.type == "line_str_text")
    return found


def _text(node: tree_sitter.Node | None) -> str:
    assert node is not None
    return (node.text or b"").decode()
