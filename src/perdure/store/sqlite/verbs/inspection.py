"""Looking for what should not be, mending it, and what takes how much space."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from perdure.core.run import Event, RunState
from perdure.core.words import counted
from perdure.store.inspection import ORDER, ORPHANS, PAGE, Finding, RunsUsage, TableUsage, Usage
from perdure.store.outcome import outcome
from perdure.store.sqlite.columns import MOVED, Row, to_time
from perdure.store.sqlite.verbs.moves import (
    add_signal,
    free_session,
    free_slot,
    load,
    make_ready,
)
from perdure.store.sqlite.verbs.upkeep import release_strangers
from perdure.store.sqlite.writer import Transaction

MINUTE = 60_000_000
_FINAL = "r.finished_at IS NOT NULL"
_TAKEN = (
    "EXISTS (SELECT 1 FROM runs o WHERE o.tenant = r.tenant AND o.session = r.session"
    " AND o.parent IS NULL AND o.finished_at IS NULL AND o.n <> r.n AND (o.n < r.n OR o.head = 1))"
)
_SLOTS = "(SELECT count(*) FROM slots s WHERE s.cap = r.cap)"
_WAIT = "json_each(r.waits) w"
_NAME = "json_extract(w.value, '$.name')"
_AFTER = "json_extract(w.value, '$.after')"
_CHILD = f"r.state = 'waiting' AND substr({_NAME}, 1, 4) = 'run:'"
# What is wrong with single runs: a FROM part, a condition, what to say of it.
_RUNS: dict[str, tuple[str, str, str]] = {
    "stranger": (
        "", "r.worker IS NOT NULL AND r.finished_at IS NULL"
        " AND r.worker NOT IN (SELECT id FROM workers)", "r.worker",
    ),
    "holder_of_final": ("", f"{_FINAL} AND r.worker IS NOT NULL", "r.worker"),
    "head_of_final": ("", f"{_FINAL} AND r.head = 1", "r.session"),
    "slot_of_idle": (
        "JOIN slots s ON s.run = r.n", "r.state NOT IN ('queued', 'running')", "s.cap",
    ),
    "slot_missing": (
        "", "r.state IN ('queued', 'running') AND r.parent IS NULL AND r.cap IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM slots s WHERE s.run = r.n)", "r.cap",
    ),
    "blocked_for_nothing": (
        "", f"r.state = 'blocked' AND ((r.blocked_by = 'session' AND NOT {_TAKEN})"
        f" OR (r.blocked_by = 'cap' AND {_SLOTS} < r.cap_limit))", "r.blocked_by",
    ),
    "missed_signal": (
        f"JOIN {_WAIT}", "r.state = 'waiting' AND EXISTS (SELECT 1 FROM signals s"
        f" WHERE s.run = r.n AND s.name = {_NAME} AND s.n > {_AFTER} AND NOT s.read)", _NAME,
    ),
    "missed_child": (
        f"JOIN {_WAIT} JOIN runs c ON c.id = substr({_NAME}, 5)",
        f"{_CHILD} AND c.finished_at IS NOT NULL"
        f" AND NOT EXISTS (SELECT 1 FROM signals s WHERE s.run = r.n AND s.name = {_NAME})",
        "c.id",
    ),
    "lost_child": (
        f"JOIN {_WAIT}", f"{_CHILD} AND NOT EXISTS (SELECT 1 FROM signals s WHERE s.run = r.n"
        f" AND s.name = {_NAME}) AND NOT EXISTS (SELECT 1 FROM runs c"
        f" WHERE c.id = substr({_NAME}, 5))", f"substr({_NAME}, 5)",
    ),
    "waits_for_nothing": (
        "", "r.state = 'waiting' AND r.wake_at IS NULL AND NOT EXISTS (SELECT 1 FROM"
        f" {_WAIT} WHERE {_NAME} IS NOT NULL OR json_extract(w.value, '$.reason')"
        " IN ('uncertain', 'diverged', 'limit'))", "r.waits",
    ),
    "overdue": ("", f"r.state = 'waiting' AND r.wake_at < :now - {MINUTE}", "''"),
    "key_without_end": (
        "JOIN idempotency i ON i.run = r.n", f"{_FINAL} AND i.expires_at IS NULL", "i.key",
    ),
}  # fmt: skip


def inspect(link: sqlite3.Connection, now: int) -> list[Finding]:
    """See ``Store.inspect``."""
    found = [
        Finding("damaged", "", str(row[0]))
        for row in link.execute("PRAGMA quick_check(20)")
        if row[0] != "ok"
    ]
    if found:
        return found  # the rest would say anything
    for code in sorted(_RUNS, key=ORDER.__getitem__):
        found += _about_runs(link, code, now)
    for code, table in ORPHANS.items():
        found += _orphans(link, code, table)
    for table in ("signals", "slots", "idempotency"):
        for (run,) in link.execute(
            f"SELECT DISTINCT run FROM {table} WHERE run NOT IN (SELECT n FROM runs)"
        ):
            found.append(Finding("orphan_rows", f"{table}/{run}"))
    found += _gaps(link)
    left = link.execute("SELECT count(*) FROM leftovers").fetchone()[0]
    if left:
        found.append(Finding("leftover", "", f"of {counted(left, 'run')}"))
    return found


def _about_runs(
    link: sqlite3.Connection, code: str, now: int, only: str | None = None
) -> list[Finding]:
    joined, where, about = _RUNS[code]
    rows = link.execute(
        f"SELECT DISTINCT r.id, {about} FROM runs r {joined} WHERE {where}"
        + (" AND r.id = :only" if only is not None else "")
        + " ORDER BY r.n",
        {"now": now, "only": only},
    )
    return [Finding(code, run, str(detail or "")) for run, detail in rows]


_STRAYS = """
WITH RECURSIVE each (run) AS (
  SELECT min(run) FROM {table}
  UNION ALL SELECT (SELECT min(run) FROM {table} t WHERE t.run > each.run) FROM each
  WHERE each.run IS NOT NULL
)
SELECT run FROM each WHERE run IS NOT NULL AND run NOT IN (SELECT n FROM runs)
AND run NOT IN (SELECT run FROM leftovers)
"""


def _orphans(link: sqlite3.Connection, code: str, table: str) -> Iterator[Finding]:
    for (run,) in link.execute(_STRAYS.format(table=table)):
        yield Finding(code, str(run))


_GAPS = """
SELECT r.n, r.id, r.since, count(l.seq), min(l.seq), max(l.seq)
FROM (SELECT n, id, since FROM runs WHERE n > ? ORDER BY n LIMIT ?) r
LEFT JOIN log l ON l.run = r.n GROUP BY r.n ORDER BY r.n
"""


def _gaps(link: sqlite3.Connection) -> Iterator[Finding]:
    after = -1
    while True:
        rows = link.execute(_GAPS, (after, PAGE)).fetchall()
        for _, run, since, count, first, last in rows:
            whole = not count or (last - first + 1 == count and (first == 1 or first <= since))
            if not whole:
                yield Finding("gap", run, f"{counted(count, 'row')} from {first} to {last}")
        if len(rows) < PAGE:
            return
        after = rows[-1]["n"]


# -- mending --------------------------------------------------------------------------------------


def mend(tx: Transaction, finding: Finding) -> bool:
    """See ``Store.mend``."""
    code, subject = finding.code, finding.subject
    if code in ORPHANS:
        return bool(
            tx.run(
                "INSERT INTO leftovers (run) SELECT ?1"
                " WHERE NOT EXISTS (SELECT 1 FROM runs WHERE n = ?1) ON CONFLICT DO NOTHING",
                int(subject),
            )
        )
    if code == "orphan_rows":
        table, _, run = subject.partition("/")
        return bool(
            tx.run(
                f"DELETE FROM {table} WHERE run = ? AND run NOT IN (SELECT n FROM runs)", int(run)
            )
        )
    if code not in _RUNS or not _about_runs(tx.link, code, tx.now, subject):
        return False
    run = load(tx, subject)
    if code == "stranger":
        release_strangers(tx)
    elif code == "holder_of_final":
        tx.run("UPDATE runs SET worker = NULL WHERE n = ?", run["n"])
    elif code == "head_of_final":
        tx.run("UPDATE runs SET head = 0 WHERE n = ?", run["n"])
        free_session(tx, run)
    elif code == "slot_of_idle":
        free_slot(tx, run)
    elif code == "slot_missing":
        tx.run("INSERT INTO slots (cap, run) VALUES (?, ?)", run["cap"], run["n"])
    elif code == "blocked_for_nothing":
        make_ready(tx, run, Event.PROMOTED, "checked")
    elif code in ("missed_signal", "waits_for_nothing"):
        make_ready(tx, run, Event.WOKEN, "checked")
    elif code == "missed_child":
        _tell(tx, run, finding.detail)
    elif code == "key_without_end":
        tx.run(
            "UPDATE idempotency SET expires_at = (SELECT finished_at + idempotency_window"
            " FROM runs WHERE n = ?1) WHERE run = ?1 AND expires_at IS NULL",
            run["n"],
        )
    else:
        return False
    return True


def _tell(tx: Transaction, parent: Row, child: str) -> None:
    ended = tx.one(f"SELECT {MOVED}, result, error FROM runs WHERE id = ?", child)
    report = outcome(RunState(ended["state"]), ended["result"], ended["error"])
    add_signal(tx, parent, f"run:{child}", report)


# -- space ----------------------------------------------------------------------------------------

TABLES = (
    "runs", "log", "signals", "messages", "idempotency", "slots", "leftovers", "agents", "keys",
    "workers", "shared", "charges", "answers",
)  # fmt: skip


def _contents(link: sqlite3.Connection, table: str) -> int:
    columns = [row["name"] for row in link.execute(f"PRAGMA table_info({table})")]
    lengths = " + ".join(f"coalesce(length({column}), 0)" for column in columns)
    return int(link.execute(f"SELECT coalesce(sum({lengths}), 0) FROM {table}").fetchone()[0])


def usage(link: sqlite3.Connection) -> Usage:
    """See ``Store.usage``."""
    pages = link.execute("PRAGMA page_count").fetchone()[0]
    size = pages * link.execute("PRAGMA page_size").fetchone()[0]
    sizes: dict[str, int] = {}
    try:
        sizes = dict(
            link.execute(
                "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat d"
                " JOIN sqlite_master m ON m.name = d.name WHERE d.aggregate = 1 GROUP BY m.tbl_name"
            ).fetchall()
        )
    except sqlite3.OperationalError:
        # This SQLite was built without dbstat: what the rows hold, without indexes.
        sizes = {name: _contents(link, name) for name in TABLES}
    tables = [
        TableUsage(
            name, link.execute(f"SELECT count(*) FROM {name}").fetchone()[0], sizes.get(name), True
        )
        for name in TABLES
    ]
    runs = [
        RunsUsage(agent, state, count, to_time(oldest))
        for agent, state, count, oldest in link.execute(
            "SELECT agent, state, count(*), min(created_at) FROM runs GROUP BY agent, state"
            " ORDER BY agent, state"
        )
    ]
    return Usage(size, tables, runs)
