"""A run's tree of effects while it grows: events in, finished branches out. Pure.

What an effect did inside itself is recorded before the effect, so a branch is shown when the
effect at its top ends: parents stand above their children. Until then it is ``open``. Branches
live through attempts: what ended inside an effect that a crash cut off stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from perdure.cli.terminal.states import SILENT
from perdure.codec import BLOB, RAW
from perdure.core.record import EntryState, Kind, RecordType
from perdure.gateway.answer import Answer
from perdure.gateway.usage import Usage, usage
from perdure.store.rows import LogEvent

TAIL = 200  # characters of an answer that are kept while it comes
FLYING = ("", "under way", EntryState.INTENT)

NOTHING = Usage(0, 0)

Price = Callable[[str, Usage, datetime], Decimal | None]


@dataclass(slots=True)
class Node:
    """An effect. ``kind`` is "" as long as only its children are known."""

    key: bytes
    kind: str = ""
    name: str = ""
    state: str = ""
    began: datetime | None = None
    took_ms: int | None = None
    used: Usage | None = None
    cost: Decimal | None = None
    words: str = ""
    value: bytes | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def flying(self) -> bool:
        return self.state in FLYING


@dataclass(slots=True)
class Totals:
    """Of all model calls that were answered. ``unpriced`` had tokens, but no known price."""

    calls: int = 0
    used: Usage = NOTHING
    cost: Decimal = Decimal(0)
    priced: int = 0
    unpriced: int = 0

    def add(self, node: Node) -> None:
        self.calls += 1
        if node.used is not None:
            self.used = self.used.plus(node.used)
            if node.cost is not None:
                self.cost += node.cost
                self.priced += 1
            else:
                self.unpriced += 1


class Growth:
    """``price`` values a model call; by default nothing does."""

    def __init__(self, price: Price = lambda name, used, at: None) -> None:
        self._price = price
        self._known: dict[bytes, Node] = {}
        self._scope: dict[bytes, bytes] = {}
        self.open: list[Node] = []
        self.totals = Totals()
        self.ended: tuple[int, Node] | None = None  # (depth, effect) that the last event ended

    def take(self, event: LogEvent) -> list[Node]:
        """Branches that this event finished, to be shown now."""
        self.ended = None
        if event.type == RecordType.ATTEMPT:
            self.open = [node for node in self.open if self._prune(node)]
        if event.key is None:
            return []
        if event.type == RecordType.DELTA:
            node = self._known.get(event.key)
            if node is not None:
                node.words = (node.words + text(event.value))[-TAIL:]
            return []
        if event.type == RecordType.STARTED:
            self._place(event, "under way")
            return []
        if event.type != RecordType.ENTRY or event.kind in SILENT or event.kind == Kind.EMIT:
            return []
        if event.state == EntryState.VOID:
            return []
        node = self._place(event, event.state or "")
        if node.flying:
            return []
        self._finish(node, event)
        self.ended = self._depth(node), node
        if not any(node is one for one in self.open):
            return []
        self._close(node)
        self._forget(node)
        return [node]

    def rest(self) -> list[Node]:
        """What is still open and has something in it that ended; the run is over."""
        left = [node for node in self.open if self._prune(node)]
        self.open.clear()
        return left

    def flying(self) -> Iterator[Node]:
        """What is under way, innermost last."""

        def walk(nodes: list[Node]) -> Iterator[Node]:
            for node in nodes:
                if node.flying:
                    if node.kind:
                        yield node
                    yield from walk(node.children)

        return walk(self.open)

    # -- parts ------------------------------------------------------------------------------------

    def _place(self, event: LogEvent, state: str) -> Node:
        assert event.key is not None
        node = self._known.get(event.key)
        if node is None:
            node = self._known[event.key] = Node(event.key)
            self._hang(node, event.scope or b"")
        elif event.scope and event.key not in self._scope:
            self._close(node)  # it was known by its children alone
            self._hang(node, event.scope)
        if node.state not in ("under way", EntryState.INTENT) or node.began is None:
            node.began = event.at
        node.kind, node.name, node.state = event.kind or "", event.name or "", state
        return node

    def _hang(self, node: Node, scope: bytes) -> None:
        if not scope:
            self.open.append(node)
            return
        self._scope[node.key] = scope
        parent = self._known.get(scope)
        if parent is None:
            parent = self._known[scope] = Node(scope)
            self.open.append(parent)
        parent.children.append(node)

    def _close(self, node: Node) -> None:
        self.open = [one for one in self.open if one is not node]

    def _depth(self, node: Node) -> int:
        depth, key = 0, node.key
        while (above := self._scope.get(key)) is not None:
            depth, key = depth + 1, above
        return depth

    def _finish(self, node: Node, event: LogEvent) -> None:
        node.took_ms, node.words = event.took_ms, ""
        node.value = event.value if event.state == EntryState.FAILED else None
        if event.kind == Kind.MODEL and event.state == EntryState.DONE:
            node.used = used_by(event.value)
            if node.used is not None:
                node.cost = self._price(node.name, node.used, event.at)
            self.totals.add(node)

    def _prune(self, node: Node) -> bool:
        """Take away what flew when an attempt was cut; whether anything is left."""
        node.children = [child for child in node.children if self._prune(child)]
        if node.flying and not node.children:
            self._forget(node)
            return False
        return True

    def _forget(self, node: Node) -> None:
        self._known.pop(node.key, None)
        self._scope.pop(node.key, None)
        for child in node.children:
            self._forget(child)


def used_by(value: bytes | None) -> Usage | None:
    """Tokens of a recorded model call, where its value is here and says so."""
    if not value or value[:1] in (RAW, BLOB):
        return None
    try:
        return usage(Answer.decode(value))
    except Exception:  # a value of another kind: a step named like a call, a recorded failure
        return None


def text(value: bytes | None) -> str:
    """The words of a delta."""
    items = orjson.loads(value) if value and value[:1] not in (RAW, BLOB) else []
    return "".join(map(_words, items if isinstance(items, list) else [items]))


def _words(item: Any) -> str:
    if isinstance(item, str):
        return item
    found = item.get("text") if isinstance(item, dict) else None
    return found if isinstance(found, str) else ""
