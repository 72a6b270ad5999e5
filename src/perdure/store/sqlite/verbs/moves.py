"""How a run moves, inside a transaction: ready, blocked, finished, and what that sets free.

Invariants: a session is held by at most one run (``head``), from the time it became ready until
it is final (L4); a run holds a slot of its cap exactly while it is queued or running. Child runs
take no part in either.
"""

from __future__ import annotations

from typing import Any

import orjson

from perdure.core.record import RecordType
from perdure.core.run import Event, RunState, advance
from perdure.errors import NotFound
from perdure.store.outcome import outcome
from perdure.store.sqlite.columns import MOVED, Row
from perdure.store.sqlite.writer import Transaction


def load(tx: Transaction, run_id: str) -> Row:
    """The run's row. Raises NotFound."""
    row = tx.one(f"SELECT {MOVED} FROM runs WHERE id = ?", run_id)
    if row is None:
        raise NotFound(f"There is no run {run_id}.", run=run_id)
    return row


def load_n(tx: Transaction, n: int) -> Row:
    return tx.one(f"SELECT {MOVED} FROM runs WHERE n = ?", n)


def append(
    tx: Transaction,
    run: Row,
    type: str,
    name: str,
    value: dict[str, Any] | None = None,
) -> None:
    """Add a row to the run's log that is no entry."""
    tx.run(
        "INSERT INTO log (run, seq, at, epoch, type, name, value) VALUES"
        " (?1, (SELECT coalesce(max(seq), 0) + 1 FROM log WHERE run = ?1), ?2, ?3, ?4, ?5, ?6)",
        run["n"], tx.now, run["epoch"], type, name,
        None if value is None else orjson.dumps(value),
    )  # fmt: skip
    tell_run(tx, run)


def append_status(tx: Transaction, run: Row, state: str, **value: Any) -> None:
    append(tx, run, RecordType.STATUS, state, value)


def tell_run(tx: Transaction, run: Row) -> None:
    tx.tell(f"run:{run['id']}", far=run["watched_until"] > tx.now)


# -- becoming ready -------------------------------------------------------------------------------


def make_ready(tx: Transaction, run: Row, event: Event, reason: str, **more: Any) -> RunState:
    """Queue the run, or block it behind its session or its cap; returns which. The run was
    waiting, blocked, or final and redriven; ``event`` says how it comes here."""
    state, blocked_by, head = place(tx, run)
    stays = state is RunState.BLOCKED and run["state"] == RunState.BLOCKED
    if stays and blocked_by == run["blocked_by"]:
        return state
    if not stays:
        ready = advance(RunState(run["state"]), event)
        if state is RunState.BLOCKED:
            advance(ready, Event.BLOCKED)
    tx.run(
        "UPDATE runs SET state = ?, blocked_by = ?, head = ?, ready_at = ?, wake_at = NULL,"
        " waits = '[]' WHERE n = ?",
        state, blocked_by, head, tx.now, run["n"],
    )  # fmt: skip
    if not stays:
        append_status(tx, run, state, reason=reason, **more)
    if state is RunState.QUEUED:
        tx.tell("work", run["queue"])
    return state


def place(tx: Transaction, run: Row) -> tuple[RunState, str | None, int]:
    """Where a run that could go on belongs now: its state, what blocks it, and whether it holds
    its session. Takes the slot of its cap where there is one."""
    head = 0
    if run["parent"] is None and run["session"] is not None:
        if not run["head"] and session_taken(tx, run["tenant"], run["session"], run["n"]):
            return RunState.BLOCKED, "session", 0
        head = 1
    if run["parent"] is None and run["cap"] is not None:
        taken = tx.value("SELECT count(*) FROM slots WHERE cap = ?", run["cap"])
        if taken >= run["cap_limit"]:
            return RunState.BLOCKED, "cap", head
        tx.run("INSERT INTO slots (cap, run) VALUES (?, ?)", run["cap"], run["n"])
    return RunState.QUEUED, None, head


_SESSION_TAKEN = """
SELECT EXISTS (SELECT 1 FROM runs WHERE tenant = ?1 AND session = ?2 AND parent IS NULL
  AND finished_at IS NULL AND n <> ?3 AND (n < ?3 OR head = 1))
"""


