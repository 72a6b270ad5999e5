"""Tools of real MCP servers, over stdio and HTTP: what they say of themselves is a promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.tools.mcp_tool import (
    McpToolset,
    StdioConnectionParams,
    StreamableHTTPConnectionParams,
)
from mcp import StdioServerParameters

from perdure.app import App
from perdure.testing.simulator import Reply
from tests.integration.google_adk.conftest import GEMINI
from tests.integration.mcp_shop import PROMISES, Shop, over_http
from tests.integration.stage import Provide, Tally, tool_entries
from tests.running import Ground

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(params=["stdio", "http"])
async def server(request: Any, tmp_path: Path) -> AsyncIterator[tuple[Shop, Any]]:
    """The shop, and ADK's way to it."""
    async with AsyncExitStack() as stack:
        params: Any
        if request.param == "stdio":
            shop = Shop(tmp_path / "notes")
            params = StdioConnectionParams(
                server_params=StdioServerParameters(command=shop.command[0], args=shop.command[1:]),
                timeout=30,
            )
        else:
            shop = stack.enter_context(over_http(tmp_path))
            params = StreamableHTTPConnectionParams(url=shop.url)
        made = McpToolset(connection_params=params)
        try:
            yield shop, made
        finally:
            await made.close()


async def test_hints_are_promises_and_what_is_done_is_not_repeated(
    ground: Ground, tally: Tally, provide: Provide, server: tuple[Shop, Any]
) -> None:
    shop, made = server

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
    app.add(LlmAgent(model=GEMINI, name="keeper", tools=[made, last]))
    tally.hold("last")
    await ground.begin(app)
    run = await ground.start("keeper", "Look after the cup.")
    await tally.reached("last")
    await ground.stop()
    tally.release("last")
    await ground.begin(app)
    assert (await ground.result(run))["output"] == "Done."
    assert sorted(shop.done()) == ["burn cup", "reserve cup", "stock cup"]
    promised = {e.name: str(e.promise) for e in await tool_entries(ground, run)}
    assert promised == {**PROMISES, "last": "undeclared"}
    assert provider.counts().answered == 3
