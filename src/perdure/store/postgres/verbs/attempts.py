"""What a worker does with runs: claim them, write their log, settle them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from perdure.core.charge import Charge
from perdure.core.record import Entry, RecordType, fold
from perdure.core.run import RunState
from perdure.store.outcome import outcome
from perdure.store.postgres.columns import (
    ENTRY,
    EVENT,
    to_entries,
    to_event,
    to_json,
    to_lease,
    to_uuid,
)
from perdure.store.postgres.link import Database
from perdure.store.rows import Claimed, LogEvent, LogRow, Message, Refusal, Settled, Settlement

_CLAIM = (
    "select c.*, perdure.priority_of(c.id) as priority from perdure.claim($1, $2, $3, $4, $5) c"
)
_RECORD = "select * from perdure.record($1::perdure.entry[])"
_RECORD_ALL = """
select * from perdure.record_all(
  $1::perdure.entry[], $2::perdure.charge_row[], $3::perdure.message[])
"""
_SETTLE = "select * from perdure.settle($1::perdure.settlement[], $2::perdure.entry[])"


async def claim(
    database: Database,
    worker: str,
    queues: Sequence[str],
    limit: int,
    idle: bool,
    root: str | None,
) -> Claimed:
    """See ``Store.claim``."""
    below = None if root is None else to_uuid(root)
    rows = await database.rows(_CLAIM, worker, list(queues), limit, idle, below)
    return Claimed(
        [to_lease(row) for row in rows if row["id"] is not None],
        bool(rows and rows[0]["reserved"]),
    )


async def record(
    database: Database,
    rows: Sequence[LogRow],
    charges: Sequence[Charge],
    messages: Sequence[Message],
) -> list[Refusal]:
    """See ``Store.record``."""
    given = [(run_id, seq, epoch, *record) for run_id, seq, epoch, record in rows]
    if charges or messages:
        answer = await database.rows(_RECORD_ALL, given, list(charges), list(messages))
    else:
        answer = await database.rows(_RECORD, given)
    return [Refusal(str(run_id), seq, lost, next_seq) for run_id, seq, lost, next_seq in answer]


async def settle(database: Database, settlements: Sequence[Settlement]) -> list[Settled]:
    """See ``Store.settle``."""
    answers: dict[tuple[UUID, int], RunState] = {}
    ids = [to_uuid(each.run_id) for each in settlements]
    places = list(range(len(settlements)))
    while places:
        # An attempt is ended once in a statement; who ends it again comes after it.
        now = {(ids[i], settlements[i].epoch): i for i in reversed(places)}
        places = [i for i in places if now[ids[i], settlements[i].epoch] != i]
        given = [_settlement(ids[i], settlements[i]) for i in sorted(now.values())]
        records = [
            (ids[i], seq, settlements[i].epoch, *record)
            for i in sorted(now.values())
            for seq, record in enumerate(settlements[i].records, 1)
        ]
        rows = await database.rows(_SETTLE, given, records)
        answers.update({(run, epoch): RunState(state) for run, epoch, state in rows})
    return [
        Settled(each.run_id, answers.get((run, each.epoch)))
        for run, each in zip(ids, settlements, strict=True)
    ]


def _settlement(run: UUID, new: Settlement) -> tuple[Any, ...]:
    times: list[datetime] = [wait.until for wait in new.waits if wait.until is not None]
    named = [wait for wait in new.waits if wait.name is not None]
    state = new.state
    return (
        run, new.epoch, state, new.attempts,
        new.result if state.final else None, new.error if state.final else None,
        to_json([wait.to_dict() for wait in new.waits]) if new.waits else "[]",
        min(times, default=None), new.wake_in,
        [wait.name for wait in named], [wait.after for wait in named],
        outcome(state, new.result, new.error) if state.final else None,
        None if new.next is None else new.next.input,
        None if new.next is None else list(new.next.taken),
    )  # fmt: skip


# -- reading --------------------------------------------------------------------------------------


async def journal(database: Database, run_id: str) -> list[Entry]:
    """See ``Store.journal``."""
    rows = await database.rows(
        f"select {ENTRY} from perdure.log where run_id = $1 and type = $2"
        " and seq > (select since from perdure.runs where id = $1) order by seq",
        to_uuid(run_id), RecordType.ENTRY,
    )  # fmt: skip
    return fold(to_entries(rows))


async def values(database: Database, run_id: str, seqs: Sequence[int]) -> dict[int, bytes]:
    """See ``Store.values``."""
    rows = await database.rows(
        "select seq, value from perdure.log"
        " where run_id = $1 and seq = any ($2::int[]) and value is not null",
        to_uuid(run_id), list(seqs),
    )  # fmt: skip
    return {row["seq"]: row["value"] for row in rows}


async def events(database: Database, run_id: str, after: int, limit: int) -> list[LogEvent]:
    """See ``Store.events``."""
    rows = await database.rows(
        f"select {EVENT} from perdure.log where run_id = $1 and seq > $2 order by seq limit $3",
        to_uuid(run_id), after, limit,
    )  # fmt: skip
    return [to_event(row) for row in rows]


async def last_seq(database: Database, run_id: str) -> int:
    """The number of the log's last row, 0 for none."""
    return int(
        await database.value(
            "select coalesce(max(seq), 0) from perdure.log where run_id = $1", to_uuid(run_id)
        )
    )
