"""What a parked run waits for, and what someone can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def explain(wait: Mapping[str, Any], run_id: str) -> list[str]:
    """A line that says what it waits for, then commands that end the wait."""
    reason = wait.get("reason")
    until = f" until {wait['until']}" if wait.get("until") else ""
    detail = f": {wait['detail']}" if wait.get("detail") else ""
    key = wait.get("key") or "KEY"
    if reason == "signal":
        name = wait.get("name")
        return [
            f"waits for the signal {name!r}{until}",
            f"perdure signal {run_id} {name} '\"payload\"'",
        ]
    if reason == "sleep":
        return [f"sleeps{until}"]
    if reason == "run":
        child = str(wait.get("name") or "").removeprefix("run:")
        return [f"waits for the run it started: {child}", f"perdure runs show {child}"]
    if reason == "retry":
        return [f"an attempt failed; it is tried again{detail}"]
    if reason == "uncertain":
        return [
            f"nobody knows whether this happened{detail}",
            f"perdure runs resolve {run_id} {key} --result JSON   (it happened)",
            f"perdure runs resolve {run_id} {key} --again         (it did not: do it again)",
        ]
    if reason == "diverged":
        return [
            f"the agent's code no longer fits its journal{detail}",
            f"perdure runs resolve {run_id} {key} --result JSON   (take this as its answer)",
            f"perdure runs resolve {run_id} {key} --again         (forget it: do it again)",
        ]
    if reason == "limit":
        return [f"a limit stopped it{detail}", f"perdure runs cancel {run_id}"]
    return [f"{reason}{until}{detail}"]
