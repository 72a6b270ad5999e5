"""What a tool returns, as bytes and back (rule K8): a closed registry, nothing is imported by name.

A result is JSON. What JSON cannot say is an object with the key ``$maf`` that names its kind:
``contents``, what Agent Framework hands the model for it; ``typed``, by the function's return
annotation; ``state``, a result with what the body changed in its session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from agent_framework import AgentSession, Content, FunctionTool

from perdure import codec
from perdure.errors import CodecError
from perdure.frameworks.results import is_json, typed

TAG = "$maf"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a body gave: its raw result, and what it changed in its session's state."""

    value: Any
    changed: dict[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolValues:
    """The results of one tool. ``parsed``: Agent Framework's own parser, and nobody else, sees
    the raw result, so what it makes of it may be recorded instead."""

    name: str
    annotation: Any = None
    parsed: bool = True

    def encode(self, outcome: Outcome) -> bytes:
        doc = self._write(outcome.value)
        if outcome.changed or outcome.removed:
            session = AgentSession(session_id="recorded")
            session.state = dict(outcome.changed)
            doc = {
                TAG: "state",
                "v": doc,
                "changed": session.to_dict()["state"],
                "removed": list(outcome.removed),
            }
        try:
            return orjson.dumps(doc)
        except TypeError as error:
            raise self._refused(str(error)) from error

    def decode(self, data: bytes) -> Outcome:
        doc = orjson.loads(data)
        if isinstance(doc, dict) and doc.get(TAG) == "state":
            session = AgentSession.from_dict({"session_id": "recorded", "state": doc["changed"]})
            return Outcome(self._read(doc["v"]), session.state, tuple(doc["removed"]))
        return Outcome(self._read(doc))

    def _write(self, value: Any) -> Any:
        if is_json(value, TAG):
            return value
        if self.parsed:
            try:
                contents = FunctionTool.parse_result(value)
            except Exception:  # as Agent Framework has it
                contents = [Content.from_text(str(value))]
            return {TAG: "contents", "v": [content.to_dict() for content in contents]}
        if self.annotation is not None:
            data = typed(value, self.annotation, self.name)
            return {TAG: "typed", "v": orjson.loads(data)}
        raise self._refused(f"{type(value).__qualname__} is not JSON")

    def _read(self, doc: Any) -> Any:
        kind = doc.get(TAG) if isinstance(doc, dict) else None
        if kind is None:
            return doc
        if kind == "contents":
            return [Content.from_dict(item) for item in doc["v"]]
        if kind == "typed":
            return codec.decode(orjson.dumps(doc["v"]), self.annotation)
        raise CodecError(f"A recorded tool result is of the unknown kind {kind!r}.")

    def _refused(self, reason: str) -> CodecError:
        return CodecError(
            f"The result of the tool {self.name!r} cannot be written down: {reason}",
            hint="Return JSON values, or annotate the tool's function with the pydantic model or "
            "dataclass it returns.",
        )
