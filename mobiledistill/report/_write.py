"""A result in, one HTML file out."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters import InputError, MissingExtraError
from mobiledistill._result import CompressionResult
from mobiledistill.report._page import Page, page_of

__all__ = ["report_from_file", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_PNG = b"\x89PNG"


def write_report(result: CompressionResult, path: Path) -> Path:
    """Writes what was reached, against what was asked, as one HTML file.

    You gain a page that opens anywhere, offline, on a phone or on paper: style and figures are inside, and it runs no
    script. It is written aside and renamed, so a page that is there is whole.

    Example:
        >>> write_report(result, Path("report.html"))  # doctest: +SKIP

    Args:
        result: what ``compress`` returned, or the ``nearest`` of a ``BudgetError``.
        path: the HTML file; one that exists is replaced.

    Returns:
        ``path``.

    Raises:
        MissingExtraError: Jinja is not installed.
        InputError: the file cannot be written.
    """
    return _write(page_of(result.to_dict()), path, [(caption, _image(file)) for caption, file in result.pictures])


def report_from_file(result_json: Path, path: Path) -> Path:
    """Writes the report of a finished run anew, from its ``result.json`` alone.

    Args:
        result_json: what ``CompressionResult.to_dict`` holds, as JSON; every work folder has one.
        path: the HTML file; one that exists is replaced.

    Returns:
        ``path``.

    Raises:
        MissingExtraError: Jinja is not installed.
        InputError: ``result_json`` is not the result of a run, or the HTML file cannot be written.
    """
    try:
        data = json.loads(result_json.read_text(encoding="utf-8"))
        page = page_of(data)
        folder = result_json.parent / "pictures"  # a run may have moved since
        pictures = [(str(one["caption"]), folder / Path(one["path"]).name) for one in data.get("pictures", ())]
    except OSError as error:
        raise InputError(f"{result_json} cannot be read ({error.strerror}); give the result.json of a run.") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{result_json} is not the result of a run ({why}); give a result.json.") from None
    return _write(page, path, [(caption, _image(file)) for caption, file in pictures])


def _image(file: Path) -> str:
    """A PNG as the text of a ``src``; empty where there is none any more."""
    content = file.read_bytes() if file.is_file() else b""
    return f"data:image/png;base64,{b64encode(content).decode()}" if content.startswith(_PNG) else ""


def _write(page: Page, path: Path, pictures: Sequence[tuple[str, str]] = ()) -> Path:
    text = _render(page, [(caption, image) for caption, image in pictures if image])
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A file name may hold bytes that are no text; they come out as character references.
        aside.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place for the report.") from None
    return path


def _render(page: Page, pictures: Sequence[tuple[str, str]]) -> str:
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("jinja2", "report") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context: dict[str, Any] = {"page": page, "pictures": pictures}
    text: str = environment.get_template("report.html").render(context)
    return text
