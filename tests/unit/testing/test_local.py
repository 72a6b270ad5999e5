"""What users test their agents with."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

import perdure
from perdure import App
from perdure.cli.target import load
from perdure.errors import NotFound, RunFailed
from perdure.testing.local import LocalRuns

EXAMPLES = Path(__file__).parents[3] / "examples"


async def test_an_approval_survives_a_crash_and_a_day() -> None:
    async with LocalRuns(load(f"{EXAMPLES}/approval.py:refund")) as runs:
        run = await runs.start("refund", "order 7")
        await runs.until(run, "waiting")
        await runs.crash()
        await runs.signal(run, "approved", {"by": "ada"})
        assert await runs.result(run) == "refunded order 7, approved by ada"

        late = await runs.start("refund", "order 8")
        await runs.until(late, "waiting")
        await runs.advance(timedelta(days=2))
        assert await runs.result(late) == "order 8: nobody approved"


async def test_a_crash_repeats_only_what_was_in_flight() -> None:
    done: list[str] = []
    stuck, go = asyncio.Event(), asyncio.Event()

    @perdure.step
    async def work(name: str) -> str:
        done.append(name)
        if name == "second":
            stuck.set()
            await go.wait()
        return name

    async def agent() -> list[str]:
        return [await work("first"), await work("second")]

    async with LocalRuns(agent) as runs:
        run = await runs.start("agent")
        await stuck.wait()
        go.set()
        await runs.crash()
        assert await runs.result(run) == ["first", "second"]
    assert done == ["first", "second", "second"]


async def test_errors_are_told() -> None:
    app = App()

    @app.agent
    async def broken() -> None:
        raise TypeError("a bug")

    async with LocalRuns(app, patience=0.0) as runs:
        with pytest.raises(NotFound, match="other"):
            await runs.start("other")
        run = await runs.start("broken")
        with pytest.raises(TimeoutError, match="waits for"):
            await runs.until(run, "blocked")
    async with LocalRuns(app) as runs:
        with pytest.raises(RunFailed, match="a bug") as caught:
            await runs.run("broken")
        assert isinstance(caught.value.__cause__, TypeError)
