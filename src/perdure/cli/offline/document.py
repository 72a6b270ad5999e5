"""A run as one JSON document: what ``perdure runs export`` writes and ``perdure replay`` reads.

    {"format": "perdure.run", "version": 1, "perdure": "0.1.0", "exported_at": …,
     "run": {…the run's fields…, "input": VALUE, "result": VALUE, "error": {…}},
     "log": [{"seq", "at", "epoch", "type", "key", "kind", "name", …, "value": VALUE}, …],
     "signals": [{"n", "name", "payload": VALUE, "at"}, …],
     "requests": {node: {"parent": node or "", "body": VALUE}},
     "blobs": {name: base64}, "children": [run ids]}

A VALUE is ``{"json": …}`` where the stored bytes are exactly that JSON, ``{"blob": name}`` for what
is in the blob store, else ``{"base64": …}``: replay needs the very bytes. Keys and digests are hex.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from perdure import __version__
from perdure.cli.follow import whole_log
from perdure.codec import BLOB
from perdure.core.run import RunState
from perdure.errors import InvalidInput, NotFound
from perdure.runtime.ticket import node
from perdure.server.run_view import summary
from perdure.store.base import Store
from perdure.store.blobs import Blobs
from perdure.store.rows import Filter, LogEvent, Run, Signal

FORMAT, VERSION = "perdure.run", 1
CHILDREN = 1000

_BYTES = ("key", "scope", "after", "digest", "request")


@dataclass(frozen=True, slots=True)
class Export:
    """Everything about a run. ``requests``: node -> (parent, body)."""

    run: Run
    log: list[LogEvent]
    signals: list[Signal]
    requests: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)


async def gather(store: Store, blobs: Blobs, run_id: str, *, requests: bool = True) -> Export:
    """Read it all; without ``requests`` only what a replay needs. Raises NotFound,
    StoreUnavailable."""
    run = await store.get(run_id)
    log = await whole_log(store, run_id)
    chains: dict[bytes, tuple[bytes, bytes]] = {}
    tips = dict.fromkeys(event.request for event in log if event.request) if requests else {}
    for tip in tips:
        try:
            bodies = await store.get_messages(run_id, tip)
        except NotFound:
            continue  # under retention: requests may be gone before their run
        parent = b""
        for body in bodies:
            name = node(parent, body)
            chains[name] = (parent, body)
            parent = name
    payloads = [run.input, run.result, *(event.value for event in log)]
    references = {p for p in payloads if p is not None and p[:1] == BLOB}
    found = {p[1:].decode(): await asyncio.to_thread(blobs.get, p) for p in references}
    children = await store.find(Filter(parent=run_id, limit=CHILDREN)) if requests else []
    return Export(
        run, log, await store.signals(run_id), chains, found, [child.id for child in children]
    )


def dump(export: Export, now: datetime) -> bytes:
    """The document."""
    run = {**summary(export.run), "error": export.run.error}
    run["input"] = _value(export.run.input)
    run["result"] = _value(export.run.result)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "perdure": __version__,
        "exported_at": now,
        "run": run,
        "log": [_event(event) for event in export.log],
        "signals": [
            {"n": s.n, "name": s.name, "payload": _value(s.payload), "at": s.at}
            for s in export.signals
        ],
        "requests": {
            name.hex(): {"parent": parent.hex(), "body": _value(body)}
            for name, (parent, body) in export.requests.items()
        },
        "blobs": {name: b64encode(data).decode() for name, data in export.blobs.items()},
        "children": export.children,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def load(data: bytes, where: str) -> Export:
    """Read a document. Raises InvalidInput, which says what is wrong."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"{where} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidInput(
            f"{where} is no exported run.", hint="Make one: perdure runs export RUN FILE"
        )
    if document.get("version") != VERSION:
        raise InvalidInput(
            f"{where} has format version {document.get('version')}; this Perdure reads {VERSION}.",
            hint="Use the Perdure that exported it, or a newer one.",
        )
    try:
        return Export(
            _run(document["run"]),
            [_read_event(event) for event in document["log"]],
            [
                Signal(s["n"], s["name"], _bytes(s["payload"]) or b"", _time(s["at"]))
                for s in document["signals"]
            ],
            {
                bytes.fromhex(name): (bytes.fromhex(r["parent"]), _bytes(r["body"]) or b"")
                for name, r in document["requests"].items()
            },
            {name: b64decode(text) for name, text in document["blobs"].items()},
            list(document["children"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{where} is damaged: {type(error).__name__}: {error}", hint="Export the run again."
        ) from error


# -- values ---------------------------------------------------------------------------------------


def _value(data: bytes | None) -> dict[str, Any] | None:
    if data is None:
        return None
    if data[:1] == BLOB:
        return {"blob": data[1:].decode()}
    try:
        value = orjson.loads(data)
        if orjson.dumps(value) == data:
            return {"json": value}
    except (orjson.JSONDecodeError, TypeError):
        pass
    return {"base64": b64encode(data).decode()}


def _bytes(value: dict[str, Any] | None) -> bytes | None:
    if value is None:
        return None
    if "json" in value:
        return orjson.dumps(value["json"])
    if "blob" in value:
        return BLOB + str(value["blob"]).encode()
    return b64decode(value["base64"])


def _event(event: LogEvent) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in event._asdict().items():
        if value is None:
            continue
        if name == "value":
            out[name] = _value(value)
        else:
            out[name] = value.hex() if isinstance(value, bytes) else value
    return out


def _read_event(document: dict[str, Any]) -> LogEvent:
    fields: dict[str, Any] = dict.fromkeys(LogEvent._fields)
    for name, value in document.items():
        if name == "value":
            fields[name] = _bytes(value)
        elif name == "at":
            fields[name] = _time(value)
        else:
            fields[name] = bytes.fromhex(value) if name in _BYTES else value
    return LogEvent(**fields)


def _run(document: dict[str, Any]) -> Run:
    # Members that are made of others (``trace_id``) or that newer versions add are left out.
    fields = {name: value for name, value in document.items() if name in Run.__dataclass_fields__}
    for name in ("created_at", "started_at", "finished_at", "ready_at", "wake_at", "deadline_at"):
        fields[name] = None if fields[name] is None else _time(fields[name])
    fields["state"] = RunState(fields["state"])
    fields["input"], fields["result"] = _bytes(fields["input"]), _bytes(fields["result"])
    return Run(**{**dict.fromkeys(Run.__dataclass_fields__), "alone": False, **fields})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
