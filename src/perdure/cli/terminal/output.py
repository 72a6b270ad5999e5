"""Printing: JSON for programs, tables for people. Without a terminal, tables are plain columns
and nothing is cut."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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
    cell_styles: Mapping[tuple[int, int], str] | None = None,
    shrink: int | None = None,
) -> None:
    """Print a table. ``cell_styles``: (row, column) -> style. In a terminal the column ``shrink``
    is cut where the width is too small; without a terminal nothing is."""
    widths = [
        max([len(column), *(len(row[i]) for row in rows)]) for i, column in enumerate(columns)
    ]
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
        return
    from rich.text import Text

    console, styles = stdout(), cell_styles or {}
    if shrink is not None:
        others = sum(widths) - widths[shrink] + 2 * (len(columns) - 1)
        widths[shrink] = max(min(widths[shrink], console.width - others), len(columns[shrink]))
    for n, row in enumerate((columns, *rows), -1):
        line = Text(style="dim" if n < 0 else "", no_wrap=True, overflow="ellipsis")
        for i, cell in enumerate(row):
            text = cell if len(cell) <= widths[i] else cell[: widths[i] - 1] + "…"
            line.append(text.ljust(widths[i]), style=styles.get((n, i), ""))
            line.append("" if i == len(row) - 1 else "  ")
        line.rstrip()
        console.print(line)
