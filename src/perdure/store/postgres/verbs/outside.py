"""What comes to a run from outside (C4, C7)."""

from __future__ import annotations

from typing import Any

from perdure.codec import encode_failure
from perdure.core.run import RunState
from perdure.errors import NotFound, RunCancelled
from perdure.store.outcome import outcome
from perdure.store.postgres.columns import WHOLE, to_run, to_signal, to_uuid
from perdure.store.postgres.link import Database
from perdure.store.rows import Run, Signal


async def signal(
    database: Database, run_id: str, name: str, payload: bytes, dedupe: str | None
) -> int:
    """See ``Store.signal``."""
    n = await database.value(
        "select perdure.signal($1, $2, $3, $4)", to_uuid(run_id), name, payload, dedupe
    )
    if n is None:
        raise missing(run_id)
    return int(n)


async def signals(database: Database, run_id: str, after: int) -> list[Signal]:
    """See ``Store.signals``."""
    rows = await database.rows(
        "select n, name, payload, at from perdure.signals where run = $1 and n > $2"
        " and not read order by n",
        to_uuid(run_id), after,
    )  # fmt: skip
    return [to_signal(row) for row in rows]


async def cancel(database: Database, run_id: str, reason: str) -> Run:
    """See ``Store.cancel``."""
    error = encode_failure(RunCancelled(reason or "The run was cancelled."))
    report = outcome(RunState.CANCELLED, None, error)
    return await _changed(database, run_id, "perdure.cancel($1, $2, $3, $4)", reason, error, report)


async def resolve(
    database: Database, run_id: str, key: bytes, value: bytes | None, who: str
) -> Run:
    """See ``Store.resolve``."""
    return await _changed(database, run_id, "perdure.resolve($1, $2, $3, $4)", key, value, who)


async def redrive(database: Database, run_id: str) -> Run:
    """See ``Store.redrive``."""
    return await _changed(database, run_id, "perdure.redrive($1)")


async def dismiss(database: Database, run_id: str, who: str) -> Run:
    """See ``Store.dismiss``."""
    return await _changed(database, run_id, "perdure.dismiss($1, $2)", who)


async def watch(database: Database, run_id: str) -> None:
    """See ``Store.watch``."""
    await database.value("select perdure.watch($1)", to_uuid(run_id))


async def _changed(database: Database, run_id: str, change: str, *given: Any) -> Run:
    row = await database.row(f"select {WHOLE} from {change}", to_uuid(run_id), *given)
    if row is None:
        raise missing(run_id)
    return to_run(row, payloads=True)


def missing(run_id: str) -> NotFound:
    return NotFound(f"There is no run {run_id}.", run=run_id)
