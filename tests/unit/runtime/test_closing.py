"""Attempts that end before their agents: hops, drains, limits and deadlines (C1, C6, X4, Z1)."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import perdure
from perdure import Limits, RetryPolicy, step
from perdure.core.ports import boundary
from perdure.core.record import Kind
from perdure.runtime.closing import Ending
from tests.unit.runtime.harness import AT_ONCE, House, payload, turns, turns_until
from tests.unit.runtime.test_replay import model

HOUR = timedelta(hours=1)


async def test_an_attempt_hops_between_two_effects(house: House) -> None:
    """C6: a hop that made progress costs no attempt."""

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        if n < 3:
            house.attempt(perdure.current().run_id).closing.hop()
        return n

    async def agent() -> list[int]:
        return [await work(n) for n in range(5)]

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == [0, 1, 2, 3, 4]
    run = await house.store.get(run_id)
    assert (run.attempts, run.epoch) == (0, 4)
    assert set(house.did.values()) == {1}


async def test_the_first_live_effect_is_always_tried(house: House) -> None:
    """C6: an attempt that is too old before it did anything does it first."""

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        return n

    async def agent() -> list[int]:
        house.attempt(perdure.current().run_id).closing.hop()
        return [await work(n) for n in range(3)]

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == [0, 1, 2]
    run = await house.store.get(run_id)
    assert (run.attempts, run.epoch) == (0, 3)
    assert set(house.did.values()) == {1}


async def test_max_attempt_makes_an_attempt_hop(house: House) -> None:
    """C6: at its age, when the effect in flight is recorded."""
    hopped = asyncio.Event()

    @step
    async def work(n: int) -> int:
        if n == 0:
            attempt = house.attempt(perdure.current().run_id)
            await turns_until(lambda: attempt.closing.ending)
            hopped.set()
        return n

    async def agent() -> list[int]:
        return [await work(0), await work(1)]

    house.serve(agent)
    await house.worker(max_attempt=timedelta(seconds=0.02))
    run_id = await house.submit("agent")
    assert await house.result(run_id) == [0, 1]
    assert hopped.is_set()
    assert (await house.store.get(run_id)).attempts == 0


async def test_an_attempt_that_added_nothing_counts_as_a_failure(house: House) -> None:
    """C6: else it hops for ever."""
    started = asyncio.Event()

    @step
    async def endless() -> None:
        house.did["endless"] += 1
        started.set()
        await asyncio.Event().wait()

    async def agent() -> None:
        await endless()

    house.serve(agent, retry=RetryPolicy(attempts=2, base=HOUR, cap=HOUR))
    await house.worker()
    run_id = await house.submit("agent")
    for failures in (1, 2):
        await started.wait()
        started.clear()
        house.attempt(run_id).closing.close(Ending.HOP, within=timedelta(0))
        run = await house.when(run_id, lambda r, n=failures: r.attempts == n)  # type: ignore[misc]
        if failures == 1:
            assert run.state.value == "waiting"
            assert run.waits[0]["reason"] == "retry"
            await house.pass_time(HOUR)
    assert run.state.value == "dead"
    assert "could add anything" in (run.error or {})["message"]
    assert house.did["endless"] == 2


async def test_a_drain_waits_for_effects_in_flight_and_starts_none(house: House) -> None:
    """C1: another worker goes on."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        if n == 0:
            started.set()
            await go_on.wait()
        return n

    async def agent() -> list[int]:
        return [await work(n) for n in range(3)]

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    other = await house.submit("agent")
    await started.wait()
    await turns_until(lambda: house.did["0"] == 2)
    draining = asyncio.ensure_future(house.drain(worker))
    await turns()
    assert not draining.done()
    go_on.set()
    await draining
    assert house.did == {"0": 2}
    run = await house.store.get(run_id)
    assert (run.state.value, run.attempts) == ("queued", 0)
    await house.worker()
    for each in (run_id, other):
        assert await house.result(each) == [0, 1, 2]
    assert house.did == {"0": 2, "1": 2, "2": 2}


