"""Text and HTML tables."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any


def shortened(text: Any, widest: int) -> str:
    """Shorten a text to one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= widest else line[: widest - 3] + "..."


def text_table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return lines of a table: text left-aligned, numbers right-aligned, no empty columns."""
    made = []
    for column in _columns(rows):
        width = max(map(len, column))
        figures = all(text[:1].isdigit() or text[:1] == "-" for text in column[1:] if text)
        made.append([text.rjust(width) if figures else text.ljust(width) for text in column])
    return ["  ".join(line).rstrip() for line in zip(*made, strict=True)]


def html_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return an HTML table whose first row is the header, without empty columns."""
    head, *body = zip(*_columns(rows), strict=True)
    cells = [("th", head), *(("td", row) for row in body)]
    lines = ["".join(f"<{tag}>{escape(text)}</{tag}>" for text in row) for tag, row in cells]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _columns(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [column for column in zip(*rows, strict=True) if any(column[1:])]
