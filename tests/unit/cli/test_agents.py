"""Loading the agents of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AGENT = """
import httpx2

client = httpx2.AsyncClient()

async def agent() -> str:
    return "hello"
"""
LOOK = """
from perdure import gateway
from perdure.cli.agents import load_agents
from perdure.config import load
from perdure.gateway import httpx2_transport

agents = load_agents(["agent.py:agent"], load(None, environ={}))
client = agents["agent"].target.__globals__["client"]
print(client._transport in httpx2_transport.patch.pools._made)
"""


def test_clients_made_at_import_share_connections(tmp_path: Path) -> None:
    """T4: an SDK's client at module level is there before any worker starts."""
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "True", ran.stderr
