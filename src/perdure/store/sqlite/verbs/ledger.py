"""The ledger: what calls cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from perdure.core.charge import Charge
from perdure.store.costs import SUMS, CostFilter, CostRow, Entered
from perdure.store.retention import Cleared
from perdure.store.sqlite.columns import from_time, to_time
from perdure.store.sqlite.writer import Transaction

# What is there already stays as it is: the call was repeated.
_INSERT = f"INSERT OR IGNORE INTO charges (at, {', '.join(Charge._fields)})"
_WIDTH = 1 + len(Charge._fields)
_RUN = Charge._fields.index("run_id")
_TIMES = {
    "day": "strftime('%Y-%m-%d', at / 1000000, 'unixepoch')",
    "hour": "strftime('%Y-%m-%dT%H', at / 1000000, 'unixepoch')",
}


def charge(tx: Transaction, charges: Sequence[Charge]) -> None:
    """See ``Store.charge``."""
    rows = [
        (tx.now, *each[:_RUN], each.run_id or "", *each[_RUN + 1 :])
        for each in charges
    ]  # fmt: skip
    tx.insert(_INSERT, _WIDTH, rows)


def costs(link: sqlite3.Connection, asked: CostFilter) -> list[CostRow]:
    """See ``Store.costs``."""
    where, given = _where(asked)
    groups = [f"{_TIMES.get(name, name)} AS g{i}" for i, name in enumerate(asked.by)]
    sums = [f"{how} AS {name}" for name, how in SUMS.items()]
    grouped = ", ".join(f"g{i}" for i in range(len(groups))) or "NULL"
    rows = link.execute(
        f"SELECT {', '.join([*groups, *sums])} FROM charges WHERE {where}"
        f" GROUP BY {grouped} ORDER BY {asked.order} LIMIT ?",
        (*given, asked.limit),
    )
    width = len(groups)
    return [CostRow(dict(zip(asked.by, row, strict=False)), *tuple(row)[width:]) for row in rows]


def charges(link: sqlite3.Connection, asked: CostFilter) -> list[Entered]:
    """See ``Store.charges``."""
    where, given = _where(asked)
    rows = link.execute(
        f"SELECT at, {', '.join(Charge._fields)} FROM charges WHERE {where}"
        " ORDER BY at DESC, n DESC LIMIT ?",
        (*given, asked.limit),
    )
    found = (Entered(to_time(row["at"]), Charge(*tuple(row)[1:])) for row in rows)
    return [Entered(at, each._replace(run_id=each.run_id or None)) for at, each in found]


def _where(asked: CostFilter) -> tuple[str, list[Any]]:
    where, given = ["1"], list[Any]()
    for sign, bound in ((">=", asked.since), ("<", asked.until)):
        if bound is not None:
            where.append(f"at {sign} ?")
            given.append(from_time(bound))
    for column, value in asked.wanted:
        where.append(f"{column} = ?")
        given.append(value)
        if column == "tenant" and value:
            where.append("tenant <> ''")  # as its index says
    return " AND ".join(where), given


def count_before(link: sqlite3.Connection, before: int) -> Cleared:
    """See ``Store.expire``, where it is only counted."""
    found = link.execute("SELECT count(*) FROM charges WHERE at < ?", (before,)).fetchone()
    return Cleared(int(found[0]), False)


def expire(tx: Transaction, before: int, limit: int) -> Cleared:
    """See ``Store.expire``."""
    rows = tx.run(
        "DELETE FROM charges WHERE n IN (SELECT n FROM charges WHERE at < ? ORDER BY at LIMIT ?)",
        before, limit,
    )  # fmt: skip
    left = tx.value("SELECT EXISTS (SELECT 1 FROM charges WHERE at < ?)", before)
    return Cleared(rows, bool(left))
