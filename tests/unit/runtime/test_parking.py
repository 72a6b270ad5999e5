"""Sleeps, signals, and when a run parks for them (C1-C3, C5, C7)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

import perdure
from perdure import step, sync
from perdure.codec import encode
from perdure.core.record import Entry, Kind
from perdure.errors import Parked
from perdure.runtime import waiting as waiting_module
from tests.unit.runtime.harness import House, turns, turns_until
from tests.unit.runtime.test_failures import give_up_when_done
from tests.unit.runtime.test_replay import Gate

HOUR = timedelta(hours=1)


class Decision(BaseModel):
    approved: bool
    by: str


# -- sleeping -------------------------------------------------------------------------------------


async def test_a_long_sleep_parks_at_once_and_is_counted_from_its_beginning(house: House) -> None:
    """C5: a wait with a known long end holds no worker."""

    @step
    async def before() -> None:
        house.did["before"] += 1

    async def agent() -> str:
        await before()
        await perdure.sleep(HOUR)
        return "awake"

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    run = await house.parked(run_id, "sleep")
    await turns_until(lambda: worker.running == 0)
    assert run.wake_at is not None
    assert timedelta(minutes=59) < run.wake_at - run.created_at <= HOUR + timedelta(seconds=5)
    await house.pass_time(HOUR / 2)
    assert (await house.store.get(run_id)).state.value == "waiting"
    await house.pass_time(HOUR / 2)
    assert await house.result(run_id) == "awake"
    assert house.did == {"before": 1}
    assert (await house.store.get(run_id)).attempts == 0


async def test_a_sleep_survives_its_worker(house: House) -> None:
    """The rest is slept after a crash, not the whole again."""
    slept = Gate()

    async def agent() -> str:
        await asyncio.gather(perdure.sleep(HOUR), slept())
        return "awake"

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await slept.reached.wait()
    await house.until_entries(run_id, 1, "intent")
    await house.crash(worker)
    await house.pass_time(HOUR * 2)
    await house.worker()
    assert await house.result(run_id) == "awake"


async def test_a_short_sleep_stays_warm(house: House) -> None:
    """C5: no park, no intent, one entry."""

    async def agent() -> str:
        await perdure.sleep(0.01)
        await perdure.sleep(timedelta(milliseconds=1))
        return "awake"

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    assert await house.result(run_id) == "awake"
    assert [s for _, s in await house.states(run_id)] == ["done", "done"]
    assert "waiting" not in await house.statuses(run_id)


@pytest.mark.parametrize("duration", [-1, float("nan"), float("inf"), timedelta(days=9999)])
async def test_odd_durations_are_refused(house: House, duration: Any) -> None:
    async def agent() -> None:
        await perdure.sleep(duration)

    house.serve(agent)
    await house.worker()
    run = await house.until(await house.submit("agent"))
    assert run.error is not None
    assert run.error["code"] == "boundary"


async def test_sync_agents_sleep_and_wait(house: House) -> None:
    """C3: a boundary raises Parked in the thread, and the agent starts over by its journal."""

    @step
    def work(n: int) -> int:
        house.did[str(n)] += 1
        return n

    def agent() -> list[Any]:
        found: list[Any] = [work(1)]
        sync.sleep(0.001)
        sync.sleep(HOUR)
        found.append(work(2))
        found.append(sync.wait_for("go"))
        found.append(work(3))
        return found

    house.serve(agent, park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep")
    await house.pass_time(HOUR)
    await house.parked(run_id, "signal")
    await house.signal(run_id, "go", {"now": 1})
    assert await house.result(run_id) == [1, 2, {"now": 1}, 3]
    assert house.did == {"1": 1, "2": 1, "3": 1}


# -- signals --------------------------------------------------------------------------------------


async def test_signals_before_and_after_the_wait(house: House) -> None:
    """C7: those sent before are kept, in order; each is consumed once."""

    async def agent() -> list[Any]:
        return [await perdure.wait_for("s") for _ in range(3)]

    house.serve(agent, park_after=0)
    run_id = await house.submit("agent")
    for n in (1, 2):
        await house.signal(run_id, "s", n)
    await house.worker()
    await house.parked(run_id, "signal")
    await house.signal(run_id, "other", "not this one")
    await house.parked(run_id, "signal")
    await house.signal(run_id, "s", 3)
    assert await house.result(run_id) == [1, 2, 3]


async def test_a_warm_wait_is_told(house: House) -> None:
    """C5: within ``park_after`` the run does not even leave its worker."""
    waiting = asyncio.Event()

    async def agent() -> Any:
        waiting.set()
        return await perdure.wait_for("s")

    house.serve(agent, park_after=60)
    await house.worker()
    run_id = await house.submit("agent")
    await waiting.wait()
    await house.signal(run_id, "s", "here")
    assert await house.result(run_id) == "here"
    assert (await house.store.get(run_id)).epoch == 1


async def test_payloads_are_typed_and_may_be_large(house: House) -> None:
    async def agent() -> list[Any]:
        decision = await perdure.wait_for("decision", type=Decision)
        assert isinstance(decision, Decision)
        raw = await perdure.wait_for("raw")
        blob = await perdure.wait_for("blob")
        return [decision.by, len(raw), len(blob)]

    house.serve(agent, park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.signal(run_id, "decision", {"approved": True, "by": "me"})
    await house.signal(run_id, "raw", b"\x00" * 9)
    reference = house.blobs.put(encode("x" * 300_000))
    await house.store.signal(run_id, "blob", reference)
    assert await house.result(run_id) == ["me", 9, 300_000]


async def test_which_signal_a_wait_consumed_is_remembered(house: House) -> None:
    """C7: also when its payload is too large to be read with the keys."""
    gate = Gate()

    async def agent() -> list[int]:
        first = await perdure.wait_for("s")
        await gate()
        return [len(first), len(await perdure.wait_for("s"))]

    house.serve(agent, park_after=0)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.signal(run_id, "s", "x" * 20_000)
    await gate.reached.wait()
    await house.next_life(worker)
    await house.parked(run_id, "signal")
    await house.signal(run_id, "s", "y" * 3)
    assert await house.result(run_id) == [20_000, 3]


async def test_a_signal_told_before_the_journal_is_read_is_not_taken_twice(house: House) -> None:
    """C7: the worker is told of a signal at any time, also before the attempt knows what earlier
    ones consumed."""
    gate = Gate()

    async def agent() -> list[Any]:
        first = await perdure.wait_for("s")
        await gate()
        return [first, await perdure.wait_for("s")]

    house.serve(agent, park_after=0)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.signal(run_id, "s", 1)
    await gate.reached.wait()
    await house.crash(worker)
    second = await house.worker(claim=False)
    journal, told = house.store.journal, asyncio.Event()

    async def after_telling(run_id: str) -> list[Entry]:
        await told.wait()
        return await journal(run_id)

    house.store.journal = after_telling  # type: ignore[method-assign]
    task = second.take(await house.lease(second))
    await second._look_after(house.attempt(run_id))
    told.set()
    await task
    await house.parked(run_id, "signal")
    await house.signal(run_id, "s", 2)
    task = second.take(await house.lease(second))
    assert await house.result(run_id) == [1, 2]
    await task


@pytest.mark.parametrize("when", ["told", "recording"])
async def test_a_signal_whose_waiter_turned_away_goes_to_the_next(house: House, when: str) -> None:
    """C7: wake-ups are not lost."""

    async def agent() -> Any:
        task = asyncio.ensure_future(perdure.wait_for("s"))
        attempt = house.attempt(perdure.current().run_id)
        await turns_until(lambda: attempt.waiting.waiters)
        poke = attempt.waiting.poke
        attempt.waiting.told = _nothing  # type: ignore[method-assign]
        await house.signal(attempt.run_id, "s", "once")
        if when == "recording":
            give_up_when_done(house, task)
        await poke()
        if when == "told":
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return await perdure.wait_for("s")

    house.serve(agent, park_after=60)
    await house.worker()
    assert await house.run("agent") == "once"


async def test_a_wait_times_out(house: House) -> None:
    """The deadline is counted from the first time it was reached, and replayed."""
    gate = Gate()

    async def agent() -> str:
        try:
            await perdure.wait_for("s", timeout=HOUR)
        except TimeoutError as error:
            await gate()
            return str(error)
        return "came"

    house.serve(agent, park_after=0)
    worker = await house.worker()
    run_id = await house.submit("agent")
    run = await house.parked(run_id, "signal")
    assert run.wake_at is not None
    await house.pass_time(HOUR)
    await gate.reached.wait()
    await house.next_life(worker)
    await house.signal(run_id, "s", "too late")
    assert await house.result(run_id) == "no signal 's' came in time"


async def test_a_wait_with_a_timeout_is_woken_by_its_signal(house: House) -> None:
    async def agent() -> Any:
        return await perdure.wait_for("s", timeout=HOUR)

    house.serve(agent, park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "signal")
    await house.signal(run_id, "s", 1)
    assert await house.result(run_id) == 1


# -- when a run parks -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gather", "group", "wait", "threads"])
async def test_parallel_waits_park_once_with_the_union(house: House, how: str) -> None:
    """C1: a run parks only when every branch waits; two parallel approvals are both asked."""

    async def agent() -> list[Any]:
        waits = [perdure.wait_for("a"), perdure.wait_for("b"), perdure.sleep(HOUR)]
        if how == "gather":
            return await asyncio.gather(*waits)
        if how == "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_as_coroutine(w)) for w in waits]
            return [t.result() for t in tasks]
        futures = [asyncio.ensure_future(w) for w in waits]
        await asyncio.wait(futures)
        return [f.result() for f in futures]

    async def agent_with_threads() -> list[Any]:
        return [
            *await asyncio.gather(
                asyncio.to_thread(sync.wait_for, "a"),
                asyncio.to_thread(sync.wait_for, "b"),
                asyncio.to_thread(sync.sleep, HOUR),
            )
        ]

    house.serve(agent_with_threads if how == "threads" else agent, name="agent", park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "signal", "signal", "sleep")
    await house.signal(run_id, "b", "B")
    await house.parked(run_id, "signal", "sleep")
    await house.pass_time(HOUR)
    await house.parked(run_id, "signal")
    await house.signal(run_id, "a", "A")
    assert await house.result(run_id) == ["A", "B", None]


async def _as_coroutine(what: Awaitable[Any]) -> Any:
    return await what


async def test_a_run_whose_waiting_is_provable_parks_without_a_quiet_period(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C5: gather and awaited tasks are followed."""
    monkeypatch.setattr(waiting_module, "QUIET_SECONDS", 3600.0)

    async def agent() -> None:
        async def inner() -> Any:
            return await asyncio.ensure_future(perdure.wait_for("a"))

        await asyncio.gather(inner(), asyncio.gather(perdure.wait_for("b"), perdure.sleep(HOUR)))

    house.serve(agent, park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "signal", "signal", "sleep")


