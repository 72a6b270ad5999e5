"""What a parked run waits for, and what someone can do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from perdure.cli.terminal.times import stamp


def explain(wait: Mapping[str, Any], run_id: str, *, alone: bool = True) -> list[str]:
    """A line that says what it waits for, then what ends the wait; commands are indented.
    ``alone``: an operator's answer needs no key, since nothing else waits for one."""
    reason = wait.get("reason")
    until = f" until {_local(wait['until'])}" if wait.get("until") else ""
    detail = f": {wait['detail']}" if wait.get("detail") else ""
    effect = "" if alone else f" {wait.get('key')}"
    resolve = f"  perdure runs resolve {run_id}{effect}"
    if reason == "signal":
        name = wait.get("name")
        return [
            f"waits for the signal {name!r}{until}",
            f"  perdure signal {run_id} {name} '\"payload\"'",
        ]
    if reason == "sleep":
        return [f"sleeps{until}"]
    if reason == "run":
        child = str(wait.get("name") or "").removeprefix("run:")
        return ["waits for a run that it started", f"  perdure runs show {child}"]
    if reason == "retry":
        return [f"an attempt failed and is tried again{detail}"]
    if reason == "uncertain":
        return [
            f"nobody knows whether this happened{detail}",
            "if it happened (JSON is what it gave):",
            f"{resolve} --result JSON",
            "if it did not, to do it again:",
            f"{resolve} --again",
        ]
    if reason == "diverged":
        return [
            f"the agent's code no longer fits its journal{detail}",
            "to take JSON as the answer:",
            f"{resolve} --result JSON",
            "to forget what is recorded and do it again:",
            f"{resolve} --again",
        ]
    if reason == "limit":
        return [f"a limit stopped it{detail}", f"  perdure runs cancel {run_id}"]
    return [f"{reason}{until}{detail}"]


def explain_all(waits: Iterable[Mapping[str, Any]], run_id: str) -> Iterator[tuple[bool, str]]:
    """(is it the first line of a wait, line) for all of them."""
    waits = list(waits)
    alone = sum(1 for wait in waits if wait.get("key")) < 2
    for wait in waits:
        for i, line in enumerate(explain(wait, run_id, alone=alone)):
            yield i == 0, line


def _local(text: str) -> str:
    return stamp(datetime.fromisoformat(text))
