"""What a LangChain tool returns, as bytes and back (rules K8, K2): a closed registry, nothing is
imported by name.

A result is JSON. What JSON cannot say is an object with one key, ``$lc``, that names its kind:
messages, LangGraph's ``Command`` and ``Send``, documents, tuples, bytes, times, decimals and so on.
Where LangChain itself would hand the model only the text of an object it does not know, the text is
what is recorded, and what the agent sees.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

import orjson
from langchain_core import messages as lc
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langgraph.types import Command, Overwrite, Send

from perdure import codec
from perdure.errors import CodecError
from perdure.frameworks.results import typed

TAG = "$lc"

# Most special first: a message of a class that is not here is recorded as its nearest base.
_MESSAGES: tuple[type[BaseMessage], ...] = (
    lc.AIMessageChunk, lc.HumanMessageChunk, lc.SystemMessageChunk, lc.ToolMessageChunk,
    lc.ChatMessageChunk, lc.FunctionMessageChunk, lc.AIMessage, lc.HumanMessage, lc.SystemMessage,
    lc.ToolMessage, lc.ChatMessage, lc.FunctionMessage, lc.RemoveMessage,
)  # fmt: skip
_MESSAGE = {cls.__name__: cls for cls in _MESSAGES}


class _Unknown(Exception):
    """An object that is not in the registry."""


@dataclass(frozen=True, slots=True)
class ToolValues:
    """The results of one tool. ``called``: a model asked for it, so that what LangChain does not
    know becomes text. ``pair``: it returns content and artifact."""

    name: str
    annotation: Any = None
    called: bool = False
    pair: bool = False

    def encode(self, value: Any) -> bytes:
        try:
            return orjson.dumps(to_json(value))
        except _Unknown as unknown:
            reason = str(unknown)
        if self.annotation is not None:
            try:
                data = typed(value, self.annotation, self.name)
                return b'{"%b":"typed","v":%b}' % (TAG.encode(), data)
            except CodecError:
                pass
        if self.called and not self.pair:
            return orjson.dumps(to_json(str(value)))
        if self.called and isinstance(value, tuple) and len(value) == 2 and _known(value[1]):
            return orjson.dumps(to_json((str(value[0]), value[1])))
        raise CodecError(
            f"The result of the tool {self.name!r} cannot be written down: {reason}",
            hint="Return JSON values, messages or documents, or annotate the tool's function with "
            "the pydantic model or dataclass it returns.",
        )

    def decode(self, data: bytes) -> Any:
        doc = orjson.loads(data)
        if isinstance(doc, dict) and doc.get(TAG) == "typed":
            return codec.decode(orjson.dumps(doc["v"]), self.annotation)
        if self.pair and isinstance(doc, list) and len(doc) == 2:
            return tuple(from_json(doc))  # as an operator writes it, who resolved the call
        return from_json(doc)


def to_json(value: Any) -> Any:
    """``value`` as plain JSON values with ``$lc`` objects. Raises _Unknown."""
    if value is None or isinstance(value, str | bool):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else _tagged("int", str(value))
    if isinstance(value, float):
        return value if isfinite(value) else _tagged("float", repr(value))
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(k, str) for k in value) and TAG not in value:
            return {k: to_json(v) for k, v in value.items()}
        return _tagged("dict", [[to_json(k), to_json(v)] for k, v in value.items()])
    for kind, cls, write, _ in _KINDS:
        if isinstance(value, cls):
            return _tagged(kind, write(value))
    raise _Unknown(f"{type(value).__qualname__} is neither JSON nor a message")


def from_json(doc: Any) -> Any:
    """The value of what ``to_json`` made. Raises CodecError."""
    if isinstance(doc, list):
        return [from_json(item) for item in doc]
    if not isinstance(doc, dict):
        return doc
    if TAG not in doc:
        return {k: from_json(v) for k, v in doc.items()}
    read = _READ.get(doc[TAG])
    if read is None:
        raise CodecError(f"A recorded tool result is of the unknown kind {doc[TAG]!r}.")
    return read(doc["v"])


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {TAG: kind, "v": value}


def _known(value: Any) -> bool:
    try:
        to_json(value)
    except _Unknown:
        return False
    return True


def _write_message(message: BaseMessage) -> dict[str, Any]:
    cls = next((c for c in _MESSAGES if isinstance(message, c)), None)
    if cls is None:
        raise _Unknown(f"{type(message).__qualname__} is no kind of message known here")
    fields = {**{name: getattr(message, name) for name in cls.model_fields}, **_extra(message)}
    fields.pop("type", None)
    if cls is lc.RemoveMessage:
        fields.pop("content", None)  # it takes none
    return {"cls": cls.__name__, "fields": {k: to_json(v) for k, v in fields.items()}}


def _extra(message: BaseMessage) -> dict[str, Any]:
    return dict(message.model_extra or {})


def _read_message(doc: dict[str, Any]) -> BaseMessage:
    cls = _MESSAGE.get(doc["cls"])
    if cls is None:
        raise CodecError(f"A recorded tool result holds an unknown message, {doc['cls']!r}.")
    return cls(**{k: from_json(v) for k, v in doc["fields"].items()})


def _write_command(command: Command[Any]) -> dict[str, Any]:
    return {
        "graph": to_json(command.graph),
        "update": to_json(command.update),
        "resume": to_json(command.resume),
        "goto": to_json(command.goto),
    }


def _read_command(doc: dict[str, Any]) -> Command[Any]:
    return Command(**{k: from_json(v) for k, v in doc.items()})


def _write_document(document: Document) -> dict[str, Any]:
    return {
        "page_content": document.page_content,
        "metadata": to_json(document.metadata),
        "id": document.id,
    }


def _read_document(doc: dict[str, Any]) -> Document:
    return Document(
        page_content=doc["page_content"], metadata=from_json(doc["metadata"]), id=doc["id"]
    )


def _write_set(value: Any) -> list[Any]:
    return sorted((to_json(item) for item in value), key=orjson.dumps)


# kind, class, writer, reader; subclasses before their bases (datetime is a date)
_KINDS: tuple[tuple[str, type, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    ("message", BaseMessage, _write_message, _read_message),
    ("command", Command, _write_command, _read_command),
    (
        "send",
        Send,
        lambda s: [s.node, to_json(s.arg)],
        lambda v: Send(v[0], from_json(v[1])),
    ),
    ("overwrite", Overwrite, lambda o: to_json(o.value), lambda v: Overwrite(from_json(v))),
    ("document", Document, _write_document, _read_document),
    ("tuple", tuple, lambda t: [to_json(i) for i in t], lambda v: tuple(map(from_json, v))),
    ("bytes", bytes, lambda b: b64encode(b).decode(), b64decode),
    ("datetime", datetime, datetime.isoformat, datetime.fromisoformat),
    ("date", date, date.isoformat, date.fromisoformat),
    ("time", time, time.isoformat, time.fromisoformat),
    ("timedelta", timedelta, timedelta.total_seconds, lambda v: timedelta(seconds=v)),
    ("uuid", UUID, str, UUID),
    ("decimal", Decimal, str, Decimal),
    ("set", set, _write_set, lambda v: set(map(from_json, v))),
    ("frozenset", frozenset, _write_set, lambda v: frozenset(map(from_json, v))),
)
_READ: dict[str, Callable[[Any], Any]] = {
    **{kind: read for kind, _, _, read in _KINDS},
    "dict": lambda v: {from_json(key): from_json(item) for key, item in v},
    "int": int,
    "float": float,
}
