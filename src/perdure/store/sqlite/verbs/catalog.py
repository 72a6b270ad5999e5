"""What is looked up: runs, agents, API keys, and the messages of stored requests (Z1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from perdure.core.run import RunState
from perdure.core.trace import run_of
from perdure.errors import Conflict, NotFound
from perdure.store.intake import intake_json
from perdure.store.rows import AgentInfo, ApiKey, Filter, Message, Run, Signal
from perdure.store.sqlite.columns import (
    SHOWN,
    from_time,
    to_agent,
    to_json,
    to_key,
    to_run,
    to_signal,
)
from perdure.store.sqlite.writer import Transaction

# -- runs -----------------------------------------------------------------------------------------


def get(link: sqlite3.Connection, run_id: str, payloads: bool) -> Run:
    """See ``Store.get``."""
    more = ", error, result, input" if payloads else ", error"
    row = link.execute(f"SELECT {SHOWN}{more} FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {run_id}.", run=run_id)
    return to_run(row, payloads=payloads)


def find(link: sqlite3.Connection, filter: Filter) -> list[Run]:
    """See ``Store.find``."""
    where, given = ["1"], list[Any]()

    def add(condition: str, *parameters: Any) -> None:
        where.append(condition)
        given.extend(parameters)

    if filter.agent is not None:
        add("agent = ?", filter.agent)
    if filter.tenant is not None:
        add("tenant = ?", filter.tenant)
    if filter.session is not None:
        add("session = ?", filter.session)
    if filter.parent is not None:
        add("parent = ?", filter.parent)
    if filter.states:
        # Where most runs are succeeded, walking them from the newest on beats sorting them.
        column = "+state" if RunState.SUCCEEDED in filter.states else "state"
        add(f"{column} IN ({', '.join('?' * len(filter.states))})", *filter.states)
    for name, value in filter.labels.items():
        add("EXISTS (SELECT 1 FROM json_each(labels) l WHERE l.key = ? AND l.value = ?)",
            name, value)  # fmt: skip
    if filter.created_after is not None:
        add("created_at >= ?", from_time(filter.created_after))
    if filter.created_before is not None:
        add("created_at < ?", from_time(filter.created_before))
    if filter.trace_id is not None:
        add("(substr(trace, 4, 32) = ? OR (trace IS NULL AND id = ?))",
            filter.trace_id, run_of(filter.trace_id))  # fmt: skip
    if filter.idempotency_key is not None:
        mine = "SELECT i.run FROM idempotency i WHERE i.key = ?"
        add(f"n IN ({mine})", filter.idempotency_key)
    if filter.dismissed is not None:
        add(f"dismissed_at IS {'NOT NULL' if filter.dismissed else 'NULL'}")
    if filter.before_n is not None:
        add("n < ?", filter.before_n)
    if filter.before is not None:
        add("n < (SELECT n FROM runs WHERE id = ?)", filter.before)
    rows = link.execute(
        f"SELECT {SHOWN}, error FROM runs WHERE {' AND '.join(where)} ORDER BY n DESC LIMIT ?",
        (*given, filter.limit),
    )
    return [to_run(row, payloads=False) for row in rows]


def signals(link: sqlite3.Connection, run_id: str, after: int) -> list[Signal]:
    """See ``Store.signals``."""
    rows = link.execute(
        "SELECT n, name, payload, at FROM signals"
        " WHERE run = (SELECT n FROM runs WHERE id = ?) AND n > ? AND NOT read ORDER BY n",
        (run_id, after),
    )
    return [to_signal(row) for row in rows]


# -- agents ---------------------------------------------------------------------------------------


def announce(tx: Transaction, agents: Sequence[AgentInfo]) -> None:
    """See ``Store.announce``."""
    for agent in agents:
        schema = None if agent.input_schema is None else to_json(agent.input_schema)
        tx.run(
            "INSERT OR REPLACE INTO agents (name, queue, framework, description, input_schema,"
            " durability, intake, announced_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            agent.name, agent.queue, agent.framework, agent.description, schema,
            agent.durability, intake_json(agent.intake), tx.now,
        )  # fmt: skip


def agents(link: sqlite3.Connection) -> list[AgentInfo]:
    """All announced agents, by name."""
    return [to_agent(row) for row in link.execute("SELECT * FROM agents ORDER BY name")]


# -- keys -----------------------------------------------------------------------------------------


def add_key(tx: Transaction, key: ApiKey) -> None:
    """See ``Store.add_key``."""
    there = tx.one("SELECT hash FROM keys WHERE id = ?", key.id)
    if there is not None:
        if there["hash"] == key.hash:
            return  # the call was repeated
        raise Conflict(f"There is a key {key.id} already.")
    times = [
        None if at is None else from_time(at)
        for at in (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
    ]
    tx.run(
        "INSERT INTO keys (id, name, hash, scopes, created_at, expires_at, last_used_at,"
        " revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        key.id, key.name, key.hash, to_json(key.scopes), *times,
    )  # fmt: skip


def key(link: sqlite3.Connection, key_id: str) -> ApiKey | None:
    row = link.execute("SELECT * FROM keys WHERE id = ?", (key_id,)).fetchone()
    return None if row is None else to_key(row)


def keys(link: sqlite3.Connection) -> list[ApiKey]:
    """All keys, the oldest first."""
    return [to_key(row) for row in link.execute("SELECT * FROM keys ORDER BY created_at, id")]


def revoke_key(tx: Transaction, key_id: str) -> None:
    """Raises NotFound. The first revocation's time stays."""
    if not tx.run(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", tx.now, key_id
    ):
        raise NotFound(f"There is no key {key_id}.", key=key_id)


def touch_key(tx: Transaction, key_id: str) -> None:
    tx.run("UPDATE keys SET last_used_at = ? WHERE id = ?", tx.now, key_id)


# -- requests -------------------------------------------------------------------------------------


def put_messages(tx: Transaction, messages: Sequence[Message]) -> None:
    """See ``Store.record``."""
    if not messages:
        return
    ids = {message.run_id for message in messages}
    numbers = orjson.loads(tx.value(_NUMBERS, orjson.dumps(list(ids)).decode()))
    tx.insert(
        "INSERT OR IGNORE INTO messages (run, node, parent, body)",
        4,
        [(numbers[run_id], *node) for run_id, *node in messages if run_id in numbers],
    )


_NUMBERS = """
SELECT json_group_object(runs.id, n) FROM json_each(?) asked JOIN runs ON runs.id = asked.value
"""
_CHAIN = """
WITH RECURSIVE chain (parent, body, up) AS (
  SELECT parent, body, 0 FROM messages
  WHERE run = (SELECT n FROM runs WHERE id = ?1) AND node = ?2
  UNION ALL
  SELECT m.parent, m.body, chain.up + 1 FROM chain JOIN messages m
  ON m.run = (SELECT n FROM runs WHERE id = ?1) AND m.node = chain.parent
)
SELECT parent, body FROM chain ORDER BY up DESC
"""


def get_messages(link: sqlite3.Connection, run_id: str, tip: bytes) -> list[bytes]:
    """See ``Store.get_messages``."""
    rows = link.execute(_CHAIN, (run_id, tip)).fetchall()
    if not rows or rows[0]["parent"] != b"":
        raise NotFound(f"The run {run_id} has no stored request {tip.hex()}.", run=run_id)
    return [row["body"] for row in rows]
