"""What a tool of the Agents SDK returns, as bytes and back (rules K8, K2): a closed registry,
nothing is imported by name.

A result is JSON, one of the SDK's tool outputs (text, image, file), or what the tool's function
says that it returns. Of anything else the SDK hands the model the text, so the text is what is
recorded, and what the agent sees. What JSON cannot say is an object with one key, ``$oa``, that
names its kind.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson
from agents.tool import ToolOutputFileContent, ToolOutputImage, ToolOutputText
from pydantic import BaseModel

from perdure import codec
from perdure.errors import CodecError
from perdure.frameworks.results import typed

TAG = "$oa"

_OUTPUTS: dict[str, type[BaseModel]] = {
    "text": ToolOutputText, "image": ToolOutputImage, "file": ToolOutputFileContent,
}  # fmt: skip


class _Unknown(Exception):
    """An object that is not in the registry."""


@dataclass(frozen=True, slots=True)
class ToolValues:
    """The results of one tool, whose function returns ``annotation`` (None: it does not say)."""

    name: str
    annotation: Any = None

    def encode(self, value: Any) -> bytes:
        try:
            return orjson.dumps(_to_json(value))
        except _Unknown:
            pass
        if self.annotation is not None:
            try:
                data = typed(value, self.annotation, self.name)
                return b'{"%b":"typed","v":%b}' % (TAG.encode(), data)
            except CodecError:
                pass
        return orjson.dumps(str(value))

    def decode(self, data: bytes) -> Any:
        doc = orjson.loads(data)
        if isinstance(doc, dict) and doc.get(TAG) == "typed":
            return codec.decode(orjson.dumps(doc["v"]), self.annotation)
        return _from_json(doc)


def _to_json(value: Any) -> Any:
    """``value`` as plain JSON values with ``$oa`` objects. Raises _Unknown."""
    if value is None or type(value) in (str, bool):
        return value
    if type(value) is int:
        return value if -(2**63) <= value < 2**64 else {TAG: "int", "v": str(value)}
    if type(value) is float:
        return value if isfinite(value) else {TAG: "float", "v": repr(value)}
    if type(value) is list:
        return [_to_json(item) for item in value]
    if type(value) is tuple:
        return {TAG: "tuple", "v": [_to_json(item) for item in value]}
    if type(value) is bytes:
        return {TAG: "bytes", "v": b64encode(value).decode()}
    if type(value) is dict:
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: _to_json(item) for key, item in value.items()}
        return {TAG: "dict", "v": [[_to_json(k), _to_json(v)] for k, v in value.items()]}
    for kind, cls in _OUTPUTS.items():
        if type(value) is cls:
            return {TAG: kind, "v": value.model_dump(mode="json", exclude_unset=True)}
    raise _Unknown


def _from_json(doc: Any) -> Any:
    if isinstance(doc, list):
        return [_from_json(item) for item in doc]
    if not isinstance(doc, dict):
        return doc
    if TAG not in doc:
        return {key: _from_json(item) for key, item in doc.items()}
    kind: str = doc[TAG]
    value: Any = doc.get("v")
    if kind in _OUTPUTS:
        return _OUTPUTS[kind].model_validate(value)
    if kind == "tuple":
        return tuple(_from_json(item) for item in value)
    if kind == "dict":
        return {_from_json(key): _from_json(item) for key, item in value}
    if kind == "bytes":
        return b64decode(value)
    if kind in ("int", "float"):
        return int(value) if kind == "int" else float(value)
    raise CodecError(f"A recorded tool result is of the unknown kind {kind!r}.")
