"""Code of an agent that runs elsewhere: in threads, and on event loops of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure import codec, step, sync, tool
from perdure.core.digest import digest
from perdure.core.ports import boundary
from perdure.core.record import Kind
from perdure.errors import EffectFailed, Parked
from tests.unit.runtime.harness import House, texts
from tests.unit.runtime.test_replay import Gate

HOUR = timedelta(hours=1)


async def call_model(house: House, prompt: str) -> str:
    """A model call as the gateway's transport makes it, on whichever loop it is."""
    run = boundary()
    assert run is not None
    ticket = await run.request(Kind.MODEL, "m", digest(prompt.encode()))
    if not ticket.live:
        if ticket.state == "failed":
            raise EffectFailed(codec.decode(ticket.value))
        return str(codec.decode(ticket.value))
    house.did[prompt] += 1
    if prompt == "fails":
        await ticket.failed(codec.encode("refused"))
        raise EffectFailed("refused")
    ticket.delta(codec.encode(prompt))
    ticket.warning("odd", prompt)
    await ticket.done(codec.encode(prompt.upper()))
    return prompt.upper()


def on_a_loop_of_its_own(agent: Callable[[], Awaitable[Any]]) -> Callable[[], Any]:
    """``run_sync`` of some SDKs."""

    def run_sync() -> Any:
        async def main() -> Any:
            return await agent()

        return asyncio.run(main())

    return run_sync


