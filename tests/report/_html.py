"""Reads a page strictly: every tag must be closed in order."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Document", "read"]

_VOID = {"meta", "br", "hr", "img", "input", "link"}


class Document(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.cells: dict[str, list[str]] = {}
        """Text by the tag it stands in, one entry for each element."""
        self._open: list[tuple[str, list[str]]] = []
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """All text but style, with single spaces."""
        return " ".join(" ".join(self._text).split())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append((tag, []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened, parts = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}> in line {self.getpos()[0]}"
        self.cells.setdefault(tag, []).append(" ".join("".join(parts).split()))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "style":
            return
        self._text.append(data)
        for _, parts in self._open:
            parts.append(data)

    def close(self) -> None:
        super().close()
        assert not self._open, f"never closed: {[tag for tag, _ in self._open]}"


def read(page: str) -> Document:
    document = Document()
    document.feed(page)
    document.close()
    return document
