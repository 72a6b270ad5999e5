"""An exported run as its effects: what each was asked and what it gave, as values that people can
compare. Names that a provider makes anew for every call are no difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from perdure.cli.branches import anonymous
from perdure.cli.offline.document import Export
from perdure.codec import BLOB, RAW
from perdure.core.branch import stable
from perdure.core.record import EntryState, Kind, RecordType
from perdure.store.rows import LogEvent

# Made by providers for each call, or told of it: they differ between calls that are alike.
CHANGING = frozenset(
    {
        "call_id", "created", "created_at", "headers", "id", "item_id", "obfuscation",
        "request_id", "service_tier", "system_fingerprint", "tool_call_id", "tool_use_id", "usage",
    }
)  # fmt: skip
_FRAMING = frozenset({"event", "finish_reason", "index", "object", "type"})
_SILENT = frozenset({Kind.CLOCK, Kind.RANDOM, Kind.EMIT})


@dataclass(slots=True)
class Side:
    """One effect of one run. ``asked`` is None where only its digest was kept."""

    key: bytes
    scope: bytes
    branch: str
    kind: str
    name: str
    digest: bytes
    seq: int
    state: str = ""
    asked: Any = None
    gave: Any = None
    inside: list[Side] = field(default_factory=list)

    @property
    def request(self) -> Any:
        """What tells this request from another."""
        return self.digest if self.asked is None else essence(self.asked)

    @property
    def answer(self) -> tuple[str, Any]:
        return self.state, essence(self.gave)

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key.hex(),
            "kind": self.kind,
            "name": self.name,
            "branch": self.branch,
            "seq": self.seq,
            "state": self.state,
            "asked": self.asked,
            "answer": self.gave,
        }


def sides(export: Export) -> list[Side]:
    """The outermost effects, in the order in which they were first recorded; clocks, random numbers
    and the agent's own events are left out."""
    found: dict[bytes, Side] = {}
    for event in export.log:
        if event.type != RecordType.ENTRY or event.key is None:
            continue
        if event.state == EntryState.VOID:
            if event.key in found and found[event.key].state == EntryState.FAILED:
                continue  # its attempt's end took it back; the failure itself happened
            found.pop(event.key, None)
            continue
        if event.kind in _SILENT:
            continue
        side = found.get(event.key)
        if side is None:
            side = found[event.key] = Side(
                event.key, event.scope or b"", event.branch or "", event.kind or "",
                event.name or "", event.digest or b"", event.seq,
            )  # fmt: skip
        side.state = event.state or ""
        if event.state == EntryState.INTENT:
            about = value(event.value, export)
            if isinstance(about, dict) and "arguments" in about:
                side.asked = about["arguments"]
        else:
            side.gave = _answer(event, export)
        if event.request:
            side.asked = _request(event.request, export)
    outermost: list[Side] = []
    for side in found.values():
        around = found.get(side.scope)
        (outermost if around is None else around.inside).append(side)
    return outermost


def lanes(found: Iterable[Side]) -> dict[str, list[list[Side]]]:
    """Effects by branch; branches that are told apart only by arrival, or by ids that providers
    make anew, are under one name."""
    by_branch: dict[str, list[Side]] = {}
    for side in found:
        by_branch.setdefault(side.branch, []).append(side)
    groups: dict[str, list[list[Side]]] = {}
    for branch, lane in by_branch.items():
        groups.setdefault(anonymous(stable(branch)), []).append(lane)
    return groups


def value(data: bytes | None, export: Export) -> Any:
    """Codec bytes as JSON values."""
    if data is not None and data[:1] == BLOB:
        data = export.blobs.get(data[1:].decode())
    if data is None:
        return None
    if data[:1] == RAW:
        return f"({len(data) - 1} bytes)"
    return orjson.loads(data)


def essence(what: Any) -> Any:
    """Without what providers make anew for every call."""
    if isinstance(what, Mapping):
        if "streamed" in what and isinstance(what.get("body"), list):
            return {"status": what.get("status"), "text": "".join(_leaves(what["body"]))}
        return {k: essence(v) for k, v in what.items() if k not in CHANGING}
    if isinstance(what, list):
        return [essence(one) for one in what]
    return what


def _answer(event: LogEvent, export: Export) -> Any:
    """A model's answer with its body read; anything else as it is."""
    found = value(event.value, export)
    if event.kind != Kind.MODEL or not isinstance(found, dict):
        return found
    body = found.get("body")
    if isinstance(body, str):
        found = {**found, "body": _events(body) if found.get("streamed") else _json(body)}
    return found


def _request(tip: bytes, export: Export) -> Any:
    """The parts of a stored request, put together again: lists were stored item by item."""
    parts: list[bytes] = []
    while tip and tip in export.requests:
        tip, body = export.requests[tip]
        parts.append(body)
    if tip:
        return None  # under retention: not all of it is there
    whole: dict[str, Any] = {}
    rest: list[Any] = []
    for part in reversed(parts):
        read = _json(part.decode("utf-8", "replace"))
        if not isinstance(read, dict):
            rest.append(read)
            continue
        for name, item in read.items():
            if isinstance(whole.get(name), list) and isinstance(item, list):
                whole[name] = whole[name] + item
            else:
                whole[name] = item
    return rest[0] if len(rest) == 1 and not whole else ({**whole, "": rest} if rest else whole)


def _events(body: str) -> list[Any]:
    """What a stream of server-sent events said."""
    data = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    return [_json(text) for text in data if text != "[DONE]"]


def _leaves(what: Any) -> Iterable[str]:
    """All text of a stream, however it was cut into pieces."""
    if isinstance(what, Mapping):
        for name, item in what.items():
            if name not in CHANGING and name not in _FRAMING:
                yield from _leaves(item)
    elif isinstance(what, list):
        for item in what:
            yield from _leaves(item)
    elif isinstance(what, str):
        yield what


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
