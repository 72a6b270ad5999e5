"""Why a run is stuck, in every state it can be stuck in, and the command that is the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.cli.diagnosis.finding import Finding
from perdure.cli.diagnosis.run import diagnose, with_options
from perdure.cli.follow import whole_log
from perdure.cli.waterfall.timeline import timeline
from perdure.core.record import Record
from perdure.core.run import RunState
from perdure.store import Store, make_store
from perdure.store.ids import new_run_id
from perdure.store.rows import Lease, LogRow, NewRun, Settlement, Wait, WorkerInfo

LEASE = timedelta(seconds=10)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    found = make_store(f"sqlite:///{tmp_path}/runs.db")
    await found.open(check=False)
    await found.upgrade()
    yield found
    await found.close()


async def ask(store: Store, run_id: str, *, later: timedelta = timedelta(0)) -> list[Finding]:
    """As somebody who looks this much later, without the workers noticing."""
    run = await store.get(run_id)
    now = await store.now() + later
    return await diagnose(store, run, timeline(run, await whole_log(store, run_id), now), now)


async def made(store: Store, **fields: object) -> str:
    run_id = new_run_id()
    await store.enqueue([NewRun(run_id, "clerk", b"null", queue="clerk", **fields)])  # type: ignore[arg-type]
    return run_id


async def claimed(store: Store, worker: str = "w1", **fields: object) -> Lease:
    run_id = await made(store, **fields)
    found = await store.claim(worker, ["clerk"], 1, idle=True)
    (lease,) = found.leases
    assert lease.run_id == run_id
    return lease


async def working(store: Store, worker: str = "w1", *queues: str) -> None:
    await store.join(WorkerInfo(worker, "host", 1, "0", queues or ("clerk",)), lease=LEASE)


async def park(store: Store, lease: Lease, *waits: Wait, wake_in: timedelta | None = None) -> None:
    await store.settle(
        [Settlement(lease.run_id, lease.epoch, RunState.WAITING, waits=waits, wake_in=wake_in)]
    )


def said(findings: list[Finding]) -> str:
    return "\n".join(line for finding in findings for line in finding.lines())


async def test_queued_and_nobody_serves_its_agent(store: Store) -> None:
    run_id = await made(store)
    assert "no worker of this store serves the agent 'clerk', and no other" in said(
        await ask(store, run_id)
    )
    await working(store, "w1", "other")
    text = said(await ask(store, run_id))
    assert "; 1 worker serves other agents" in text
    assert "perdure worker TARGET" in text


async def test_queued_though_workers_are_there(store: Store) -> None:
    run_id = await made(store)
    await working(store)
    text = said(await ask(store, run_id))
    assert "workers of 'clerk': 1, runs that they execute: 0, queued: 1" in text
    silent = said(await ask(store, run_id, later=timedelta(minutes=2)))
    assert "have not been heard of for 2m 0" in silent
    alone = replace(await store.get(run_id), alone=True)
    now = await store.now()
    found = await diagnose(store, alone, timeline(alone, [], now), now)
    assert "is to be executed alone" in said(found)


async def test_a_delayed_run_says_when(store: Store) -> None:
    run_id = await made(store, delay=timedelta(hours=2))
    (finding,) = await ask(store, run_id)
    assert "2h 00m" in finding.says or "1h 59m" in finding.says or "1h 60m" in finding.says


async def test_blocked_by_the_session_names_who_is_first(store: Store) -> None:
    await working(store)
    head = await claimed(store, session="s")
    await made(store, session="s")
    run_id = await made(store, session="s")
    text = said(await ask(store, run_id))
    assert "behind 2 runs of its session 's'; the first of them is running" in text
    assert f"perdure runs show {head.run_id}" in text


async def test_blocked_by_a_cap_names_who_holds_it(store: Store) -> None:
    await working(store)
    holder = await claimed(store, cap=("clerk", 1))
    run_id = await made(store, cap=("clerk", 1))
    text = said(await ask(store, run_id))
    assert "the cap of agent 'clerk' is reached" in text
    assert f"perdure runs show {holder.run_id}" in text


async def test_running_says_what_is_under_way_and_for_how_long(store: Store) -> None:
    await working(store)
    lease = await claimed(store)
    fresh = said(await ask(store, lease.run_id))
    assert "it has recorded nothing yet" in fresh
    entry = Record("entry", b"k", b"", "", b"", "tool", "book", b"", 0, "once", "intent", 0, b"{}")
    await store.record([LogRow(lease.run_id, lease.next_seq, lease.epoch, entry)])
    (finding,) = await ask(store, lease.run_id, later=timedelta(seconds=5))
    assert finding.says.startswith("tool 'book' is under way for 5.")
    assert finding.steps == ()
    stop = await store.cancel(lease.run_id)
    assert stop.cancel_requested
    assert "it was asked to stop" in said(await ask(store, lease.run_id))


async def test_running_for_long_with_nothing_written_down(store: Store) -> None:
    await working(store)
    lease = await claimed(store)
    run = replace(await store.get(lease.run_id), worker=None)
    now = await store.now() + timedelta(seconds=90)
    line = timeline(run, [], now)
    workers = await store.workers()
    assert workers
    # Its worker is well: only the run's own silence is old.
    near = await store.now()
    found = await diagnose(store, replace(run, worker="w1"), line, near)
    assert "it has recorded nothing yet, 1m 30s after" in said(found)
    assert f"perdure runs cancel {run.id}" in said(found)


async def test_running_under_a_worker_that_is_silent_or_gone(store: Store) -> None:
    await working(store)
    lease = await claimed(store)
    text = said(await ask(store, lease.run_id, later=timedelta(minutes=1)))
    assert "its worker w1 has said nothing for 1m 00s (its lease is 10 s)" in text
    assert "no other serves the agent 'clerk'" in text
    run = replace(await store.get(lease.run_id), worker="w0")
    now = await store.now()
    found = await diagnose(store, run, timeline(run, [], now), now)
    assert said(found).startswith("its worker w0 is gone; another worker takes the run over")


async def test_waiting_for_a_child_says_what_that_one_waits_for(store: Store) -> None:
    await working(store)
    lease = await claimed(store)
    child = await made(store, parent=lease.run_id, parent_key=b"k", depth=1)
    wait = Wait("run", name=f"run:{child}")
    await park(store, lease, wait)
    assert "that run is queued: a worker should take it" in said(await ask(store, lease.run_id))
    (inner,) = (await store.claim("w1", ["clerk"], 1, idle=False)).leases
    await park(store, inner, Wait("signal", name="approval"))
    text = said(await ask(store, lease.run_id))
    assert "that run is waiting: it waits for the signal 'approval'" in text
    assert f"perdure signal {child} approval" in text


async def test_a_retry_says_when_it_goes_on(store: Store) -> None:
    await working(store)
    lease = await claimed(store)
    await park(store, lease, Wait("retry", detail="ValueError: no"), wake_in=timedelta(minutes=3))
    text = said(await ask(store, lease.run_id))
    assert "an attempt failed and is tried again: ValueError: no" in text
    assert "it goes on by itself at" in text
    assert f"perdure runs redrive {lease.run_id}" in text


async def test_a_timer_that_nobody_looks_at(store: Store) -> None:
    lease = await claimed(store)
    await park(store, lease, Wait("sleep"), wake_in=timedelta(minutes=1))
    text = said(await ask(store, lease.run_id, later=timedelta(minutes=3)))
    assert text.startswith("its time came 2m 0")
    assert "no worker is there" in text
    await working(store)
    assert "though workers are there" in said(
        await ask(store, lease.run_id, later=timedelta(minutes=3))
    )


@pytest.mark.parametrize(
    ("state", "attempts", "told"),
    [
        (RunState.FAILED, 1, "its error is final"),
        (RunState.DEAD, 5, "all 5 attempts failed"),
        (RunState.DEAD, 0, "it kept taking its worker down"),
    ],
)
async def test_one_that_ended_badly_is_looked_into_and_redriven(
    store: Store, state: RunState, attempts: int, told: str
) -> None:
    lease = await claimed(store)
    await store.settle([Settlement(lease.run_id, lease.epoch, state, attempts=attempts)])
    text = said(await ask(store, lease.run_id))
    assert told in text
    assert f"perdure replay {lease.run_id} TARGET --pdb" in text
    assert f"perdure runs redrive {lease.run_id}" in text


async def test_one_that_succeeded_needs_nothing(store: Store) -> None:
    lease = await claimed(store)
    await store.settle([Settlement(lease.run_id, lease.epoch, RunState.SUCCEEDED, result=b"1")])
    assert await ask(store, lease.run_id) == []


async def test_commands_name_the_store_that_was_named(store: Store) -> None:
    run_id = await made(store)
    (finding,) = with_options(await ask(store, run_id), " --store sqlite:///x.db")
    assert finding.steps[0].command == "perdure worker TARGET --store sqlite:///x.db"
