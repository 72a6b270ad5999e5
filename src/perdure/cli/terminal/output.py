"""Printing: JSON for programs, tables for people. Without a terminal, tables are plain columns
and nothing is cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from rich.console import Console


def document(value: Any) -> None:
    """One JSON document on stdout."""
    _bytes(orjson.dumps(value, _plain, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def line(value: Any) -> None:
    """One JSON document in one line on stdout, at once."""
    _bytes(orjson.dumps(value, _plain, orjson.OPT_APPEND_NEWLINE))


def _bytes(data: bytes) -> None:
    sys.stdout.write(data.decode())
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON value")


def note(text: str) -> None:
    """A remark for people on stderr, beside the result."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@cache
def stdout() -> Console:
    """For people. Knows about NO_COLOR, pipes and the width."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


@cache
def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=False)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    styles: Sequence[str | None] = (),
    shrink: int | None = None,
) -> None:
    """Print a table. In a terminal the column ``shrink`` gives way first where the width is too
    small; the others keep their words whole."""
    if not sys.stdout.isatty():
        widths = [
            max(len(column), *(len(row[i]) for row in rows)) if rows else len(column)
            for i, column in enumerate(columns)
        ]
        for row in (columns, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, column in enumerate(columns):
        style = styles[i] if i < len(styles) else None
        gives_way = i == shrink
        made.add_column(
            column,
            style=style,
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if gives_way else None,
            min_width=None if gives_way else min(len(column), 8),
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    stdout().print(made)
