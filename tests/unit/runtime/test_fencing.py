"""Leases, zombies and stores that are away (L1, L2, L5, L6)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure import step, sync
from perdure.errors import LeaseLost, StoreUnavailable
from perdure.runtime import recorder as recorder_module
from perdure.runtime import runtime as runtime_module
from perdure.store.rows import LogRow, Refusal
from tests.unit.runtime.harness import House, turns, turns_until
from tests.unit.runtime.test_replay import Gate


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_zombie_writes_nothing_and_is_unwound(house: House, swallows: bool) -> None:
    """L2: its epoch is old; LeaseLost seen by agent code cannot end as a result."""
    started, go_on = asyncio.Event(), asyncio.Event()
    ended = asyncio.Event()

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        started.set()
        await go_on.wait()
        return n

    async def agent() -> Any:
        try:
            found = await work(1)
        except LeaseLost:
            if not swallows:
                raise
            return "a result of nobody's"
        finally:
            ended.set()
        return found + await work(2)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    worker.draining = True
    await house.steal(run_id)
    before = len(await house.log(run_id))
    go_on.set()
    await ended.wait()
    await turns_until(lambda: worker.running == 0)
    assert len(await house.log(run_id)) == before
    assert (await house.store.get(run_id)).state.value == "running"
    assert house.did == {"1": 1}


async def test_a_sync_zombie_is_unwound_too(house: House) -> None:
    """L2, C3: its next boundary raises Parked."""
    started, go_on = threading.Event(), threading.Event()

    @step
    def work(n: int) -> int:
        house.did[str(n)] += 1
        started.set()
        go_on.wait(10)
        return n

    def agent() -> int:
        try:
            work(1)
        except Exception:
            house.did["swallowed"] += 1
        return work(2)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(started.wait, 10)
    worker.draining = True
    await house.steal(run_id)
    go_on.set()
    await turns_until(lambda: worker.running == 0)
    assert house.did["1"] == 1
    assert house.did["2"] == 0
    assert (await house.entries(run_id)) == []


async def test_an_outage_of_the_store_delays_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Effects wait; nothing is lost, nothing is done twice, no attempt is counted."""
    monkeypatch.setattr(recorder_module, "RETRY_DELAYS", (0.0,))
    monkeypatch.setattr(runtime_module, "RETRY_DELAYS", (0.0,))
    away = 0
    calls: dict[str, int] = {}

    def flaky(verb: str) -> None:
        real = getattr(house.store, verb)

        async def sometimes(*args: Any, **kwargs: Any) -> Any:
            nonlocal away
            calls[verb] = calls.get(verb, 0) + 1
            if calls[verb] % 3:
                away += 1
                raise StoreUnavailable("gone")
            return await real(*args, **kwargs)

        monkeypatch.setattr(house.store, verb, sometimes)

    gate = Gate()

    @step
    async def work(n: int) -> str:
        house.did[str(n)] += 1
        return "x" * 10_000

    async def child(n: int) -> int:
        return n

    handle = house.serve(child)

    async def agent() -> Any:
        total = len(await work(1)) + int(await handle.run(1))
        await gate()
        return total + int(await perdure.wait_for("s")) + len(await work(2))

    house.serve(agent, park_after=0)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.signal(run_id, "s", 1000)
    for verb in ("record", "settle", "journal", "values", "signals", "enqueue"):
        flaky(verb)
    await gate.reached.wait()
    assert not worker.runtime.store_ok or away
    await house.next_life(worker)
    assert await house.result(run_id) == 21_001
    assert house.did == {"1": 1, "2": 1}
    assert (await house.store.get(run_id)).attempts == 0
    assert away > 8


