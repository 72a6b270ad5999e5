"""Tools of real MCP servers, over stdio and HTTP: what they say of themselves is a promise, and
servers that nobody connected are connected while a run needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, function_tool
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp

from perdure.app import App
from perdure.frameworks.openai_agents import servers
from perdure.testing.simulator import Reply
from tests.integration.mcp_shop import PROMISES, Shop, over_http
from tests.integration.openai_agents.conftest import SOON, Provide, Tally
from tests.integration.stage import tool_entries
from tests.running import Ground


@pytest.fixture(params=["stdio", "http"])
def server(request: Any, tmp_path: Path) -> Iterator[tuple[Shop, Any]]:
    """The shop, and the SDK's way to it, not connected."""
    with ExitStack() as stack:
        if request.param == "stdio":
            shop = Shop(tmp_path / "notes")
            command, *args = shop.command
            yield shop, MCPServerStdio({"command": command, "args": args})
        else:
            shop = stack.enter_context(over_http(tmp_path))
            yield shop, MCPServerStreamableHttp({"url": shop.url})


async def test_hints_are_promises_and_what_is_done_is_not_repeated(
    ground: Ground, tally: Tally, provide: Provide, server: tuple[Shop, Any]
) -> None:
    shop, made = server

    @function_tool
    async def last() -> str:
        """Where the worker is lost."""
        await tally.note("last")
        return "ok"

    provider = provide(
        Reply(tools=[(name, {"item": "cup"}) for name in PROMISES]),
        Reply(tools=[("last", {})]),
        "Done.",
    )
    app = App()
    app.add(Agent(name="keeper", mcp_servers=[made], tools=[last], model="gpt-5"))
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("keeper", "Look after the cup.")
    await ground.recorded(run, "burn")  # the server takes its time to start
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert sorted(shop.done()) == ["burn cup", "reserve cup", "stock cup"]
    promised = {e.name: str(e.promise) for e in await tool_entries(ground, run)}
    assert promised == {**PROMISES, "last": "undeclared"}
    assert not provider.counts().repeated
    assert made.session is not None, "the next run may need it"


async def test_a_server_that_no_run_needs_is_closed_and_connected_again(
    ground: Ground, provide: Provide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "LINGER_SECONDS", 0)
    shop = Shop(tmp_path / "notes")
    command, *args = shop.command
    made = MCPServerStdio({"command": command, "args": args})
    provide(Reply(tools=[("stock", {"item": "cup"})]), "Done.")
    app = App()
    app.add(Agent(name="keeper", mcp_servers=[made], model="gpt-5"))
    await ground.begin(app)
    for _ in range(2):
        run = await ground.start("keeper", "go")
        assert await ground.result(run) == "Done."
        await asyncio.wait({servers._open[made].task}, timeout=10)
        assert made.session is None
    assert shop.done() == ["stock cup"] * 2


async def test_runs_at_once_share_a_connection_and_a_declared_promise_wins(
    ground: Ground, tally: Tally, provide: Provide, tmp_path: Path
) -> None:
    shop = Shop(tmp_path / "notes")
    command, *args = shop.command
    made = MCPServerStdio({"command": command, "args": args})
    connects: list[int] = []
    connect = made.connect

    async def counted() -> None:
        connects.append(1)
        await connect()  # type: ignore[no-untyped-call]

    made.connect = counted  # type: ignore[method-assign]

    @function_tool
    async def meet() -> str:
        """Holds the run open."""
        await tally.note("meet")
        return "ok"

    provide(Reply(tools=[("burn", {"item": "cup"}), ("meet", {})]), "Done.")
    boss = Agent(name="boss", handoffs=[Agent(name="keeper", mcp_servers=[made])])
    boss.tools.append(meet)
    boss.mcp_servers.append(made)
    boss.model = "gpt-5"
    app = App()
    app.add(boss, tools={"burn": "idempotent"})
    tally.hold("meet")
    await ground.begin(app)
    runs = [await ground.start("boss", "go"), await ground.start("boss", "go again")]
    await tally.reached("meet")
    for run in runs:
        await ground.recorded(run, "burn")
    tally.release("meet")
    for run in runs:
        assert await ground.result(run) == "Done."
        (burnt,) = [e for e in await tool_entries(ground, run) if e.name == "burn"]
        assert burnt.promise == "idempotent"
    assert connects == [1]


async def test_a_server_that_its_owner_connected_is_left_alone(
    ground: Ground, provide: Provide, tmp_path: Path
) -> None:
    shop = Shop(tmp_path / "notes")
    command, *args = shop.command
    provide(Reply(tools=[("stock", {"item": "cup"})]), "Done.")
    async with MCPServerStdio({"command": command, "args": args}) as made:
        app = App()
        app.add(Agent(name="keeper", mcp_servers=[made], model="gpt-5"))
        await ground.begin(app)
        run = await ground.start("keeper", "go")
        assert await ground.result(run) == "Done."
        assert made.session is not None
        assert [tool.name for tool in await made.list_tools()] == list(PROMISES)


async def test_a_server_that_cannot_be_reached_fails_the_attempt(
    ground: Ground, provide: Provide
) -> None:
    provide("never")
    app = App()
    made = MCPServerStreamableHttp({"url": "http://127.0.0.1:9/mcp"})
    app.add(Agent(name="keeper", mcp_servers=[made]), retry=SOON)
    await ground.begin(app)
    run = await ground.start("keeper", "go", attempts=2)
    final = await ground.until(run)
    assert final.state == "dead"