async def test_a_branch_that_works_keeps_the_run_from_parking(house: House) -> None:
    """C1: while an effect is in flight, and until its branch waits too."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> str:
        house.did["work"] += 1
        started.set()
        await go_on.wait()
        return "worked"

    async def busy() -> str:
        found = await work()
        await perdure.sleep(HOUR)
        return found

    async def agent() -> list[Any]:
        return [*await asyncio.gather(perdure.wait_for("s"), busy())]

    house.serve(agent, park_after=0)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    attempt = house.attempt(run_id)
    await turns_until(lambda: attempt.waiting.waiters)
    attempt.waiting.consider()
    await turns()
    assert attempt.closing.ending is None
    assert worker.running == 1
    go_on.set()
    await house.parked(run_id, "signal", "sleep")
    await house.signal(run_id, "s", "S")
    await house.pass_time(HOUR)
    assert await house.result(run_id) == ["S", "worked"]
    assert house.did == {"work": 1}


async def test_a_short_wait_beside_a_long_one_is_waited_out(house: House) -> None:
    """C1, C5: short ones stay warm."""
    slept = asyncio.Event()

    async def short() -> None:
        await perdure.sleep(0.01)
        slept.set()

    async def agent() -> None:
        await asyncio.gather(short(), perdure.sleep(HOUR))

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    run = await house.parked(run_id, "sleep")
    assert slept.is_set()
    assert len(run.waits) == 1


async def test_a_signal_that_comes_while_parking_wakes(house: House) -> None:
    """C7: a park becomes queued when a matching signal is unread."""
    waiting = asyncio.Event()

    async def agent() -> Any:
        waiting.set()
        return await perdure.wait_for("s")

    house.serve(agent, park_after=60)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await waiting.wait()
    attempt = house.attempt(run_id)
    await turns_until(lambda: attempt.waiting.waiters)
    worker.draining = True  # it is not told, and does not claim again
    attempt.waiting.told = _nothing  # type: ignore[method-assign]
    await house.signal(run_id, "s", "in between")
    attempt.waiting.hurry()
    run = await house.until(run_id, "queued", "waiting")
    assert run.state.value == "queued"
    await house.worker()
    assert await house.result(run_id) == "in between"


async def _nothing() -> None:
    pass


# -- unwinding ------------------------------------------------------------------------------------


def swallow_all(limit: int) -> Callable[[], Awaitable[str]]:
    async def agent() -> str:
        for _ in range(limit):
            try:
                await perdure.sleep(HOUR)
            except BaseException:
                pass
        return "swallowed"

    return agent


@pytest.mark.parametrize("limit", [1, 5, 20])
async def test_swallowed_cancellation_is_cancelled_again(house: House, limit: int) -> None:
    """C2: again and again; whatever the root then returns is discarded."""
    house.serve(swallow_all(limit), name="agent")
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep")
    assert [s for _, s in await house.states(run_id)] == ["intent"]


async def test_a_root_that_never_lets_go_is_left_behind_by_a_stop(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2: nothing can end such code; the worker can, and the loop does not wait for it."""
    from perdure.runtime import worker as worker_module

    monkeypatch.setattr(worker_module, "STOP", timedelta(seconds=0.05))
    held = True

    async def agent() -> None:
        while True:
            try:
                await perdure.sleep(HOUR)
            except BaseException:
                if not held:
                    raise

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.until_entries(run_id, 1, "intent")
    (task,) = worker._tasks.values()
    await house.stop(worker)
    assert not task.done()
    assert task not in asyncio.all_tasks()
    held = False
    task.cancel()
    await asyncio.wait([task])
    await house.worker()
    await house.parked(run_id, "sleep")