async def test_claiming_survives_an_outage(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.runtime import worker as worker_module

    monkeypatch.setattr(worker_module, "RETRY_DELAYS", (0.0,))

    async def agent() -> int:
        return 1

    house.serve(agent)
    real, calls = house.store.claim, 0

    async def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise StoreUnavailable("gone")
        return await real(*args, **kwargs)

    monkeypatch.setattr(house.store, "claim", failing)
    await house.worker()
    assert await house.run("agent") == 1


async def test_a_worker_in_doubt_starts_no_effects(house: House) -> None:
    """L5: until it has its lock again; nor does it claim."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        started.set()
        await go_on.wait()
        return n

    async def agent() -> int:
        return await work(1) + await work(2)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    worker._holds(False)
    go_on.set()
    await house.until_entries(run_id, 1)
    other = await house.submit("agent")
    await turns()
    assert house.did == {"1": 1}
    assert (await house.store.get(other)).state.value == "queued"
    worker._holds(True)
    assert await house.result(run_id) == 3
    assert await house.result(other) == 3


async def test_a_worker_in_doubt_can_be_stopped(house: House) -> None:
    """L5, C3: a thread that waits for the lock is told that the attempt is over."""
    waiting = threading.Event()

    @step
    def work() -> None:
        house.did["work"] += 1

    def agent() -> None:
        waiting.set()
        work()

    house.serve(agent)
    worker = await house.worker()
    worker.runtime.may_start.clear()
    task = worker.take(await _leased(house, worker))
    assert await asyncio.to_thread(waiting.wait, 10)
    await turns()
    await house.stop(worker)
    assert task.done()
    assert house.did == {}


async def _leased(house: House, worker: Any) -> Any:
    await house.submit("agent")
    return await house.lease(worker)


async def test_a_run_that_kills_its_worker_is_executed_alone_and_then_dead(house: House) -> None:
    """L6: bystanders are never blamed."""
    started: list[asyncio.Event] = []
    go_on = asyncio.Event()

    async def poison() -> None:
        house.did["poison"] += 1
        started[-1].set()
        await asyncio.Event().wait()

    @step
    async def work(n: int) -> int:
        return n

    async def bystander() -> int:
        total = 0
        for n in range(3):
            total += await work(n)
        await go_on.wait()
        return total

    house.serve(poison)
    house.serve(bystander)
    bad = await house.submit("poison")
    good = await house.submit("bystander")
    for death in (1, 2, 3):
        started.append(asyncio.Event())
        worker = await house.worker()
        await started[-1].wait()
        if death < 3:
            await house.until_entries(good, 3)
        else:
            assert worker.running == 1  # alone
            assert house.attempt(bad).lease.alone
        await house.crash(worker)
    run = await house.store.get(bad)
    assert (run.state.value, run.alone) == ("dead", True)
    assert (run.error or {})["code"] == "run_dead"
    go_on.set()
    await house.worker()
    assert await house.result(good) == 3


async def test_two_workers_share_the_work(house: House) -> None:
    """A run is executed by one of them."""

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        return n

    async def agent(n: int) -> int:
        return await work(n)

    house.serve(agent)
    await house.worker(concurrency=4)
    await house.worker(concurrency=4)
    runs = [await house.submit("agent", n) for n in range(40)]
    assert [await house.result(r) for r in runs] == list(range(40))
    assert set(house.did.values()) == {1}


async def test_a_worker_never_holds_more_than_its_concurrency(house: House) -> None:
    most, now = 0, 0
    full = asyncio.Event()

    async def agent() -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        now -= 1

    house.serve(agent)
    worker = await house.worker(concurrency=3)
    runs = [await house.submit("agent") for _ in range(20)]
    for run_id in runs:
        await house.result(run_id)
    assert most == 3
    assert worker.finished_attempts >= 19


async def test_a_run_whose_rows_the_store_refuses_fails_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name that the database cannot hold must not stop the worker."""
    record = house.store.record

    async def picky(rows: Sequence[LogRow], *more: Any) -> list[Refusal]:
        if any("bad" in (r.record.name or "") for r in rows):
            raise ValueError("invalid byte sequence")
        return await record(rows)

    monkeypatch.setattr(house.store, "record", picky)

    async def agent(name: str) -> str:
        perdure.emit(name)
        await perdure.sleep(0)
        return name

    house.serve(agent)
    await house.worker()
    bad, good = await house.submit("agent", "bad"), await house.submit("agent", "good")
    assert await house.result(good) == "good"
    run = await house.until(bad)
    assert run.state.value == "dead"
    assert (run.error or {})["message"] == "invalid byte sequence"


async def test_an_end_the_store_refuses_is_a_failure(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run must not stay leased to a living worker for ever."""
    settle = house.store.settle

    async def picky(settlements: Any) -> Any:
        if any(s.result for s in settlements):
            raise ValueError("too large for the column")
        return await settle(settlements)

    monkeypatch.setattr(house.store, "settle", picky)

    async def agent() -> str:
        return "a result"

    house.serve(agent)
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert run.state.value == "failed"
    assert "too large for the column" in (run.error or {})["message"]


async def test_a_worker_takes_over_from_one_that_left(house: House) -> None:
    """What is leased goes back and is executed again from its journal."""
    gate = Gate()

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        return n

    async def agent() -> int:
        total = await work(1)
        await gate()
        return total + await work(2)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await gate.reached.wait()
    await house.stop(worker)
    assert (await house.store.get(run_id)).state.value == "queued"
    await house.worker()
    assert await house.result(run_id) == 3
    assert house.did == {"1": 1, "2": 1}


async def test_sync_verbs_after_the_worker_ended_raise_parked(house: House) -> None:
    """C3: a thread that was left behind gets nowhere."""
    from perdure.runtime import worker as worker_module

    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[BaseException] = []

    def agent() -> None:
        started.set()
        go_on.wait(10)
        try:
            sync.sleep(0)
        except BaseException as error:
            seen.append(error)
        ended.set()

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(started.wait, 10)
    before, worker_module.STOP = worker_module.STOP, timedelta(seconds=0.02)
    try:
        await house.stop(worker)
    finally:
        worker_module.STOP = before
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert [type(error).__name__ for error in seen] == ["Parked"]
    assert await house.entries(run_id) == []


async def test_a_worker_in_doubt_says_so_and_says_when_it_is_over(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """L5: whoever reads the log after an outage sees that it ended."""
    worker = await house.worker()
    assert "sure again" not in caplog.text
    for holds in (False, True, True):
        worker._holds(holds)
        assert worker.runtime.may_start.is_set() is holds
    said = [r.getMessage() for r in caplog.records if r.name == "perdure.worker"]
    assert said == [
        "This worker's lease or lock is in doubt: it starts no effects for now.",
        "The worker's lease and lock are sure again: effects start.",
    ]
