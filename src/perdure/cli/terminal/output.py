"""Printing: JSON for programs, tables for people. Without a terminal, tables are plain columns
and nothing is cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

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
    stream = _results or sys.stdout
    stream.write(data.decode())
    stream.flush()


_results: TextIO | None = None  # where results go while agents print elsewhere


@contextmanager
def agents_print_to_stderr() -> Iterator[None]:
    """Within it ``print`` in agent code goes to stderr: stdout is for results, which programs
    read."""
    global _results
    _results = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = None


def _plain(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON value")


def note(text: str) -> None:
    """A remark for people on stderr, beside the result."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


ROOM = 14  # characters that are enough to say something


@cache
def stdout() -> Console:
    """For people. Knows about NO_COLOR, pipes and the width."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


@cache
def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=False)


def moving(console: Console) -> bool:
    """Whether pictures may move there: only where someone looks. FORCE_COLOR asks for colours in a
    pipe, not for a cursor that jumps."""
    return console.is_terminal and console.file.isatty() and not console.is_dumb_terminal


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    cell_styles: Mapping[tuple[int, int], str] | None = None,
    shrink: int | None = None,
    optional: Sequence[int] = (),
) -> None:
    """Print a table. ``cell_styles``: (row, column) -> style.

    Where a terminal is too narrow the ``optional`` columns are left out, in this order, until the
    column ``shrink`` has ROOM for its words, which are cut. Without a terminal nothing is.
    """
    widths = [
        max([len(column), *(len(row[i]) for row in rows)]) for i, column in enumerate(columns)
    ]
    from rich.text import Text

    console, styles = stdout(), cell_styles or {}
    shown = list(range(len(columns)))
    narrow = sys.stdout.isatty()
    if shrink is not None and narrow:
        if not any(row[shrink] for row in rows):
            shown.remove(shrink)
        for column in (*optional, None):
            others = sum(widths[i] + 2 for i in shown if i != shrink)
            left = console.width - others
            if left >= min(ROOM, widths[shrink]) or column is None:
                widths[shrink] = max(min(widths[shrink], left), 1)
                break
            if shrink in shown or left < -2:
                shown.remove(column)
    for n, row in enumerate((columns, *rows), -1):
        line = Text(style="dim" if n < 0 else "")
        if narrow:
            line.no_wrap, line.overflow = True, "ellipsis"
        for i in shown:
            cell = row[i] if len(row[i]) <= widths[i] else row[i][: widths[i] - 1] + "…"
            line.append(cell.ljust(widths[i]), style=styles.get((n, i), ""))
            line.append("" if i == shown[-1] else "  ")
        line.rstrip()
        console.print(line, soft_wrap=not narrow)
