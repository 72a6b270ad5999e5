"""What the agents under fire do to the world: every tool notes in a file when its body begins and
ends, so that the harness can count what really ran, whatever Perdure believes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from perdure import NotDone
from perdure.core import crash

LOOKED = ("tides", "winds", "stars")


def note(tool: str, about: str, phase: str) -> None:
    """One line, appended in one write: it is there whole, or not, whenever we are killed."""
    line = json.dumps({"tool": tool, "about": about, "phase": phase, "pid": os.getpid()}) + "\n"
    handle = os.open(os.environ["TOOL_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def charged(key: str) -> bool:
    """Whether the payment is in the books: what a payment service could be asked."""
    path = Path(os.environ["TOOL_LOG"])
    lines = path.read_text().splitlines() if path.exists() else []
    wanted = {"tool": "charge", "about": key, "phase": "end"}
    return any(wanted.items() <= json.loads(line).items() for line in lines)


def charge(key: str) -> str:
    """Take the payment: once, or not at all."""
    note("charge", key, "begin")
    note("charge", key, "end")
    crash.reach(crash.Point.INSIDE_ONCE)  # after it happened, before anyone knows
    return f"charged {key}"


def reconcile(key: str) -> str:
    """Ask the books."""
    if charged(key):
        return f"charged {key}"
    raise NotDone(f"{key} was not charged")