async def test_a_drain_is_over_when_its_time_is(house: House) -> None:
    """C1: bounded by drain time; also where the attempt was closing already."""
    started = asyncio.Event()

    @step
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    async def agent() -> None:
        await endless()

    house.serve(agent)
    worker = await house.worker(drain=timedelta(seconds=0.05))
    run_id = await house.submit("agent")
    await started.wait()
    house.attempt(run_id).closing.hop()
    await asyncio.wait_for(house.drain(worker), 3)
    run = await house.store.get(run_id)
    assert run.attempts == 1


async def test_a_drain_parks_what_only_waits(house: House) -> None:
    """C6: a run that waits warm made no progress, and has not failed either."""

    async def agent() -> Any:
        return await perdure.wait_for("s")

    def agent_sync() -> Any:
        from perdure import sync

        return sync.wait_for("s")

    house.serve(agent, park_after=60)
    house.serve(agent_sync, park_after=60)
    worker = await house.worker()
    runs = [await house.submit(name) for name in ("agent", "agent_sync")]
    for run_id in runs:
        attempt = await house.begun(run_id)
        await turns_until(lambda a=attempt: a.waiting.waiters)  # type: ignore[misc]
    await house.drain(worker)
    for run_id in runs:
        run = await house.store.get(run_id)
        assert (run.state.value, run.attempts) == ("waiting", 0)
        await house.signal(run_id, "s", 1)
    await house.worker()
    for run_id in runs:
        assert await house.result(run_id) == 1


async def test_a_drain_ends_a_sync_agent_between_two_effects(house: House) -> None:
    """C3: in its thread."""
    started, go_on = threading.Event(), threading.Event()

    @step
    def work(n: int) -> int:
        house.did[str(n)] += 1
        if n == 0:
            started.set()
            go_on.wait(10)
        return n

    @step(retries=2)
    def bounded(n: int) -> int:
        house.did[str(n)] += 1
        return n

    def agent() -> int:
        return work(0) + bounded(1) + work(2)

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(started.wait, 10)
    draining = asyncio.ensure_future(house.drain(worker))
    await turns()
    go_on.set()
    await draining
    assert house.did == {"0": 1}
    await house.worker()
    assert await house.result(run_id) == 3
    assert house.did == {"0": 1, "1": 1, "2": 1}


async def test_a_timeout_of_the_agents_own_does_not_mistake_our_cancelling(house: House) -> None:
    """C2: ``asyncio.timeout`` and TaskGroups around what is unwound."""

    @step
    async def work(n: int) -> int:
        house.did[str(n)] += 1
        if n == 0:
            house.attempt(perdure.current().run_id).closing.hop()
        return n

    async def agent() -> list[int]:
        found = [await work(0)]
        try:
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                task = group.create_task(work(1))
        except TimeoutError:
            return [-1]
        return [*found, task.result()]

    house.serve(agent)
    await house.worker()
    assert await house.run("agent") == [0, 1]
    assert house.did == {"0": 1, "1": 1}


# -- limits ---------------------------------------------------------------------------------------


async def test_a_runs_deadline_ends_it(house: House) -> None:
    """The timeout is the run's own; a running attempt is cut."""
    started = asyncio.Event()

    async def agent() -> None:
        started.set()
        await asyncio.Event().wait()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent", timeout=timedelta(seconds=0.2))
    run = await house.until(run_id)
    assert started.is_set()
    assert run.state.value == "failed"
    assert (run.error or {})["code"] == "run_timeout"


async def test_a_deadline_wakes_a_run_that_waits(house: House) -> None:
    async def agent() -> None:
        await perdure.wait_for("never")

    house.serve(agent, park_after=0)
    await house.worker()
    run_id = await house.submit("agent", timeout=HOUR)
    await house.parked(run_id, "signal")
    await house.pass_time(HOUR)
    run = await house.until(run_id)
    assert (run.error or {})["code"] == "run_timeout"


