"""What comes to a run from outside: signals, cancels, an operator's answers and redrives.

Each is one transaction that looks at the run's state and moves it; the first commit wins (C4,
C7). The run's own attempt is never interrupted here: its worker is told to look."""

from __future__ import annotations

from perdure.codec import encode_failure
from perdure.core.record import EntryState, RecordType
from perdure.core.run import Event, RunState, advance
from perdure.errors import Conflict, RunCancelled
from perdure.store.sqlite.columns import LOG
from perdure.store.sqlite.verbs.enqueue import WATCHED
from perdure.store.sqlite.verbs.moves import (
    add_signal,
    append_status,
    finish,
    load,
    load_n,
    make_ready,
    tell_holder,
)
from perdure.store.sqlite.writer import Transaction


def signal(tx: Transaction, run_id: str, name: str, payload: bytes, dedupe: str | None) -> int:
    """See ``Store.signal``."""
    run = load(tx, run_id)
    if dedupe is not None:
        first = tx.value("SELECT n FROM signals WHERE run = ? AND dedupe = ?", run["n"], dedupe)
        if first is not None:
            return int(first)
    if RunState(run["state"]).final:
        raise Conflict(
            f"The run {run_id} {RunState(run['state']).says}: it takes no signals.",
            state=run["state"],
        )
    return add_signal(tx, run, name, payload, dedupe)


def cancel(tx: Transaction, run_id: str, reason: str) -> None:
    """See ``Store.cancel``."""
    run = load(tx, run_id)
    if run["state"] == RunState.CANCELLED:
        return
    state = advance(RunState(run["state"]), Event.CANCELLED)
    if run["state"] == RunState.RUNNING:
        if not run["cancel_requested"]:
            tx.run("UPDATE runs SET cancel_requested = 1 WHERE n = ?", run["n"])
            append_status(tx, run, "cancelling", reason=reason)
            tell_holder(tx, run)
        return
    append_status(tx, run, state, reason=reason)
    tx.run("UPDATE runs SET cancel_requested = 1 WHERE n = ?", run["n"])
    error = encode_failure(RunCancelled(reason or "The run was cancelled."))
    finish(tx, run, state, attempts=run["attempts"], error=error)


def resolve(tx: Transaction, run_id: str, key: bytes, value: bytes | None, who: str) -> None:
    """See ``Store.resolve``."""
    run = load(tx, run_id)
    state = RunState(run["state"])
    entry = tx.one(
        f"SELECT {LOG} FROM log WHERE run = ?1 AND type = ?2 AND key = ?3"
        " AND seq > (SELECT since FROM runs WHERE n = ?1) ORDER BY seq DESC LIMIT 1",
        run["n"], RecordType.ENTRY, key,
    )  # fmt: skip
    answer = EntryState.VOID if value is None else EntryState.DONE
    asked = f'"key":"{key.hex()}"' in run["waits"]
    if entry is not None and not asked and (entry["state"], entry["value"]) == (answer, value):
        return  # the call was repeated
    if state.final or state is RunState.RUNNING:
        raise Conflict(f"The run {run_id} {state.says}: it waits for no answer.", state=state)
    if entry is None or not (asked or entry["state"] == EntryState.INTENT):
        raise Conflict(f"The run {run_id} does not wait for an answer to that effect.", state=state)
    fields = dict(entry) | {"at": tx.now, "state": answer, "value": value, "took_ms": 0}
    fields["epoch"] = run["epoch"]
    fields["seq"] = tx.value("SELECT max(seq) + 1 FROM log WHERE run = ?", run["n"])
    tx.insert(f"INSERT INTO log ({LOG})", len(fields), [tuple(fields.values())])
    if state is RunState.WAITING:
        make_ready(tx, run, Event.WOKEN, "resolved", key=key.hex(), who=who)
    else:
        append_status(tx, run, state, reason="resolved", key=key.hex(), who=who)


def redrive(tx: Transaction, run_id: str) -> None:
    """See ``Store.redrive``."""
    run = load(tx, run_id)
    if run["state"] == RunState.WAITING:
        make_ready(tx, run, Event.WOKEN, "redriven")
        return
    advance(RunState(run["state"]), Event.REDRIVEN)
    # A run that killed its workers stays alone: fresh attempts are no reason to risk others.
    tx.run(
        "UPDATE runs SET attempts = 0, strikes = 0, strikes_seq = 0, cancel_requested = 0,"
        " finished_at = NULL, dismissed_at = NULL, result = NULL, error = NULL,"
        " deadline_at = ? + deadline_at - created_at WHERE n = ?",
        tx.now, run["n"],
    )  # fmt: skip
    tx.run("UPDATE idempotency SET expires_at = NULL WHERE run = ?", run["n"])
    make_ready(tx, load_n(tx, run["n"]), Event.REDRIVEN, "redriven")


def dismiss(tx: Transaction, run_id: str, who: str) -> None:
    """See ``Store.dismiss``."""
    run = load(tx, run_id)
    state = RunState(run["state"])
    if state is not RunState.DEAD:
        raise Conflict(f"The run {run_id} {state.says}: it is no dead letter.", state=state)
    if tx.value("SELECT dismissed_at FROM runs WHERE n = ?", run["n"]) is None:
        tx.run("UPDATE runs SET dismissed_at = ? WHERE n = ?", tx.now, run["n"])
        append_status(tx, run, state, reason="dismissed", who=who)


def watch(tx: Transaction, run_id: str) -> None:
    """See ``Store.watch``. While enough of the minute is left nothing is written."""
    tx.run(
        "UPDATE runs SET watched_until = ? WHERE id = ? AND watched_until < ?",
        tx.now + WATCHED, run_id, tx.now + WATCHED // 2,
    )  # fmt: skip
