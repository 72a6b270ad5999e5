"""The ledger: what calls cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from perdure.core.charge import Charge
from perdure.store.costs import SUMS, CostFilter, CostRow, Entered
from perdure.store.postgres.columns import to_uuid
from perdure.store.postgres.link import Database
from perdure.store.retention import Cleared

_NO_RUN = UUID(int=0)
_CHARGE = "select perdure.charge($1::perdure.charge_row[])"
_TIMES = {
    "day": "to_char(at at time zone 'UTC', 'YYYY-MM-DD')",
    "hour": "to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24')",
    "run_id": f"coalesce(nullif(run_id, '{_NO_RUN}')::text, '')",
}


async def charge(database: Database, charges: Sequence[Charge]) -> None:
    """See ``Store.charge``."""
    if charges:
        await database.value(_CHARGE, list(charges))


async def costs(database: Database, asked: CostFilter) -> list[CostRow]:
    """See ``Store.costs``."""
    where, given = _where(asked)
    given.append(asked.limit)
    groups = [f"{_TIMES.get(name, name)} as g{i}" for i, name in enumerate(asked.by)]
    sums = [f"({how})::bigint as {name}" for name, how in SUMS.items()]
    rows = await database.rows(
        f"select {', '.join([*groups, *sums])} from perdure.charges where {where}"
        + (f" group by {', '.join(f'g{i}' for i in range(len(groups)))}" if groups else "")
        + f" having count(*) > 0 order by {asked.order} limit ${len(given)}",
        *given,
    )
    width = len(groups)
    return [CostRow(dict(zip(asked.by, row, strict=False)), *tuple(row)[width:]) for row in rows]


async def charges(database: Database, asked: CostFilter) -> list[Entered]:
    """See ``Store.charges``."""
    where, given = _where(asked)
    given.append(asked.limit)
    columns = [_TIMES["run_id"] if name == "run_id" else name for name in Charge._fields]
    rows = await database.rows(
        f"select at, {', '.join(columns)} from perdure.charges where {where}"
        f" order by at desc, id limit ${len(given)}",
        *given,
    )
    found = (Entered(row["at"], Charge(*tuple(row)[1:])) for row in rows)
    return [Entered(at, each._replace(run_id=each.run_id or None)) for at, each in found]


def _where(asked: CostFilter) -> tuple[str, list[Any]]:
    where: list[str] = ["true"]
    given: list[Any] = []
    for sign, bound in ((">=", asked.since), ("<", asked.until)):
        if bound is not None:
            given.append(bound)
            where.append(f"at {sign} ${len(given)}")
    for column, value in asked.wanted:
        given.append(_run(value) if column == "run_id" else value)
        where.append(f"{column} = ${len(given)}")
        if column == "tenant" and value:
            where.append("tenant <> ''")  # as its index says
    return " and ".join(where), given


def _run(value: str) -> UUID:
    return to_uuid(value) if value else _NO_RUN


async def expire(database: Database, before: datetime, limit: int, dry: bool) -> Cleared:
    """See ``Store.expire``."""
    if dry:
        count = await database.value("select count(*) from perdure.charges where at < $1", before)
        return Cleared(int(count), False)
    row = await database.row("select * from perdure.expire($1, $2)", before, limit)
    return Cleared(row["cleared"], row["remaining"])