async def test_a_deadline_bounds_what_a_park_waits_for(house: House) -> None:
    """C1: bounded by drain time or deadline."""
    started = asyncio.Event()

    @step
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    async def agent() -> None:
        await endless()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent", timeout=timedelta(seconds=0.2))
    await started.wait()
    house.attempt(run_id).closing.hop()
    run = await house.until(run_id)
    assert (run.error or {})["code"] == "run_timeout"


async def test_the_loop_guard_stops_a_loop_and_says_why(house: House) -> None:
    """X4: identical repeats, model calls, effects; events count too."""

    @perdure.tool
    async def search(what: str) -> str:
        house.did[what] += 1
        return "nothing"

    async def repeats() -> None:
        while True:
            await search("the same")

    async def calls() -> None:
        n = 0
        while True:
            n += 1
            await model("m", n, n)

    async def effects() -> None:
        n = 0
        while True:
            n += 1
            await search(str(n))

    async def events() -> None:
        n = 0
        while True:
            n += 1
            perdure.emit("n", n)

    limits = Limits(model_calls=4, effects=20, repeats=3)
    for agent in (repeats, calls, effects, events):
        house.serve(agent, limits=limits)
    await house.worker()
    for name, limit in (
        ("repeats", "repeats"), ("calls", "model calls"), ("effects", "effects"),
        ("events", "effects"),
    ):  # fmt: skip
        run = await house.until(await house.submit(name))
        assert run.state.value == "failed"
        assert run.error is not None
        assert run.error["code"] == "loop_guard"
        assert limit in run.error["message"]
        assert "limits." in run.error["hint"]
    assert house.did["the same"] == 3


async def test_the_loop_guard_counts_over_attempts(house: House) -> None:
    """X4: per run: replayed effects are counted too."""

    @perdure.tool
    async def search(n: int) -> None:
        house.attempt(perdure.current().run_id).closing.hop()

    async def agent() -> None:
        for n in range(10):
            await search(n)

    house.serve(agent, limits=Limits(effects=5))
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert (run.error or {})["code"] == "loop_guard"
    assert run.epoch == 6


async def test_too_many_entries_park_with_a_clear_message(house: House) -> None:
    """Z1: before it hurts; events count too."""

    @step
    async def work(n: int) -> int:
        return n

    async def steps() -> None:
        for n in range(100):
            await work(n)

    async def events() -> None:
        for n in range(100):
            perdure.emit("n", n)
        await work(0)

    house.serve(steps, max_entries=5)
    house.serve(events, max_entries=5)
    await house.worker()
    for name in ("steps", "events"):
        run_id = await house.submit(name)
        run = await house.parked(run_id, "limit")
        assert "max_entries" in run.waits[0]["detail"]
        assert len(await house.entries(run_id)) == 5


# -- streams --------------------------------------------------------------------------------------


async def test_a_stream_is_pumped_to_its_end_whoever_listens(house: House) -> None:
    """C8: a consumer that breaks off early loses nothing, and a later effect of that branch waits
    until the stream's record is durable, whatever lies between."""
    go_on, asked = asyncio.Event(), asyncio.Event()

    @step
    async def act() -> str:
        house.did["act"] += 1
        return "acted"

    async def agent() -> str:
        run = boundary()
        assert run is not None
        ticket = await run.request(Kind.MODEL, "m", b"?" * 16, streamed=True)
        if ticket.live:

            async def body() -> None:
                await go_on.wait()
                await ticket.done(b'"streamed"')

            run.pump(body)
        perdure.emit("broke off")
        asked.set()
        return await act()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await asked.wait()
    await turns()
    assert house.did == {}
    go_on.set()
    assert await house.result(run_id) == "acted"
    entries = [(e.kind, e.state) for e in await house.log(run_id, "entry")]
    assert entries == [("emit", "done"), ("model", "done"), ("step", "done")]


