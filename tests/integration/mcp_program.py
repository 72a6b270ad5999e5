"""A real MCP server, over stdio or HTTP, that notes in a file what its tools really did.

python mcp_program.py NOTES            # stdio
python mcp_program.py NOTES PORT       # streamable HTTP on 127.0.0.1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mcp.types import ToolAnnotations

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # mcp 1, which older frameworks need
    from mcp.server.fastmcp import FastMCP as MCPServer  # type: ignore[no-redef]

notes = Path(sys.argv[1])
server: Any = MCPServer("shop")


def _note(what: str) -> None:
    with notes.open("a") as file:
        file.write(what + "\n")


@server.tool(annotations=ToolAnnotations.model_validate({"readOnlyHint": True}))
def stock(item: str) -> str:
    """How many there are."""
    _note(f"stock {item}")
    return f"7 {item}"


@server.tool(annotations=ToolAnnotations.model_validate({"idempotentHint": True}))
def reserve(item: str) -> str:
    """Set one aside."""
    _note(f"reserve {item}")
    return f"reserved {item}"


@server.tool(annotations=ToolAnnotations.model_validate({"destructiveHint": True}))
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
