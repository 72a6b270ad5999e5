"""A real MCP server, over stdio or HTTP, that notes in a file what its tools really did.

python mcp_program.py NOTES            # stdio
python mcp_program.py NOTES PORT       # streamable HTTP on 127.0.0.1
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from mcp.types import ToolAnnotations

# The server's class has another name in mcp 1, which older frameworks need.
try:
    Server = import_module("mcp.server.mcpserver").MCPServer
except ImportError:
    Server = import_module("mcp.server.fastmcp").FastMCP

notes = Path(sys.argv[1])
server: Any = Server("shop")


def _tool(**hints: bool) -> Callable[[Callable[[str], str]], Any]:
    made: Callable[[Callable[[str], str]], Any] = server.tool(
        annotations=ToolAnnotations.model_validate(hints)
    )
    return made


def _note(what: str) -> None:
    with notes.open("a") as file:
        file.write(what + "\n")


@_tool(readOnlyHint=True)
def stock(item: str) -> str:
    """How many there are."""
    _note(f"stock {item}")
    return f"7 {item}"


@_tool(idempotentHint=True)
def reserve(item: str) -> str:
    """Set one aside."""
    _note(f"reserve {item}")
    return f"reserved {item}"


@_tool(destructiveHint=True)
def burn(item: str) -> str:
    """Get rid of it."""
    _note(f"burn {item}")
    return f"burnt {item}"


if __name__ == "__main__":
    if len(sys.argv) > 2 and hasattr(server.settings, "port"):  # mcp 1
        server.settings.port = int(sys.argv[2])
        server.run("streamable-http")
    elif len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
