"""What the tools of MCP servers say of themselves (rule P2).

Agent Framework keeps a tool's annotations to itself, so the server is asked for them once in each
connection.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from agent_framework import FunctionTool
from agent_framework._mcp import MCPTool

from perdure.core.record import Promise
from perdure.frameworks.promises import hinted

log = logging.getLogger("perdure.frameworks")
_REMOTE_NAME = "_mcp_remote_name"
_hints: WeakKeyDictionary[Any, dict[str, Promise]] = WeakKeyDictionary()


async def hint(tool: FunctionTool) -> Promise:
    """The promise of ``tool`` by its annotations; undeclared where it is no MCP server's."""
    server = _server(tool.func)
    connection = _connection(server)
    if connection is None:
        return Promise.UNDECLARED
    if connection not in _hints:
        try:
            _hints[connection] = await _ask(connection)
        except Exception:  # a connection that broke: the call itself says so
            log.warning(
                "The server of %r does not say what its tools promise.", tool.name, exc_info=True
            )
            return Promise.UNDECLARED
    remote = (tool.additional_properties or {}).get(_REMOTE_NAME, tool.name)
    return _hints[connection].get(remote, Promise.UNDECLARED)


def _connection(server: MCPTool | None) -> Any:
    """What lists tools by page: Agent Framework's own connection, or, before that was made, the
    MCP library's session."""
    if server is None:
        return None
    if hasattr(server, "_require_connection"):
        try:
            return server._require_connection()
        except Exception:  # not connected
            return None
    return getattr(server, "session", None)


async def _ask(connection: Any) -> dict[str, Promise]:
    from mcp.types import PaginatedRequestParams

    found: dict[str, Promise] = {}
    params: PaginatedRequestParams | None = None
    while True:
        if hasattr(connection, "list_tools_page"):
            page = await connection.list_tools_page(params)
        else:
            page = await connection.list_tools(params=params)
        found |= {tool.name: hinted(tool.annotations) for tool in page.tools}
        name = "next_cursor" if hasattr(page, "next_cursor") else "nextCursor"  # before version 2
        cursor = getattr(page, name, None)
        if cursor is None:
            return found
        params = PaginatedRequestParams(cursor=cursor)


def _server(function: Any) -> MCPTool | None:
    """The server behind a function that Agent Framework made for one of its tools."""
    if isinstance(function, partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    if isinstance(owner, MCPTool):
        return owner
    for cell in getattr(function, "__closure__", None) or ():
        try:
            if isinstance(cell.cell_contents, MCPTool):
                return cell.cell_contents
        except ValueError:  # not yet filled
            continue
    return None
