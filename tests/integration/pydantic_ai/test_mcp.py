"""Tools of real MCP servers, over stdio and HTTP: what they say of themselves is a promise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset

from perdure.app import App
from perdure.core.record import Kind
from perdure.testing.simulator import Reply
from tests.integration.mcp_shop import PROMISES, Shop, over_http
from tests.integration.pydantic_ai.conftest import CLAUDE
from tests.integration.stage import Provide, Tally, answer, tool_entries
from tests.running import Ground


@pytest.fixture(params=["stdio", "http"])
def server(request: Any, tmp_path: Path) -> Iterator[tuple[Shop, MCPToolset[Any]]]:
    """The shop, and Pydantic AI's way to it."""
    with ExitStack() as stack:
        if request.param == "stdio":
            shop = Shop(tmp_path / "notes")
            command, *arguments = shop.command
            yield shop, MCPToolset(StdioTransport(command, arguments))
        else:
            shop = stack.enter_context(over_http(tmp_path))
            yield shop, MCPToolset(shop.url)


async def test_hints_are_promises_and_what_is_done_is_not_repeated(
    ground: Ground, tally: Tally, provide: Provide, server: tuple[Shop, MCPToolset[Any]]
) -> None:
    shop, made = server

    async def last(n: int) -> str:
        """Where the worker is lost."""
        await tally.note("last")
        return "ok"

    provider = provide(
        Reply(tools=[(f"shop_{name}", {"item": "cup"}) for name in PROMISES]),
        Reply(tools=[("last", {"n": 1})]),
        "Done.",
    )
    app = App()
    app.add(Agent(CLAUDE, name="keeper", toolsets=[made.prefixed("shop")], tools=[last]))
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("keeper", "Look after the cup.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert sorted(shop.done()) == ["burn cup", "reserve cup", "stock cup"]
    promised = {
        e.name.removeprefix("shop_"): str(e.promise) for e in await tool_entries(ground, run)
    }
    assert promised == {**PROMISES, "last": "undeclared"}
    assert provider.counts().answered == 3
    models = [e for e in await ground.store.journal(run) if e.kind == Kind.MODEL]
    assert len(models) == 3  # what goes to the MCP server is none


async def test_a_park_with_a_server_open(
    ground: Ground, provide: Provide, server: tuple[Shop, MCPToolset[Any]]
) -> None:
    shop, made = server
    provide(Reply(tools=[("stock", {"item": "cup"}), ("burn", {"item": "cup"})]), "Done.")
    guarded = made.approval_required(lambda ctx, tool, args: tool.name == "burn")
    app = App()
    app.add(Agent(CLAUDE, name="keeper", toolsets=[guarded]), tools={"burn": "once"})
    await ground.begin(app)
    run = await ground.start("keeper", "Burn it.")
    await ground.until(run, "waiting")
    await ground.stop()
    assert shop.done() == ["stock cup"]
    await answer(ground, run, True)
    await ground.begin(app)
    assert await ground.result(run) == "Done."
    assert shop.done() == ["stock cup", "burn cup"]
    done = {e.name: str(e.promise) for e in await tool_entries(ground, run)}
    assert done == {"stock": "reads", "burn": "once"}
    assert await ground.warnings(run) == []


async def test_runs_share_a_server(
    ground: Ground, provide: Provide, tally: Tally, server: tuple[Shop, MCPToolset[Any]]
) -> None:
    shop, made = server

    def brain(call: Any) -> Reply:
        return Reply("Done.") if call.turn else Reply(tools=[("stock", {"item": call.prompt})])

    provide(brain)
    app = App()
    app.add(Agent(CLAUDE, name="keeper", toolsets=[made]))
    await ground.begin(app)
    runs = [await ground.start("keeper", f"cup{i}") for i in range(5)]
    for run in runs:
        assert await ground.result(run) == "Done."
    assert sorted(shop.done()) == [f"stock cup{i}" for i in range(5)]
