"""A report of costs: a table for people, CSV for spreadsheets."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from perdure.cli.terminal import output
from perdure.cli.terminal.amounts import count, dollars
from perdure.core.charge import NANO
from perdure.core.words import counted
from perdure.store.spending import COUNTS, Report, Spent

_TOTAL = "total"


def print_report(by: Sequence[str], report: Report) -> None:
    """The table, its total, and what its marks mean."""
    if not report.rows:
        output.note("No model calls in that time.")
        return
    columns = [name.upper() for name in by]
    columns += ["CALLS", "REPLAYED", "CACHED", "IN", "OUT", "HITS", "COST", "SAVED"]
    rows = [[*(_named(row.group[name]) for name in by), *_cells(row)] for row in report.rows]
    total = report.total
    if len(report.rows) > 1 or report.more or not by:
        first = [_TOTAL, *[""] * (len(by) - 1)] if by else []
        rows.append([*first, *_cells(total)])
    styles = {(len(rows) - 1, i): "bold" for i in range(len(columns))} if len(rows) > 1 else {}
    at = len(by)
    output.table(
        columns, _right(columns, rows, at), cell_styles=styles,
        shrink=0 if by else None, optional=[at + 2, at + 1, at + 5, at + 7],
    )  # fmt: skip
    if report.more:
        output.note(f"{counted(report.more, 'group')} more: --limit, or --csv.")
    if total.failed or total.void:
        output.note(f"Of the calls {total.failed} failed and {total.void} broke off.")
    if total.estimated:
        output.note(f"~ {counted(total.estimated, 'call')} at an estimated price.")
    if total.unknown:
        output.note(
            f"? {counted(total.unknown, 'call')} without a known price: add it to [[prices]]."
        )


def print_csv(by: Sequence[str], report: Report) -> None:
    """A line for each group; money in dollars, exactly."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*by, *COUNTS, "cost_usd", "saved_usd"])
    for row in report.rows:
        writer.writerow(
            [
                *(_harmless(row.group[name]) for name in by),
                *(getattr(row, name) for name in COUNTS),
                _exact(row.cost),
                _exact(row.saved),
            ]
        )
    if report.more:
        output.note(f"{counted(report.more, 'group')} more: --limit.")


def print_anomalies(found: Sequence[dict[str, Any]]) -> None:
    """Newest first."""
    if not found:
        output.note("Nothing unusual was spent.")
        return
    rows = [
        [
            each["hour"],
            each["credential"] or "(none)",
            dollars(Decimal(str(each["spent_usd"]))),
            dollars(Decimal(str(each["usual_usd"]))),
        ]
        for each in found
    ]
    output.table(["HOUR", "CREDENTIAL", "SPENT", "USUALLY"], rows, shrink=1)


def money(nano: int) -> str:
    """Nano-dollars in few characters."""
    return dollars(Decimal(nano) / NANO)


def _cells(row: Spent) -> list[str]:
    marks = ("~" if row.estimated else "") + ("?" if row.unknown else "")
    return [
        str(row.calls),
        str(row.replayed or "-"),
        str(row.cached or "-"),
        count(row.input),
        count(row.output),
        f"{row.hit_rate:.0%}" if row.cache_read else "-",
        f"{marks}{money(row.cost)}",
        money(row.saved) if row.saved else "-",
    ]


def _right(columns: list[str], rows: list[list[str]], first: int) -> list[list[str]]:
    """Numbers end below each other."""
    widths = [max(len(columns[i]), *(len(row[i]) for row in rows)) for i in range(len(columns))]
    return [
        [cell.rjust(widths[i]) if i >= first else cell for i, cell in enumerate(row)]
        for row in rows
    ]


def _named(text: str) -> str:
    return text or "-"


def _harmless(text: str) -> str:
    """Spreadsheets take a text that begins so for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _exact(nano: int) -> str:
    return f"{Decimal(nano) / NANO:f}"
