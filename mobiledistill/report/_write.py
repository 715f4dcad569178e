"""A result in, one HTML file out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from converters import InputError, MissingExtraError
from mobiledistill._result import CompressionResult
from mobiledistill.report._page import Page, page_of

__all__ = ["report_from_file", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"


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
    return _write(page_of(result.to_dict()), path)


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
        page = page_of(json.loads(result_json.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{result_json} cannot be read ({error.strerror}); give the result.json of a run.") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{result_json} is not the result of a run ({why}); give a result.json.") from None
    return _write(page, path)


def _write(page: Page, path: Path) -> Path:
    text = _render(page)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A file name may hold bytes that are no text; they come out as character references.
        aside.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place for the report.") from None
    return path


def _render(page: Page) -> str:
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
    context: dict[str, Any] = {"page": page}
    text: str = environment.get_template("report.html").render(context)
    return text
