"""What a tool returns, as bytes and back (rule K8): a closed registry, nothing is imported by name.

A result is JSON, or by the function's return annotation, or what JSON can say of it, since that is
all that a model is told. What JSON alone cannot say is an object with the key ``$adk``: ``typed``,
or ``said``, a result with what the body said to ADK beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from perdure import codec
from perdure.errors import CodecError
from perdure.frameworks.plain import plain
from perdure.frameworks.results import is_json, typed

TAG = "$adk"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a body gave: its result, and ADK's ``EventActions`` as JSON where it changed them."""

    value: Any
    actions: Any = None


@dataclass(frozen=True, slots=True)
class ToolValues:
    """The results of one tool."""

    name: str
    annotation: Any = None

    def encode(self, outcome: Outcome) -> bytes:
        doc = self._write(outcome.value)
        if outcome.actions is not None:
            doc = {TAG: "said", "v": doc, "actions": plain(outcome.actions)}
        return orjson.dumps(doc)

    def decode(self, data: bytes) -> Outcome:
        doc = orjson.loads(data)
        if isinstance(doc, dict) and doc.get(TAG) == "said":
            return Outcome(self._read(doc["v"]), doc["actions"])
        return Outcome(self._read(doc))

    def _write(self, value: Any) -> Any:
        if is_json(value, TAG):
            return value
        if self.annotation is not None:
            try:
                data = typed(value, self.annotation, self.name)
                return {TAG: "typed", "v": orjson.loads(data)}
            except (CodecError, orjson.JSONDecodeError):
                pass
        return plain(value)

    def _read(self, doc: Any) -> Any:
        if isinstance(doc, dict) and doc.get(TAG) == "typed":
            return codec.decode(orjson.dumps(doc["v"]), self.annotation)
        return doc