async def test_boundaries_of_a_closing_attempt_block_in_finally_too(house: House) -> None:
    """C2: nothing new is started while the agent is unwound."""

    @step
    async def cleanup() -> None:
        house.did["cleanup"] += 1

    async def agent() -> None:
        try:
            await perdure.sleep(HOUR)
        finally:
            await cleanup()

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep")
    assert house.did == {}
    await house.pass_time(HOUR)
    await house.result(run_id)
    assert house.did == {"cleanup": 1}


async def test_an_error_out_of_the_unwinding_is_discarded(house: House) -> None:
    """C2: whatever the root then returns or raises."""

    async def agent() -> None:
        try:
            await perdure.sleep(HOUR)
        except asyncio.CancelledError:
            raise ConnectionError("the framework made this of it") from None

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep")
    assert (await house.store.get(run_id)).attempts == 0


async def test_tasks_that_outlive_the_root_are_cancelled(house: House) -> None:
    """C2: tasks seen at boundaries and still alive."""
    ended = asyncio.Event()
    tasks = []

    async def background() -> None:
        try:
            await perdure.wait_for("never")
        finally:
            ended.set()

    async def agent() -> None:
        tasks.append(asyncio.ensure_future(background()))
        await perdure.sleep(HOUR)

    house.serve(agent, park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "signal", "sleep")
    assert ended.is_set()
    assert tasks[0].done()


