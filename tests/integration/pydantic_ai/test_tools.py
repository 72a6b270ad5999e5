"""What a call of a tool is as an effect: its promise, its outcome, what its body did to the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryContent,
    FunctionToolset,
    ImageUrl,
    ModelRetry,
    RunContext,
    ToolReturn,
)
from pydantic_ai.toolsets import (
    AbstractToolset,
    CombinedToolset,
    FilteredToolset,
    PrefixedToolset,
    ToolsetTool,
    WrapperToolset,
)

import perdure
from perdure import once
from perdure.app import App
from perdure.errors import ConfigError
from perdure.testing.simulator import Call, Reply
from tests.integration.pydantic_ai.conftest import CLAUDE, noting
from tests.integration.stage import Provide, Tally, tool_entries
from tests.running import Ground


def toolset(tally: Tally, *names: str) -> FunctionToolset[Any]:
    made: FunctionToolset[Any] = FunctionToolset()

    def one(name: str) -> Callable[..., Any]:
        async def tool(x: int) -> str:
            """Does something."""
            await tally.note(name)
            return f"{name} {x}"

        return tool

    for name in names:
        made.add_function(one(name), name=name)
    return made


class Audited(WrapperToolset[Any]):
    """A user's own wrapper: what it does belongs to the call."""

    audit: ClassVar[list[str]] = []

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        self.audit.append(name)
        return await super().call_tool(name, tool_args, ctx, tool)


async def test_toolsets_of_all_kinds(ground: Ground, provide: Provide, tally: Tally) -> None:
    Audited.audit.clear()
    made = []

    def dynamic(ctx: RunContext[Any]) -> AbstractToolset[Any]:
        made.append(ctx.run_step)
        return toolset(tally, "now")

    combined: AbstractToolset[Any] = CombinedToolset(
        [
            PrefixedToolset(toolset(tally, "find"), "web"),
            toolset(tally, "old").renamed({"new": "old"}),
            FilteredToolset(toolset(tally, "kept", "hidden"), lambda ctx, d: d.name != "hidden"),
        ]
    )
    names = ["web_find", "new", "kept", "now", "last"]
    sim = provide(
        Reply(tools=[(name, {"x": 1}) for name in names[:4]]),
        Reply(tools=[("last", {"x": 1})]),
        "Done.",
    )
    agent = Agent(CLAUDE, name="a", toolsets=[Audited(combined), toolset(tally, "last"), dynamic])
    app = App()
    app.add(agent)
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert sorted(tally.done) == ["find", "kept", "last", "last", "now", "old"]
    assert sorted(Audited.audit) == ["kept", "new", "web_find"]
    assert {e.name for e in await tool_entries(ground, run)} == set(names)
    assert made  # again in each attempt
    assert not sim.counts().repeated


async def test_a_promise_for_a_tool_that_is_not_there(provide: Provide, tally: Tally) -> None:
    agent = Agent(
        CLAUDE,
        name="a",
        toolsets=[
            PrefixedToolset(toolset(tally, "find"), "web"),
            toolset(tally, "old").renamed({"new": "old"}),
        ],
    )
    App().add(agent, tools={"web_find": "reads", "new": "once"})
    with pytest.raises(ConfigError, match="no tool 'find'"):
        App().add(agent, tools={"find": "reads"})

    @agent.toolset
    def dynamic(ctx: RunContext[Any]) -> AbstractToolset[Any]:
        return toolset(tally, "later")

    App().add(agent, tools={"later": "once"})


