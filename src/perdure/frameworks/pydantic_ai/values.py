"""What a tool comes to, as bytes and back (rule K8): nothing is imported by name.

A result that is JSON is recorded as it is. Else it is an object with the key ``$pai`` that names
its kind: ``typed``, by the function's return annotation; ``return``, a ``ToolReturn``; ``content``,
the JSON and the files that Pydantic AI hands the model; ``outcome``, with what else the body did.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_origin

import orjson
from pydantic import TypeAdapter
from pydantic_ai import ToolReturn
from pydantic_ai._enqueue import PendingMessage
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.messages import ModelMessagesTypeAdapter
from pydantic_ai.usage import RunUsage

from perdure import codec
from perdure.errors import CodecError
from perdure.frameworks.results import is_json, typed

try:
    from pydantic_ai.exceptions import ToolFailed as ToolFailed
except ImportError:  # an older Pydantic AI

    class ToolFailed(Exception):  # type: ignore[no-redef]
        """Stands for what does not exist there."""

        def __init__(self, message: str) -> None:
            self.message = message
            super().__init__(message)


TAG = "$pai"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a body came to: a value, or what it answered the model instead; the usage of agents
    inside it; what it enqueued."""

    value: Any = None
    error: ModelRetry | ToolFailed | None = None
    usage: RunUsage | None = None
    enqueued: tuple[PendingMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolValues:
    """The outcomes of one tool. ``annotation``: what its function says that it returns."""

    name: str
    annotation: Any = None

    def encode(self, outcome: Outcome) -> bytes:
        doc = None if outcome.error is not None else self._write(outcome.value)
        more: dict[str, Any] = {}
        if isinstance(outcome.error, ToolFailed):
            more["failed"] = outcome.error.message
        elif outcome.error is not None:
            more["retry"] = outcome.error.message
        if outcome.usage is not None:
            more["usage"] = _usages().dump_python(outcome.usage, mode="json")
        if outcome.enqueued:
            more["enqueued"] = [_write_enqueued(message) for message in outcome.enqueued]
        if more:
            doc = {TAG: "outcome", "v": doc, **more}
        try:
            return orjson.dumps(doc)
        except TypeError as error:
            raise self._refused(str(error)) from error

    def decode(self, data: bytes) -> Outcome:
        doc = orjson.loads(data)
        if not isinstance(doc, dict) or doc.get(TAG) != "outcome":
            return Outcome(self._read(doc))
        error: ModelRetry | ToolFailed | None = None
        if "failed" in doc:
            error = ToolFailed(doc["failed"])
        elif "retry" in doc:
            error = ModelRetry(doc["retry"])
        return Outcome(
            None if error is not None else self._read(doc["v"]),
            error,
            _usages().validate_python(doc["usage"]) if "usage" in doc else None,
            tuple(_read_enqueued(item) for item in doc.get("enqueued", ())),
        )

    def _write(self, value: Any) -> Any:
        if is_json(value, TAG):
            return value
        if isinstance(value, ToolReturn):
            return {TAG: "return", "v": self._dump(value)}
        if self.annotation is not None and get_origin(self.annotation) is not ToolReturn:
            try:
                data = typed(value, self.annotation, self.name)
                return {TAG: "typed", "v": orjson.Fragment(data)}
            except CodecError:
                pass
        doc = self._dump(ToolReturn(return_value=value))["return_value"]
        # What has no file in it is the JSON that the model would see.
        return doc if is_json(doc, TAG) and _content(doc) == doc else {TAG: "content", "v": doc}

    def _dump(self, value: ToolReturn) -> Any:
        try:
            return _returned().dump_python(value, mode="json")
        except Exception as error:  # pydantic: what it cannot serialize
            raise self._refused(str(error)) from error

    def _read(self, doc: Any) -> Any:
        kind = doc.get(TAG) if isinstance(doc, dict) else None
        if kind is None:
            return doc
        if kind == "typed":
            return codec.decode(orjson.dumps(doc["v"]), self.annotation)
        if kind == "return":
            return _returned().validate_python(doc["v"])
        if kind == "content":
            return _content(doc["v"])
        raise CodecError(f"A recorded tool result is of the unknown kind {kind!r}.")

    def _refused(self, reason: str) -> CodecError:
        return CodecError(
            f"The result of the tool {self.name!r} cannot be written down: {reason}",
            hint="Return JSON values, a ToolReturn, or what the function's return annotation says.",
        )


@cache
def _returned() -> TypeAdapter[Any]:
    return TypeAdapter(ToolReturn)


@cache
def _usages() -> TypeAdapter[Any]:
    return TypeAdapter(RunUsage)


def _content(doc: Any) -> Any:
    return _returned().validate_python({"return_value": doc}).return_value


def _write_enqueued(message: PendingMessage) -> dict[str, Any]:
    doc = {f.name: getattr(message, f.name) for f in fields(message) if f.init}
    doc["messages"] = ModelMessagesTypeAdapter.dump_python(message.messages, mode="json")
    return doc


def _read_enqueued(doc: dict[str, Any]) -> PendingMessage:
    known = {f.name for f in fields(PendingMessage) if f.init}
    values = {key: value for key, value in doc.items() if key in known}
    values["messages"] = ModelMessagesTypeAdapter.validate_python(doc["messages"])
    if isinstance(values.get("_tool_call"), list):
        values["_tool_call"] = tuple(values["_tool_call"])
    return PendingMessage(**values)
