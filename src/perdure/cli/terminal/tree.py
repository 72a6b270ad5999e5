"""A run's effects as a tree: which happened inside which, when, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from perdure.core.record import EntryState, Kind, RecordType
from perdure.store.rows import LogEvent

SILENT = frozenset({Kind.CLOCK, Kind.RANDOM})


@dataclass(slots=True)
class Effect:
    """The last that is known of one key. ``started``: from the run's first start; ``attempt``
    counts claims (epochs)."""

    key: bytes
    scope: bytes
    kind: str
    name: str
    state: str
    promise: str | None
    started: timedelta | None
    took_ms: int | None
    attempt: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key.hex(),
            "scope": self.scope.hex() or None,
            "kind": self.kind,
            "name": self.name,
            "state": self.state,
            "promise": self.promise,
            "started_s": None if self.started is None else round(self.started.total_seconds(), 3),
            "took_ms": self.took_ms,
            "attempt": self.attempt,
        }


def effects(log: Iterable[LogEvent], start: datetime | None) -> list[Effect]:
    """Every effect once, in the order in which they began."""
    found: dict[bytes, Effect] = {}
    for event in log:
        if event.key is None or event.type not in (RecordType.ENTRY, RecordType.STARTED):
            continue
        known = found.get(event.key)
        state = "under way" if event.type == RecordType.STARTED else event.state or ""
        over = state in (EntryState.DONE, EntryState.FAILED, EntryState.ABANDONED)
        took = event.took_ms if over else None
        if state == EntryState.VOID and known is not None:
            known.state = state
            continue
        began = None
        if start is not None:
            began = max(event.at - start - timedelta(milliseconds=took or 0), timedelta(0))
        if known is None:
            found[event.key] = Effect(
                event.key, event.scope or b"", event.kind or "", event.name or "", state,
                event.promise, began, took, event.epoch,
            )  # fmt: skip
            continue
        known.state, known.attempt = state, event.epoch
        known.promise = event.promise or known.promise
        known.took_ms, known.started = took, began
    return sorted(
        found.values(), key=lambda e: e.started if e.started is not None else timedelta(0)
    )


def tree(found: Sequence[Effect]) -> Iterator[tuple[int, Effect]]:
    """(depth, effect): parents before what happened inside them; clocks and random numbers are
    left out."""
    inside: dict[bytes, list[Effect]] = {}
    keys = {effect.key for effect in found}
    for effect in found:
        if effect.kind not in SILENT:
            inside.setdefault(effect.scope if effect.scope in keys else b"", []).append(effect)

    def walk(scope: bytes, depth: int) -> Iterator[tuple[int, Effect]]:
        for effect in inside.get(scope, ()):
            yield depth, effect
            yield from walk(effect.key, depth + 1)

    return walk(b"", 0)
