"""MCP servers of agents that are served: connected while runs need them.

The SDK's documentation connects a server around the run (``async with MCPServerStdio(...)``); an
agent object that is handed over has nobody to do that. Servers that are not connected yet are
connected when the first run that can reach them begins, and closed when none has needed them for a
while. A server that its owner connected is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

from agents import Agent

LINGER_SECONDS = 30.0  # a server stays open this long for the next run


class _Connection:
    """One server, open for ``users`` runs. Its own task opens and closes it, as anyio's scopes
    demand, in an empty context: its requests belong to no run."""

    def __init__(self, server: Any) -> None:
        self.users = 0
        self.loop = asyncio.get_running_loop()
        self._server = server
        self._done = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._ready: asyncio.Future[None] = self.loop.create_future()
        self.task = self.loop.create_task(self._hold(), context=Context())

    @property
    def ending(self) -> bool:
        return self._done.is_set() or self.task.done()

    async def take(self) -> None:
        """One more run. Raises what connecting raised."""
        self.users += 1
        if self._idle is not None:
            self._idle.cancel()
        try:
            await asyncio.shield(self._ready)
        except BaseException:
            self.give_back(broken=True)
            raise

    def give_back(self, *, broken: bool = False) -> None:
        """One run less. ``broken``: it failed, perhaps because of the connection."""
        self.users -= 1
        if not self.users:
            self._idle = self.loop.call_later(0 if broken else LINGER_SECONDS, self._done.set)

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
    broken = True
    try:
        for server in servers(agent):
            if (found := await _connection(server)) is not None:
                await found.take()
                held.append(found)
        yield
        broken = False
    except asyncio.CancelledError:
        broken = False
        raise
    finally:
        for connection in held:
            connection.give_back(broken=broken)


async def _connection(server: Any) -> _Connection | None:
    """The connection to take; None where the server's owner has connected it."""
    while (found := _open.get(server)) is not None and found.ending:
        if not found.task.done():
            await asyncio.wait({found.task})
        if _open.get(server) is found:
            del _open[server]
    if found is None:
        if getattr(server, "session", None) is not None:
            return None
        found = _open[server] = _Connection(server)
    return found


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
