"""What a parked run waits for (``perdure.store.rows.Wait``), as findings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from perdure.cli.diagnosis.finding import Finding, Step
from perdure.cli.terminal.times import stamp


def of_waits(waits: Iterable[Mapping[str, Any]], run_id: str) -> list[Finding]:
    """One for each wait."""
    waits = list(waits)
    alone = sum(1 for wait in waits if wait.get("key")) < 2
    return [of_wait(wait, run_id, alone=alone) for wait in waits]


def of_wait(wait: Mapping[str, Any], run_id: str, *, alone: bool = True) -> Finding:
    """``alone``: an operator's answer needs no key, since nothing else waits for one."""
    reason = str(wait.get("reason"))
    until = f" until {_local(wait['until'])}" if wait.get("until") else ""
    detail = f": {wait['detail']}" if wait.get("detail") else ""
    effect = "" if alone else f" {wait.get('key')}"
    resolve = f"perdure runs resolve {run_id}{effect}"
    again = f"perdure runs redrive {run_id}"
    if reason == "signal":
        name = str(wait.get("name"))
        payload = shlex.quote(json.dumps("payload"))
        return Finding(
            f"waits for the signal {name!r}{until}",
            (Step(f"perdure signal {run_id} {shlex.quote(name)} {payload}"),),
        )
    if reason == "sleep":
        return Finding(f"sleeps{until}")
    if reason == "run":
        child = str(wait.get("name") or "").removeprefix("run:")
        return Finding("waits for a run that it started", (Step(f"perdure runs show {child}"),))
    if reason == "retry":
        return Finding(f"an attempt failed and is tried again{detail}")
    if reason == "uncertain":
        return Finding(
            f"nobody knows whether this happened{detail}{until}",
            (
                Step(f"{resolve} --result JSON", "if it happened (JSON is what it gave)"),
                Step(f"{resolve} --again", "if it did not, to do it again"),
            ),
        )
    if reason == "diverged":
        return Finding(
            f"the agent's code no longer fits its journal{detail}",
            (
                Step(f"{resolve} --result JSON", "to take JSON as the answer"),
                Step(f"{resolve} --again", "to forget what is recorded and do it again"),
                Step(again, "once the code that fits is deployed again"),
                Step(f"perdure replay {run_id} TARGET", "to see where they part, offline"),
            ),
        )
    if reason == "limit":
        return Finding(
            f"a limit stopped it{detail}",
            (
                Step(again, "once the limit is raised and its workers are restarted"),
                Step(f"perdure runs cancel {run_id}", "to stop it"),
            ),
        )
    return Finding(f"{reason}{until}{detail}")


def _local(text: str) -> str:
    return stamp(datetime.fromisoformat(text))