def session_taken(tx: Transaction, tenant: str, session: str, n: int) -> bool:
    """Whether another run holds the session, or an older one that is not final goes first."""
    return bool(tx.value(_SESSION_TAKEN, tenant, session, n))


# -- setting free ---------------------------------------------------------------------------------


def free_slot(tx: Transaction, run: Row) -> None:
    """Give back the slot of the run's cap and let the next run of that cap have it."""
    if run["cap"] is not None and tx.run(
        "DELETE FROM slots WHERE cap = ? AND run = ?", run["cap"], run["n"]
    ):
        while (
            waiting := tx.one(
                f"SELECT {MOVED} FROM runs WHERE cap = ? AND state = 'blocked' AND"
                " blocked_by = 'cap' ORDER BY priority DESC, n LIMIT 1",
                run["cap"],
            )
        ) is not None:
            if make_ready(tx, waiting, Event.PROMOTED, "cap") is not RunState.QUEUED:
                return


def free_session(tx: Transaction, run: Row) -> None:
    """Let the session's next run go on; ``run`` is final."""
    if run["session"] is None or run["parent"] is not None:
        return
    following = tx.one(
        f"SELECT {MOVED} FROM runs WHERE tenant = ? AND session = ? AND parent IS NULL"
        " AND finished_at IS NULL ORDER BY n LIMIT 1",
        run["tenant"], run["session"],
    )  # fmt: skip
    if following is not None and following["blocked_by"] == "session":
        make_ready(tx, following, Event.PROMOTED, "session")


def finish(
    tx: Transaction,
    run: Row,
    state: RunState,
    *,
    attempts: int,
    result: bytes | None = None,
    error: bytes | None = None,
) -> None:
    """Make the run final: start its idempotency window, tell its parent, free what it held."""
    tx.run(
        "UPDATE runs SET state = ?, blocked_by = NULL, head = 0, worker = NULL,"
        " reserved_by = NULL, attempts = ?, finished_at = ?, wake_at = NULL, waits = '[]',"
        " result = ?, error = ? WHERE n = ?",
        state, attempts, tx.now, result, error, run["n"],
    )  # fmt: skip
    if run["idempotency_window"] is not None:
        tx.run(
            "UPDATE idempotency SET expires_at = ? WHERE run = ?",
            tx.now + run["idempotency_window"], run["n"],
        )  # fmt: skip
    tell_run(tx, run)
    if run["parent"] is not None:
        parent = tx.one(f"SELECT {MOVED} FROM runs WHERE id = ?", run["parent"])
        if parent is not None and not RunState(parent["state"]).final:
            add_signal(tx, parent, f"run:{run['id']}", outcome(state, result, error))
    else:
        free_slot(tx, run)
        free_session(tx, run)


# -- signals --------------------------------------------------------------------------------------


def add_signal(
    tx: Transaction, run: Row, name: str, payload: bytes, dedupe: str | None = None
) -> int:
    """Append a signal to a run that is not final; wake it if it waits for it (C7)."""
    n = int(tx.value("SELECT coalesce(max(n), 0) + 1 FROM signals WHERE run = ?", run["n"]))
    tx.run(
        "INSERT INTO signals (run, n, name, at, dedupe, payload) VALUES (?, ?, ?, ?, ?, ?)",
        run["n"], n, name, tx.now, dedupe, payload,
    )  # fmt: skip
    append(tx, run, RecordType.SIGNAL, name, {"n": n})
    if run["state"] == RunState.RUNNING:
        tell_holder(tx, run)
    elif run["state"] == RunState.WAITING and wants(run["waits"], name, n):
        make_ready(tx, run, Event.WOKEN, "signal", signal=name)
    return n


def wants(waits: str, name: str, n: int) -> bool:
    """Whether one of the waits (JSON) is for signal ``n`` of that name."""
    return any(wait.get("name") == name and n > wait["after"] for wait in orjson.loads(waits))


def tell_holder(tx: Transaction, run: Row) -> None:
    """Tell the worker that executes the run to look at it."""
    if run["worker"] is not None:
        tx.tell(f"worker:{run['worker']}", run["id"])
