"""How a run ended, for the command line: its result on stdout, or the error that ends the
command with the exit code of its kind."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import orjson

from perdure.cli.terminal import output
from perdure.codec import BLOB, RAW
from perdure.core.run import RunState
from perdure.errors import RunCancelled, RunDead, RunError, RunFailed, tree
from perdure.server.run_view import member, summary
from perdure.store.blobs import Blobs
from perdure.store.rows import Run

_BY_STATE: dict[RunState, type[RunError]] = {
    RunState.FAILED: RunFailed,
    RunState.DEAD: RunDead,
    RunState.CANCELLED: RunCancelled,
}


def fetched(run: Run, blobs: Blobs) -> Run:
    """The run with its payloads out of the blob store. Raises StoreUnavailable."""
    changes: dict[str, Any] = {}
    for name in ("input", "result"):
        data = getattr(run, name)
        if data is not None and data[:1] == BLOB:
            changes[name] = blobs.get(data)
    return replace(run, **changes)


def document(run: Run) -> dict[str, Any]:
    """The run as ``--json`` shows it: what ``GET /api/runs/{id}`` answers."""
    whole = {**summary(run), **member("input", run.input), **member("result", run.result)}
    found: dict[str, Any] = orjson.loads(orjson.dumps(whole))
    return found


def print_result(result: bytes | None) -> None:
    """Text as it is, bytes as they are, everything else as JSON."""
    if result is None:
        return
    if result[:1] == RAW:
        sys.stdout.flush()
        sys.stdout.buffer.write(result[1:])
        sys.stdout.buffer.flush()
        return
    value = orjson.loads(result)
    if isinstance(value, str):
        print(value, flush=True)
    else:
        output.document(value)


def raise_unless_succeeded(run: Run) -> None:
    """Raises the RunError of a run that is final and did not succeed."""
    if run.state is RunState.SUCCEEDED or not run.state.final:
        return
    error = run.error or {}
    cls = _BY_STATE[run.state]
    for kind in tree():
        if kind.code == error.get("code") and issubclass(kind, RunError):
            cls = kind
    name = str(error.get("type", "")).rpartition(":")[2].rpartition(".")[2]
    message = str(error.get("message", "")) or "no message"
    if issubclass(cls, RunCancelled):
        text = f"The run {run.id} was cancelled."
    else:
        text = f"The run {run.id} {run.state.says}: {name}: {message}"
    hint = f"perdure runs show {run.id}"
    if run.state is RunState.DEAD:
        hint += f"; once the cause is mended: perdure runs redrive {run.id}"
    raise cls(text, hint=error.get("hint") or hint, run=run.id, state=str(run.state))