async def test_a_task_left_behind_by_a_finished_agent_ends_with_it(house: House) -> None:
    """C2: its effects could be recorded nowhere."""
    tasks = []

    async def background() -> None:
        await perdure.wait_for("never")

    async def agent() -> str:
        tasks.append(asyncio.ensure_future(background()))
        await turns_until(lambda: house.attempt(perdure.current().run_id).waiting.waiters)
        return "done"

    house.serve(agent, park_after=60)
    await house.worker()
    assert await house.run("agent") == "done"
    assert tasks[0].cancelled()


async def test_except_exception_does_not_swallow_a_park(house: House) -> None:
    """C3: Parked is a BaseException."""

    @step
    def work(n: int) -> int:
        return n

    def agent() -> int:
        total = 0
        for n in range(3):
            try:
                total += work(n)
                sync.sleep(HOUR)
            except Exception:
                house.did["swallowed"] += 1
        return total

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    for _ in range(3):
        await house.parked(run_id, "sleep")
        await house.pass_time(HOUR)
    assert await house.result(run_id) == 3
    assert house.did == {}


async def test_a_sync_agent_that_swallows_parked_parks_all_the_same(house: House) -> None:
    """C3: its next boundaries raise it again; what it returns is discarded."""

    def agent() -> str:
        for _ in range(5):
            try:
                sync.sleep(HOUR)
            except Parked:
                pass
        return "swallowed"

    house.serve(agent)
    await house.worker()
    await house.parked(await house.submit("agent"), "sleep")