async def test_a_stream_nobody_waits_for_is_recorded_before_the_run_ends(house: House) -> None:
    """C8: the attempt settles only when its pumps have ended, those in threads too."""
    go_on, left = threading.Event(), asyncio.Event()

    async def agent() -> str:
        run = boundary()
        assert run is not None
        first = await run.request(Kind.MODEL, "m", b"?" * 16)
        second = await run.request(Kind.MODEL, "n", b"!" * 16)

        async def body() -> None:
            await first.done(b'"streamed"')
            await asyncio.to_thread(go_on.wait, 10)
            house.did["pumped"] += 1

        def blocking() -> None:
            run.wait_blocking(second.done(b'"too"'))
            go_on.wait(10)
            house.did["pumped"] += 1

        run.pump(body)
        run.pump_blocking(blocking)
        left.set()
        return "done"

    async def another() -> None: ...

    house.serve(agent)
    house.serve(another)
    await house.worker()
    run_id = await house.submit("agent")
    await left.wait()
    await house.until_entries(run_id, 2)
    await house.run("another")  # enough time to settle both
    assert (await house.store.get(run_id)).state.value == "running"
    go_on.set()
    assert await house.result(run_id) == "done"
    assert house.did == {"pumped": 2}
    assert [e.state for e in await house.entries(run_id)] == ["done", "done"]


async def test_whoever_is_cancelled_at_a_streams_barrier_waits_there_again(house: House) -> None:
    """C8: giving up waiting for it opens no way past it."""
    go_on, asked = asyncio.Event(), asyncio.Event()

    @step
    async def act(n: int) -> int:
        house.did[str(n)] += 1
        return n

    async def agent() -> int:
        run = boundary()
        assert run is not None
        ticket = await run.request(Kind.MODEL, "m", b"?" * 16, streamed=True)

        async def body() -> None:
            await go_on.wait()
            await ticket.done(b'"streamed"')

        run.pump(body)
        try:
            async with asyncio.timeout(0.01):
                await act(1)
        except TimeoutError:
            asked.set()
        return await act(2)

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await asked.wait()
    await turns()
    assert house.did == {}
    go_on.set()
    assert await house.result(run_id) == 2


async def test_an_abandoned_row_is_durable_before_the_branchs_next_effect(house: House) -> None:
    """F3: the next effect must not get ahead of it."""

    @step
    async def slow() -> None:
        await asyncio.Event().wait()

    @step
    async def act() -> None:
        states = [s for _, s in await house.states(perdure.current().run_id)]
        house.did["act after " + " ".join(states)] += 1

    async def agent() -> None:
        try:
            async with asyncio.timeout(0.01):
                await slow()
        except TimeoutError:
            await act()

    house.serve(agent)
    await house.worker()
    await house.run("agent")
    assert house.did == {"act after abandoned": 1}


async def test_deltas_are_coalesced(house: House) -> None:
    """E1: nobody waits for their commit; what is left goes out before the record."""

    async def agent() -> None:
        run = boundary()
        assert run is not None
        ticket = await run.request(Kind.MODEL, "m", b"?" * 16)
        for n in range(300):
            ticket.delta(f'"{n:030}"'.encode())
        ticket.warning("odd", "something to tell")
        await ticket.done(b'"all"')

    house.serve(agent, retry=AT_ONCE)
    await house.worker()
    run_id = await house.submit("agent")
    await house.result(run_id)
    deltas = await house.log(run_id, "delta")
    assert 2 <= len(deltas) <= 4
    assert [p for e in deltas for p in payload(e)] == [f"{n:030}" for n in range(300)]
    record = next(e for e in await house.log(run_id, "entry"))
    assert all(e.seq < record.seq for e in deltas)
    assert await house.warnings(run_id) == ["odd"]