async def test_once_is_reconciled_by_what_the_model_asked_for(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    asked: list[dict[str, Any]] = []

    async def reconcile(**arguments: Any) -> str:
        asked.append(arguments)
        return "paid before"

    seen: list[Call] = []
    provide(noting(seen, Reply(tools=[("pay", {"x": 5})]), "Paid."))
    app = App()
    app.add(
        Agent(CLAUDE, name="a", toolsets=[toolset(tally, "pay")]),
        tools={"pay": once(reconcile=reconcile, timeout=timedelta(seconds=0.05))},
    )
    tally.hold("pay")
    await ground.begin(app)
    run = await ground.start("a", "Pay.")
    await tally.reached("pay")
    await ground.stop()
    tally.release("pay")
    ground.store.shift_clock(timedelta(seconds=10))
    await ground.begin(app)
    assert await ground.result(run) == "Paid."
    assert asked == [{"x": 5}]
    assert tally.done == ["pay"]
    assert "paid before" in str(seen[-1].results)


@pytest.mark.parametrize("promise", ["undeclared", "once"])
async def test_a_retry_is_an_answer_and_is_recorded(
    ground: Ground, provide: Provide, tally: Tally, promise: str
) -> None:
    agent = Agent(CLAUDE, name="a")

    @agent.tool_plain
    async def find(name: str) -> str:
        """Finds a customer."""
        await tally.note(f"find {name}")
        if name == "Bob":
            raise ModelRetry("There are two Bobs: say which.")
        return "found"

    @agent.tool_plain
    async def last() -> str:
        """Where the worker is lost."""
        await tally.note("last")
        return "ok"

    seen: list[Call] = []
    sim = provide(
        noting(
            seen,
            Reply(tools=[("find", {"name": "Bob"}), ("last", {})]),
            Reply(tools=[("find", {"name": "Bob Doe"})]),
            "Done.",
        )
    )
    app = App()
    app.add(agent, tools={"find": once()} if promise == "once" else {})
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    await tally.reached("last")
    await ground.recorded(run, "find")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert sorted(tally.done) == ["find Bob", "find Bob Doe", "last", "last"]
    assert "There are two Bobs" in str(seen[1].results)
    assert "There are two Bobs" in str(seen[2].messages)
    assert not sim.counts().repeated


async def test_retries_that_are_used_up_fail_the_run(ground: Ground, provide: Provide) -> None:
    agent = Agent(CLAUDE, name="a")

    @agent.tool_plain(retries=1)
    async def never() -> str:
        """Never content."""
        raise ModelRetry("Not like this.")

    sim = provide(Reply(tools=[("never", {})]), Reply(tools=[("never", {})]), "Done.")
    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.until(await ground.start("a", "Go."))
    assert run.state == "failed"
    assert "UnexpectedModelBehavior" in str(run.error)
    assert sim.counts().answered == 2


@pytest.mark.parametrize("sync", [False, True])
async def test_a_once_tool_that_took_too_long_is_uncertain(
    ground: Ground, provide: Provide, tally: Tally, sync: bool
) -> None:
    agent = Agent(CLAUDE, name="a")
    if sync:

        @agent.tool_plain(timeout=0.1)
        def pay() -> str:
            """Takes long, and cannot be stopped."""
            tally.note_sync("pay")
            return "paid"
    else:

        @agent.tool_plain(name="pay", timeout=0.1)
        async def pay_later() -> str:
            """Takes long."""
            await tally.note("pay")
            return "paid"

    provide(Reply(tools=[("pay", {})]), "Done.")
    app = App()
    app.add(agent, tools={"pay": once()})
    tally.hold("pay")
    await ground.begin(app)
    started = await ground.start("a", "Pay.")
    await tally.reached("pay")
    if sync:  # its lease is given back when the thread has ended, long after its time was up
        asyncio.get_running_loop().call_later(0.5, tally.release, "pay")
    run = await ground.until(started, "waiting")
    assert run.state == "waiting"
    assert [wait["reason"] for wait in run.waits] == ["uncertain"]
    assert tally.count("pay") == 1


class Customer(BaseModel):
    name: str
    since: datetime


@dataclass
class Point:
    x: int
    at: datetime


NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RESULTS: dict[str, tuple[Any, Any]] = {
    "model": (Customer, Customer(name="Bob", since=NOON)),
    "models": (list[Customer], [Customer(name="Bob", since=NOON)]),
    "dataclass": (Point, Point(1, NOON)),
    "unannotated": (Any, {"when": NOON}),
    "image": (BinaryContent, BinaryContent(b"\x89PNG", media_type="image/png")),
    "mixed": (Any, ["a photo", ImageUrl(url="https://example.com/a.png")]),
    "return": (
        ToolReturn,
        ToolReturn("ok", content=["look", BinaryContent(b"x", media_type="image/png")]),
    ),
    "metadata": (ToolReturn, ToolReturn({"a": 1}, metadata={"rows": 3})),
    "nothing": (None, None),
}


@pytest.mark.parametrize("kind", RESULTS)
async def test_results_are_the_same_when_they_come_back(
    ground: Ground, provide: Provide, tally: Tally, kind: str
) -> None:
    annotation, value = RESULTS[kind]

    async def give() -> Any:
        """Gives it."""
        tally.done.append("give")
        return value

    give.__annotations__["return"] = annotation
    agent = Agent(CLAUDE, name="a", tools=[give], toolsets=[toolset(tally, "last")])
    sim = provide(Reply(tools=[("give", {})]), Reply(tools=[("last", {"x": 1})]), "Done.")
    app = App()
    app.add(agent)
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert tally.done == ["give", "last", "last"]
    assert await ground.warnings(run) == ["rerun"]  # no request differed from what was recorded
    assert not sim.counts().repeated


async def test_what_cannot_be_written_down_fails_the_run_with_a_hint(
    ground: Ground, provide: Provide
) -> None:
    agent = Agent(CLAUDE, name="a")

    @agent.tool_plain
    async def give() -> Any:
        """Gives what is no value."""
        return object()

    provide(Reply(tools=[("give", {})]), "Done.")
    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.until(await ground.start("a", "Go.", attempts=1))
    assert run.state in ("failed", "dead")
    assert "cannot be written down" in str(run.error)


async def test_what_a_tool_enqueued_is_said_once(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    agent = Agent(CLAUDE, name="a", toolsets=[toolset(tally, "last")])

    @agent.tool
    async def nudge(ctx: RunContext[object]) -> str:
        """Says more to the model."""
        tally.done.append("nudge")
        ctx.enqueue("And hurry up.")
        return "nudged"

    seen: list[Call] = []
    provide(noting(seen, Reply(tools=[("nudge", {}), ("last", {"x": 1})]), "Done."))
    app = App()
    app.add(agent)
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    await tally.reached("last")
    await ground.recorded(run, "nudge")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert tally.done.count("nudge") == 1
    assert str(seen[-1].messages).count("And hurry up.") == 1


async def test_perdures_own_tools_are_one_effect(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @perdure.tool(effect="reads")
    async def look(x: int) -> int:
        """Looks."""
        await tally.note("look")
        return x

    @perdure.tool(effect="reads", name="look_sync")
    def look_sync(x: int) -> int:
        """Looks."""
        tally.note_sync("look_sync")
        return x

    provide(Reply(tools=[("look", {"x": 1}), ("look_sync", {"x": 1})]), "Done.")
    app = App()
    app.add(Agent(CLAUDE, name="a", tools=[look, look_sync]))
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    assert await ground.result(run) == "Done."
    entries = await tool_entries(ground, run)
    assert sorted(e.name.rpartition(".")[2] for e in entries) == ["look", "look_sync"]
    assert {str(e.promise) for e in entries} == {"reads"}


async def test_a_failed_tool_is_tried_again_by_the_next_attempt(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    agent = Agent(CLAUDE, name="a")

    @agent.tool_plain
    async def flaky() -> str:
        """Fails at first."""
        tally.done.append("flaky")
        if len(tally.done) == 1:
            raise ConnectionError("not now")
        return "ok"

    sim = provide(Reply(tools=[("flaky", {})]), "Done.")
    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.start("a", "Go.")
    assert await ground.result(run) == "Done."
    assert tally.done == ["flaky", "flaky"]
    assert sim.counts().answered == 2
