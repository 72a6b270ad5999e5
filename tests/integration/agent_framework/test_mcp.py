"""Tools of real MCP servers, over stdio and HTTP: what they say of themselves is a promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from agent_framework import Agent, MCPStdioTool, MCPStreamableHTTPTool, tool

from perdure.app import App
from perdure.testing.simulator import Reply
from tests.integration.agent_framework.conftest import gpt
from tests.integration.agent_framework.test_agents import said
from tests.integration.mcp_shop import PROMISES, Shop, over_http
from tests.integration.stage import Provide, Tally, tool_entries
from tests.running import Ground


@pytest.fixture(params=["stdio", "http"])
async def server(request: Any, tmp_path: Path) -> AsyncIterator[tuple[Shop, Any]]:
    """The shop, and Agent Framework's way to it."""
    async with AsyncExitStack() as stack:
        made: Any
        if request.param == "stdio":
            shop = Shop(tmp_path / "notes")
            made = MCPStdioTool(name="shop", command=shop.command[0], args=shop.command[1:])
        else:
            shop = stack.enter_context(over_http(tmp_path))
            made = MCPStreamableHTTPTool(name="shop", url=shop.url)
        try:
            yield shop, made
        finally:
            await made.close()


async def test_hints_are_promises_and_what_is_done_is_not_repeated(
    ground: Ground, tally: Tally, provide: Provide, server: tuple[Shop, Any]
) -> None:
    shop, made = server

    @tool
    async def last(n: int) -> str:
        """Where the worker is lost."""
        await tally.note("last")
        return "ok"

    provider = provide(
        Reply(tools=[(name, {"item": "cup"}) for name in PROMISES]),
        Reply(tools=[("last", {"n": 1})]),
        "Done.",
    )
    app = App()
    app.add(Agent(client=gpt("chat"), name="keeper", tools=[made, last]))
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("keeper", "Look after the cup.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert said(await ground.result(run)) == "Done."
    assert sorted(shop.done()) == ["burn cup", "reserve cup", "stock cup"]
    promised = {e.name: str(e.promise) for e in await tool_entries(ground, run)}
    assert promised == {**PROMISES, "last": "undeclared"}
    assert provider.counts().answered == 3


async def test_what_is_declared_wins(
    ground: Ground, provide: Provide, server: tuple[Shop, Any]
) -> None:
    _, made = server
    provide(Reply(tools=[("burn", {"item": "cup"})]), "Done.")
    app = App()
    app.add(Agent(client=gpt("chat"), name="keeper", tools=[made]), tools={"burn": "once"})
    await ground.begin(app)
    run = await ground.start("keeper", "Burn it.")
    await ground.result(run)
    (entry,) = await tool_entries(ground, run)
    assert str(entry.promise) == "once"