async def test_model_calls_on_another_loop_are_recorded_and_replayed(house: House) -> None:
    """A2: OpenAI's ``run_sync`` uses a second loop."""
    lives, reached = 0, threading.Event()
    cut = threading.Event()

    async def agent() -> list[Any]:
        nonlocal lives
        lives += 1
        found: list[Any] = [await call_model(house, "a")]
        found += await asyncio.gather(call_model(house, "b"), call_model(house, "c"))
        try:
            await call_model(house, "fails")
        except EffectFailed as error:
            found.append(str(error))
        found.append(await call_model(house, "d"))
        perdure.emit("progress")
        await perdure.sleep(0)
        if lives == 1:
            reached.set()
            cut.wait(10)
        found.append(await call_model(house, "e"))
        return found

    house.serve(on_a_loop_of_its_own(agent), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(reached.wait, 10)
    worker.draining = True
    await house.store.release(worker.id)
    cut.set()
    await house.stop(worker)
    await house.worker()
    assert await house.result(run_id) == ["A", "B", "C", "refused", "D", "E"]
    assert set(house.did.values()) == {1}
    told = texts(await house.log(run_id, "delta"))
    assert sorted(told) == ["a", "b", "c", "d", "e"]
    assert len(await house.warnings(run_id)) == 5


async def test_a_park_reaches_another_loop(house: House) -> None:
    """C3: as Parked, through tasks of that loop too."""
    seen: list[str] = []

    async def agent() -> Any:
        await call_model(house, "a")
        try:
            await asyncio.gather(perdure.sleep(HOUR), perdure.wait_for("go"))
        except Parked:
            seen.append("parked")
            raise
        return await call_model(house, "b")

    house.serve(on_a_loop_of_its_own(agent), name="agent", park_after=0)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep", "signal")
    await house.signal(run_id, "go")
    await house.parked(run_id, "sleep")
    await house.pass_time(HOUR)
    assert await house.result(run_id) == "B"
    assert house.did == {"a": 1, "b": 1}
    assert seen == ["parked", "parked"]


async def test_a_drain_reaches_another_loop(house: House) -> None:
    """C1: what is in flight there is recorded, and nothing new starts."""
    started, go_on = threading.Event(), threading.Event()

    async def agent() -> str:
        run = boundary()
        assert run is not None
        ticket = await run.request(Kind.MODEL, "m", digest(b"slow"))
        if ticket.live:
            house.did["slow"] += 1
            started.set()
            await asyncio.to_thread(go_on.wait, 10)
            await ticket.done(b'"SLOW"')
        return await call_model(house, "next")

    house.serve(on_a_loop_of_its_own(agent), name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    assert await asyncio.to_thread(started.wait, 10)
    draining = asyncio.ensure_future(house.drain(worker))
    await asyncio.sleep(0)
    go_on.set()
    await draining
    assert house.did == {"slow": 1}
    await house.worker()
    assert await house.result(run_id) == "NEXT"
    assert house.did == {"slow": 1, "next": 1}


@pytest.mark.parametrize("sync_agent", [False, True])
async def test_threads_of_an_agent_stream_and_record_like_tasks(
    house: House, sync_agent: bool
) -> None:
    """A synchronous SDK's call: request_blocking, wait_blocking, a pump in a thread."""
    gate = Gate()

    def blocking_call(prompt: str) -> str:
        run = boundary()
        assert run is not None
        ticket = run.request_blocking(Kind.MODEL, "m", digest(prompt.encode()), streamed=True)
        if not ticket.live:
            return str(codec.decode(ticket.value))
        house.did[prompt] += 1
        ended = threading.Event()

        def pump() -> None:
            ticket.delta(codec.encode(prompt))
            run.wait_blocking(ticket.done(codec.encode(prompt.upper())))
            ended.set()

        run.pump_blocking(pump)
        ended.wait(10)
        return prompt.upper()

    async def agent() -> list[str]:
        found = [await asyncio.to_thread(blocking_call, "a")]
        found += await asyncio.gather(*(asyncio.to_thread(blocking_call, p) for p in "bc"))
        await gate()
        return found

    def agent_sync() -> list[str]:
        return [blocking_call(p) for p in "abc"]

    house.serve(agent_sync if sync_agent else agent, name="agent")
    worker = await house.worker()
    run_id = await house.submit("agent")
    if not sync_agent:
        await gate.reached.wait()
        await house.next_life(worker)
    assert await house.result(run_id) == ["A", "B", "C"]
    assert set(house.did.values()) == {1}
    assert sorted(texts(await house.log(run_id, "delta"))) == ["a", "b", "c"]


async def test_clock_and_events_in_threads(house: House) -> None:
    """They are recorded from threads too, in the thread's branch."""

    @step
    def work() -> None: ...

    def agent() -> list[str]:
        first = perdure.now()
        perdure.emit("progress", {"n": 1})
        key = perdure.idempotency_key()
        sync.sleep(HOUR)
        work()
        return [first.isoformat(), str(perdure.uuid4()), key]

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep")
    await house.pass_time(HOUR)
    first, _, key = await house.result(run_id)
    run = await house.store.get(run_id)
    assert first < (run.created_at + HOUR / 2).isoformat()
    assert key == f"{run_id}-run"
    kinds = [e.kind for e in await house.entries(run_id)]
    assert kinds == ["clock", "emit", "sleep", "step", "random"]


async def test_steps_and_tools_on_a_loop_of_its_own(house: House) -> None:
    """Some SDKs run agents on a second loop: bodies run there, effects are the run's."""
    done: list[str] = []
    name: ContextVar[str] = ContextVar("name", default="nobody")
    loops: set[asyncio.AbstractEventLoop] = set()

    @step
    async def inner(n: int) -> int:
        loops.add(asyncio.get_running_loop())
        done.append(f"inner {n}")
        return n + 1

    @tool(effect="once", timeout=30)
    async def outer(n: int) -> list[Any]:
        loops.add(asyncio.get_running_loop())
        done.append(f"outer {n} {name.get()}")
        return [name.get(), await inner(n), await inner(n + 1)]

    @step
    async def fails() -> None:
        done.append("fails")
        raise ValueError("no")

    async def all_of_it() -> list[Any]:
        name.set("somebody")
        first, second = await asyncio.gather(outer(1), outer(2))
        with pytest.raises(ValueError, match="no"):
            await fails()
        return [*first, *second, await inner(9)]

    def agent() -> list[Any]:
        result = asyncio.run(all_of_it())
        sync.sleep(timedelta(days=1))
        return [*result, asyncio.run(all_of_it())]

    house.serve(agent)
    await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "sleep")
    assert sorted(done) == sorted(
        ["outer 1 somebody", "outer 2 somebody", "fails", "inner 9",
         "inner 1", "inner 2", "inner 2", "inner 3"]
    )  # fmt: skip
    assert len(loops) == 1
    assert asyncio.get_running_loop() not in loops
    done.clear()
    await house.pass_time(timedelta(days=2))
    one = ["somebody", 2, 3, "somebody", 3, 4, 10]
    assert await house.result(run_id) == [*one, one]
    assert len(done) == 8  # of the second time alone


async def test_a_park_reaches_a_step_on_another_loop(house: House) -> None:
    """Closing is told there as Parked, and what was in flight is recorded first (C1, C3)."""
    begun, seen = threading.Event(), []

    @step
    async def slow() -> int:
        begun.set()
        await asyncio.sleep(0.05)
        return 1

    @step
    async def never() -> int:
        seen.append("never")
        return 2

    async def two() -> int:
        return await slow() + await never()

    def agent() -> int:
        return asyncio.run(two())

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await asyncio.to_thread(begun.wait)
    house.attempt(run_id).closing.hop()
    await house.drain(worker)
    assert seen == []
    assert [e.state for e in await house.entries(run_id)] == ["done"]
    begun.clear()
    await house.worker()
    assert await house.result(run_id) == 3
    assert not begun.is_set()
