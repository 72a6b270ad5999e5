"""The clients against a real server: results, errors, listings, what is done to runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest

import perdure
from perdure.app import App
from perdure.client import AttemptStarted, Delta, Effect, Emitted, RunView, Status
from perdure.core.run import RunState
from perdure.errors import (
    CodecError,
    Conflict,
    InvalidInput,
    NotFound,
    RunCancelled,
    RunFailed,
    RunTimeout,
    Unauthorized,
    WaitOver,
)
from perdure.server.keys import SCOPES, create
from tests.integration.client.faces import FACES
from tests.integration.server.serving import Served, serving

DEAD = RunState.DEAD


class Report(pydantic.BaseModel):
    title: str
    pages: int


@dataclass
class Agents:
    app: App
    broken: bool = True


def _agents() -> Agents:
    app = App()
    agents = Agents(app)

    @app.agent
    async def greet(name: str) -> str:
        return f"hello {name}"

    @app.agent
    async def report(title: str) -> Report:
        return Report(title=title, pages=3)

    @app.agent
    async def raw() -> bytes:
        return b"\x00\xff"

    @app.agent
    async def approval(order: str) -> Any:
        return await perdure.wait_for("approved")

    @app.agent
    async def fail() -> None:
        raise TypeError("a bug")

    @app.agent(retry=perdure.RetryPolicy(attempts=1))
    async def flaky() -> str:
        if agents.broken:
            raise ConnectionError("away")
        return "back"

    @perdure.step
    async def look(i: int) -> int:
        return i * 2

    @app.agent
    async def talk(n: int) -> AsyncIterator[str]:
        perdure.emit("begun", {"n": n})
        for i in range(n):
            await look(i)
            yield f"{i} "

    @app.agent(durability="none")
    async def quick(n: int) -> int:
        return n + 1

    return agents


@pytest.fixture(params=FACES, ids=lambda face: face.__name__)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    agents = _agents()
    async with serving(agents.app, tmp_path) as served, request.param(served.url) as client:
        yield agents, served, client


async def test_a_result_as_its_type(world: Any) -> None:
    _, _, client = world
    assert await client.run("greet", "Ada") == "hello Ada"
    assert await client.run("report", "x", type=Report) == Report(title="x", pages=3)
    assert await client.run("report", "x") == {"title": "x", "pages": 3}
    assert await client.run("raw") == b"\x00\xff"
    with pytest.raises(CodecError):
        await client.run("greet", "Ada", type=Report)


async def test_an_agent_that_is_not_stored(world: Any) -> None:
    _, _, client = world
    assert await client.run("quick", 1) == 2
    with pytest.raises(InvalidInput):
        await client.run("quick", 1, idempotency_key="mine")


async def test_errors_are_those_of_the_tree(world: Any) -> None:
    _, _, client = world
    with pytest.raises(NotFound, match="great") as caught:
        await client.run("great")
    assert caught.value.hint == "Did you mean 'greet'?"
    assert caught.value.detail["status"] == 404
    with pytest.raises(InvalidInput):
        await client.start("greet", 7)
    with pytest.raises(RunFailed, match="TypeError: a bug") as failed:
        await client.run("fail")
    assert failed.value.detail["error"]["type"] == "builtins:TypeError"
    with pytest.raises(RunTimeout):
        await client.run("approval", "A1", deadline=0.05)


async def test_waiting_ends_and_the_run_goes_on(world: Any) -> None:
    _, _, client = world
    run = await client.start("approval", "A1", labels={"order": "A1"})
    with pytest.raises(WaitOver) as caught:
        await client.wait(run, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert await client.signal(run, "approved", {"by": "ada"}) == 1
    done = await client.wait(run.id)
    assert (done.state, done.result(), done.input, done.labels) == (
        RunState.SUCCEEDED, {"by": "ada"}, "A1", {"order": "A1"},
    )  # fmt: skip
    assert done.trace_id == run.trace_id
    with pytest.raises(Conflict):
        await client.signal(run, "approved")


async def test_a_cancelled_run(world: Any) -> None:
    _, _, client = world
    run = await client.start("approval", "A1", delay=60)
    assert (await client.cancel(run, "not today")).state is RunState.CANCELLED
    assert (await client.cancel(run)).state is RunState.CANCELLED
    with pytest.raises(RunCancelled):
        (await client.wait(run)).result()


async def test_dead_letters(world: Any) -> None:
    agents, _, client = world
    runs = [await client.start("flaky") for _ in range(3)]
    assert [(await client.wait(run)).state for run in runs] == [DEAD] * 3
    assert [one.id async for one in client.dead_letters(limit=2)] == [r.id for r in runs[::-1]]
    await client.dismiss(runs[0])
    agents.broken = False
    await client.redrive(runs[1])
    assert (await client.wait(runs[1])).result() == "back"
    assert [one.id async for one in client.dead_letters()] == [runs[2].id]
    with pytest.raises(Conflict):
        await client.dismiss(runs[1])


async def test_listings_are_read_to_their_end(world: Any) -> None:
    _, _, client = world
    labels = {"batch": "7"}
    runs = [await client.start("greet", str(i), labels=labels) for i in range(7)]
    await client.start("greet", "other")
    found = [run async for run in client.runs(agent="greet", labels=labels, limit=3)]
    assert [run.id for run in found] == [run.id for run in runs[::-1]]
    assert found[0].raw.get("input") is None
    traced = [run async for run in client.runs(trace_id=runs[2].trace_id)]
    assert [run.id for run in traced] == [runs[2].id]
    late = client.runs(created_after=(await client.get(runs[5])).created_at, labels=labels)
    assert [run.id async for run in late] == [runs[6].id, runs[5].id]
    with pytest.raises(InvalidInput):
        _ = [run async for run in client.runs(nonsense=1)]


async def test_agents(world: Any) -> None:
    _, _, client = world
    names = [agent.name for agent in await client.agents()]
    assert names == sorted(names)
    assert {"greet", "talk"} <= set(names)


async def test_typed_events(world: Any) -> None:
    _, _, client = world
    events = [event async for event in client.stream("talk", 3)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0], AttemptStarted)
    assert [(e.name, e.value) for e in events if isinstance(e, Emitted)] == [("begun", {"n": 3})]
    done = [(e.name.rpartition(".")[2], e.value, e.state) for e in events if isinstance(e, Effect)]
    assert done == [("look", i * 2, "done") for i in range(3)]
    assert "".join(e.text for e in events if isinstance(e, Delta)) == "0 1 2 "
    assert isinstance(events[-1], Status)
    assert events[-1].final
    (run,) = [run async for run in client.runs(agent="talk")]
    assert events[0].trace_id == run.trace_id
    assert [event async for event in client.events(run, after=4)] == events[4:]
    assert [event async for event in client.events(run, after=len(events))] == []


async def test_a_trace_goes_in(world: Any) -> None:
    _, _, client = world
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    assert (await client.start("greet", "x", traceparent=given)).trace_id == "a" * 32


@pytest.mark.parametrize("face", FACES)
async def test_keys(face: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(_agents().app, tmp_path) as served:
        token = await _key(served)
        async with face(served.url) as stranger:
            with pytest.raises(Unauthorized):
                await stranger.agents()
            with pytest.raises(Unauthorized):
                _ = [e async for e in stranger.events("0" * 32)]
        async with face(served.url, api_key=token) as client:
            assert await client.run("greet", "Ada") == "hello Ada"
        monkeypatch.setenv("PERDURE_URL", served.url)
        monkeypatch.setenv("PERDURE_API_KEY", token)
        async with face() as client:
            run: RunView = await client.start("greet", "Ada")
            assert (await client.wait(run)).result() == "hello Ada"


async def _key(served: Served) -> str:
    token, _ = await create(served.store, "test", SCOPES)
    served.service.access._read_at = float("-inf")
    await asyncio.sleep(0)
    return token