async def test_the_lease_is_released_when_the_thread_has_ended(house: House) -> None:
    """C3: not before."""
    release, parked = threading.Event(), threading.Event()
    order: list[str] = []

    def agent() -> None:
        try:
            sync.sleep(HOUR)
        finally:
            parked.set()
            release.wait(10)
            order.append("thread ended")

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(parked.wait, 10)
    await turns()
    assert (await house.store.get(run_id)).state.value == "running"
    assert worker.running == 1
    release.set()
    await house.parked(run_id, "sleep")
    assert order == ["thread ended"]


async def test_effects_in_flight_are_recorded_before_a_park(house: House) -> None:
    """C1: one branch asks an operator; what the other one is doing is not lost."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def slow() -> str:
        house.did["slow"] += 1
        started.set()
        await go_on.wait()
        return "slow"

    @step(effect="once")
    async def pay() -> None:
        await started.wait()
        house.did["pay"] += 1
        raise ConnectionError("who knows")

    async def agent() -> list[Any]:
        return [*await asyncio.gather(slow(), pay())]

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await started.wait()
    attempt = house.attempt(run_id)
    await turns_until(lambda: attempt.closing.ending)
    await turns()
    assert not attempt.closing.cutting
    go_on.set()
    run = await house.parked(run_id, "uncertain")
    await house.store.resolve(run_id, bytes.fromhex(run.waits[0]["key"]), value=b"null")
    assert await house.result(run_id) == ["slow", None]
    assert house.did == {"slow": 1, "pay": 1}


async def test_kinds_of_waits_in_the_journal(house: House) -> None:
    """Each is an entry of its own kind; a consumed signal is told by its number."""

    async def agent() -> None:
        await perdure.sleep(0)
        await perdure.wait_for("s")

    house.serve(agent)
    run_id = await house.submit("agent")
    await house.signal(run_id, "s", {"a": 1})
    await house.worker()
    await house.result(run_id)
    sleep, signal = await house.entries(run_id)
    assert (sleep.kind, signal.kind, signal.name) == (Kind.SLEEP, Kind.SIGNAL, "s")
    assert b'"n":1' in (signal.value or b"")
