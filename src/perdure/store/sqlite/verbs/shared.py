"""Small documents that all workers share. One writer at a time takes the place of locks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import orjson

from perdure.core.shared import LAST, TOPIC, Document, Swap, Swapped, changed, told
from perdure.store.sqlite.connection import Clock
from perdure.store.sqlite.writer import Transaction

_NOWHERE = Document()


def read(link: sqlite3.Connection, keys: Iterable[str], clock: Clock) -> Swapped:
    """See ``Shared.swap``, where nothing is to be changed."""
    found = _documents(link, keys)
    return Swapped(clock() / 1_000_000, True, found)


def listed(link: sqlite3.Connection, prefix: str, limit: int, clock: Clock) -> Swapped:
    """See ``Shared.listed``."""
    rows = link.execute(
        "SELECT key, version, body FROM shared WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
        (prefix, prefix + LAST, limit),
    )
    found = {key: Document(version, body) for key, version, body in rows}
    return Swapped(clock() / 1_000_000, True, found)


def swap(tx: Transaction, reads: Sequence[str], swaps: Sequence[Swap]) -> Swapped:
    """See ``Shared.swap``. ``now`` is a time after the transaction began."""
    keys = dict.fromkeys([*changed(swaps), *reads])
    found = _documents(tx.link, keys)
    done = all(found[swap.key].version == swap.version for swap in swaps)
    if done:
        for key, version, body in swaps:
            found[key] = _write(tx, key, version, body)
        for key in told(swaps):
            tx.tell(TOPIC, key)
    return Swapped(tx.now / 1_000_000, done, found)


def _write(tx: Transaction, key: str, version: int, body: bytes) -> Document:
    if not body:
        if version:
            tx.run("DELETE FROM shared WHERE key = ?", key)
        return _NOWHERE
    if version:
        tx.run("UPDATE shared SET version = version + 1, body = ?2 WHERE key = ?1", key, body)
        return Document(version + 1, body)
    tx.run("INSERT INTO shared (key, version, body) VALUES (?, ?, ?)", key, tx.now, body)
    return Document(tx.now, body)


def _documents(link: sqlite3.Connection, keys: Iterable[str]) -> dict[str, Document]:
    asked = list(keys)
    rows = link.execute(
        "SELECT key, version, body FROM shared WHERE key IN (SELECT value FROM json_each(?))",
        (orjson.dumps(asked).decode(),),
    )
    found = {key: Document(version, body) for key, version, body in rows}
    return {key: found.get(key, _NOWHERE) for key in asked}
