"""MCP servers of agents that are served: connected while a run needs them.

The SDK's documentation connects a server around the run (``async with MCPServerStdio(...)``); an agent
object that is handed over has nobody to do that. Servers that are not connected yet are connected
when the first run that can reach them begins, and closed when the last one has ended. A server that
its owner connected is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

from agents import Agent


class _Connection:
    """One server, open for ``users`` runs. Its own task opens and closes it, as anyio's scopes
    demand, in an empty context: its requests belong to no run."""

    def __init__(self, server: Any) -> None:
        self.users = 0
        self._server = server
        self._done = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.get_running_loop().create_task(self._hold(), context=Context())

    async def ready(self) -> None:
        await asyncio.shield(self._ready)

    def end(self) -> None:
        self._done.set()

    async def _hold(self) -> None:
        try:
            await self._server.connect()
        except BaseException as error:
            self._ready.set_exception(error)
            self._ready.exception()  # whoever waited has turned away, perhaps
            return
        self._ready.set_result(None)
        try:
            await self._done.wait()
        finally:
            await self._server.cleanup()


_open: WeakKeyDictionary[Any, _Connection] = WeakKeyDictionary()


@asynccontextmanager
async def connected(agent: Agent[Any]) -> AsyncIterator[None]:
    """While inside, the MCP servers of ``agent`` and of every agent it leads to are connected.
    Raises what connecting raises."""
    held: list[_Connection] = []
    try:
        for server in servers(agent):
            if (found := await _connection(server)) is not None:
                held.append(found)
                await found.ready()
        yield
    except asyncio.CancelledError:
        _release(held)  # closed in the background: a run that is unwound waits for nothing
        raise
    except BaseException:
        await _ended(_release(held))
        raise
    else:
        await _ended(_release(held))


async def _connection(server: Any) -> _Connection | None:
    while (found := _open.get(server)) is not None and not found.users:
        await asyncio.wait({found.task})  # it is being closed
        if _open.get(server) is found:
            del _open[server]
    if found is None:
        if getattr(server, "session", None) is not None:
            return None
        found = _open[server] = _Connection(server)
    found.users += 1
    return found


def _release(held: list[_Connection]) -> list[_Connection]:
    for connection in held:
        connection.users -= 1
        if not connection.users:
            connection.end()
    return [connection for connection in held if not connection.users]


async def _ended(closing: list[_Connection]) -> None:
    if closing:
        await asyncio.wait({connection.task for connection in closing})


def servers(agent: Agent[Any]) -> list[Any]:
    """The MCP servers of ``agent`` and of the agents it leads to, each once."""
    found: dict[int, Any] = {}
    for each in reachable(agent):
        found.update({id(server): server for server in each.mcp_servers})
    return list(found.values())


def reachable(agent: Agent[Any]) -> Iterator[Agent[Any]]:
    """``agent``, and the agents that it can hand over to or run as tools."""
    seen: set[int] = set()
    waiting: list[Any] = [agent]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, Agent) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        for handoff in each.handoffs:
            reference = getattr(handoff, "_agent_ref", None)
            waiting.append(reference() if reference is not None else handoff)
        waiting += [getattr(tool, "_agent_instance", None) for tool in each.tools]
