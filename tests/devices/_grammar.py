"""Source text of phones' apps, which nothing here can compile, by its grammar."""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter

__all__ = ["faults", "walked"]


def faults(language: tree_sitter.Language, source: bytes) -> list[str]:
    """What does not parse, with its line."""
    nodes = walked(tree_sitter.Parser(language).parse(source).root_node)
    return [f"{n.start_point.row + 1}: {(n.text or b'')[:60]!r}" for n in nodes if n.is_error or n.is_missing]


def walked(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """A node and all below it."""
    yield node
    for child in node.children:
        yield from walked(child)
