"""Maintenance: orphaning the runs of dead workers, timers, the leader, what is going on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from perdure.codec import encode_failure
from perdure.core.poison import Strikes, worker_died
from perdure.core.run import RunState
from perdure.errors import RunDead
from perdure.store import birth
from perdure.store.outcome import outcome
from perdure.store.postgres.link import Database
from perdure.store.rows import QueueStats, Woken

_POISON = encode_failure(
    RunDead("Its worker's process died under it again, with nothing beside it.")
)
_POISON_REPORT = outcome(RunState.DEAD, None, _POISON)


async def release(database: Database, worker: str, *, died: bool, gone: bool) -> int:
    """Orphan every run the worker leases; it is no member any more. ``died``: count strikes (L6).
    ``gone``: its process has ended (L5), as the caller knows; otherwise its birth may prove it."""
    if not gone:
        known = await database.rows("select birth, pid from perdure.workers where id = $1", worker)
        gone = any(birth.ended(row["birth"], row["pid"]) for row in known)
    count = 0
    while True:
        leased = await database.rows("select * from perdure.leased($1)", worker)
        answer = await database.row(
            "select * from perdure.orphan($1, $2, $3::perdure.verdict[], $4)",
            worker, gone, [_verdict(run, died) for run in leased], _POISON,
        )  # fmt: skip
        count += int(answer["orphaned"])
        # What is left moved on between the two statements: it is judged anew.
        if not answer["remaining"]:
            return count


def _verdict(run: Any, died: bool) -> tuple[Any, ...]:
    strikes, dead = Strikes(run["strikes"], run["strikes_seq"], run["alone"]), False
    if died:
        strikes, dead = worker_died(strikes, run["last_entry"])
    return (run["id"], run["epoch"], run["last_entry"], *strikes, dead, _POISON_REPORT)


async def reap(database: Database, observers: Sequence[str], blind: timedelta | None) -> int:
    """Orphan the runs of silent members and of strangers; returns how many runs. That a process
    is silent proves nothing about it; its birth may."""
    lapsed = await database.rows("select perdure.lapsed($1, $2)", list(observers), blind)
    return sum([await release(database, row[0], died=True, gone=False) for row in lapsed])


async def wake_due(database: Database, limit: int) -> Woken:
    """See ``Store.wake_due``."""
    row = await database.row("select * from perdure.wake_due($1)", limit)
    return Woken(row["woken"], row["next_in"])


async def lead(database: Database, worker: str, ttl: timedelta) -> bool:
    """See ``Store.lead``."""
    return bool(await database.value("select perdure.lead($1, $2)", worker, ttl))


_WORKERS = """
select id, host, pid, version, queues, extract(epoch from lease)::float8 as lease_s, joined_at,
  seen_at, (select count(*) from perdure.runs r where r.worker = w.id) as runs
from perdure.workers w order by id collate "C"
"""


async def workers(database: Database) -> list[dict[str, object]]:
    """The members, with how many runs each leases."""
    return [dict(row) for row in await database.rows(_WORKERS)]


_STATS = """
select s.queue, s.state, s.count, o.waited from (
  select queue, state, count(*) as count from perdure.runs group by queue, state
) s
left join lateral (
  select perdure.clock() - min(r.ready_at) as waited from perdure.runs r
  where r.queue = s.queue and r.state = 'queued'
) o on s.state = 'queued'
order by s.queue collate "C"
"""


async def stats(database: Database) -> list[QueueStats]:
    """See ``Store.stats``."""
    states: dict[str, dict[str, int]] = {}
    waited: dict[str, timedelta] = {}
    for queue, state, count, oldest in await database.rows(_STATS):
        states.setdefault(queue, {})[state] = count
        if oldest is not None:
            waited[queue] = max(oldest, timedelta(0))
    return [QueueStats(queue, counts, waited.get(queue)) for queue, counts in states.items()]
