"""What is in flight, what only waits, and what an attempt's end makes of either (C1, C3, P4)."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import perdure
from perdure.app import App
from perdure.core.record import EntryState
from tests.running import Ground


async def test_a_tool_in_which_someone_must_decide_parks_its_run(ground: Ground) -> None:
    app, done = App(), []

    @perdure.step
    async def prepare() -> str:
        done.append("prepare")
        return "draft"

    @perdure.tool
    async def publish() -> Any:
        draft = await prepare()
        return [draft, await perdure.wait_for("decision")]

    @app.agent(park_after=0)
    async def editor() -> Any:
        return await publish()

    await ground.begin(app)
    run = await ground.start("editor", None)
    await ground.until(run, "waiting")
    await ground.store.signal(run, "decision", b'"yes"')
    assert await ground.result(run) == ["draft", "yes"]
    assert done == ["prepare"]
    assert await ground.warnings(run) == []  # it was put down, not cut by a crash


async def test_an_attempt_parks_between_two_effects_inside_a_tool(ground: Ground) -> None:
    app, done = App(), []
    inside, go_on = asyncio.Event(), asyncio.Event()

    @perdure.step
    async def page(n: int) -> int:
        done.append(n)
        if n == 1:
            inside.set()
            await go_on.wait()
        return n

    @perdure.tool
    async def crawl() -> list[int]:
        return [await page(n) for n in range(3)]

    @app.agent
    async def crawler() -> list[int]:
        return await crawl()

    worker = await ground.begin(app)
    run = await ground.start("crawler", None)
    await inside.wait()
    draining = await ground.drain(worker)
    go_on.set()
    async with asyncio.timeout(10):
        await draining  # page 2 may not start, and crawl does not keep the worker
    assert done == [0, 1]
    await ground.begin(app)
    assert await ground.result(run) == [0, 1, 2]
    assert done == [0, 1, 2]
    assert await ground.warnings(run) == []


async def test_a_once_tool_that_was_begun_is_finished_before_the_attempt_ends(
    ground: Ground,
) -> None:
    app, done = App(), []
    inside, go_on = asyncio.Event(), asyncio.Event()

    @perdure.step
    async def part(n: int) -> None:
        done.append(n)
        if n == 0:
            inside.set()
            await go_on.wait()

    @perdure.tool(effect="once")
    async def pay() -> str:
        await part(0)
        await part(1)
        return "paid"

    @app.agent
    async def payer() -> str:
        return await pay()

    worker = await ground.begin(app)
    run = await ground.start("payer", None)
    await inside.wait()
    draining = await ground.drain(worker)
    go_on.set()
    await draining
    assert done == [0, 1]
    await ground.begin(app)
    assert await ground.result(run) == "paid"
    assert done == [0, 1]


async def test_a_failing_sibling_does_not_make_a_tool_in_a_thread_run_twice(
    ground: Ground,
) -> None:
    app, done = App(), []
    started, finish = threading.Event(), threading.Event()

    @perdure.tool
    def slow() -> str:
        done.append("slow")
        started.set()
        finish.wait(10)
        return "slow"

    @app.agent(retry=perdure.RetryPolicy(base=timedelta(0)))
    async def both() -> str:
        async def fails() -> None:
            await asyncio.to_thread(started.wait, 10)
            if len(done) == 1:
                done.append("failed")
                asyncio.get_running_loop().call_later(0.05, finish.set)
                raise ConnectionError("the first time")

        value, _ = await asyncio.gather(asyncio.to_thread(slow), fails())
        return str(value)

    await ground.begin(app)
    run = await ground.start("both", None)
    assert await ground.result(run) == "slow"
    assert done == ["slow", "failed"]


async def test_a_stopped_worker_records_nothing_of_what_it_breaks_off(ground: Ground) -> None:
    app, inside = App(), asyncio.Event()

    @perdure.step
    async def long() -> None:
        inside.set()
        await asyncio.Event().wait()

    @app.agent
    async def patient() -> None:
        await long()

    await ground.begin(app)
    run = await ground.start("patient", None)
    await inside.wait()
    await ground.stop()
    states = [event.state for event in await ground.events(run) if event.state]
    assert EntryState.ABANDONED not in states
