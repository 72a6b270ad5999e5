"""Amazon Bedrock: ``converse`` in one form for all models, ``invoke`` in each maker's own. Streams
are AWS's binary event streams; those of ``invoke`` wrap the maker's events in ``chunk`` events."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import orjson

from perdure.gateway.formats import anthropic
from perdure.gateway.formats.base import CONTENT, END, PREAMBLE, Format, Sign, read_json
from perdure.gateway.sse import Event

# docs.aws.amazon.com, Bedrock API reference, "Converse": errors.
_TYPES = {
    400: "ValidationException", 403: "AccessDeniedException", 404: "ResourceNotFoundException",
    408: "ModelTimeoutException", 429: "ThrottlingException", 503: "ServiceUnavailableException",
}  # fmt: skip
_LAST = "amazon-bedrock-invocationMetrics"  # comes with the last chunk of every maker


def judge(event: Event) -> Sign:
    """See ``Format.judge``."""
    data = read_json(event)
    if event.name.startswith("exception:"):
        kind = event.name.removeprefix("exception:")
        return Sign(begun=False, error={"type": kind, "message": str(data.get("message", ""))})
    if event.name == "chunk":
        return _judge_chunk(data)
    if event.name == "messageStart":
        return PREAMBLE
    if event.name == "messageStop":
        return Sign(may_end=True)
    if event.name == "metadata":
        return END
    if event.name == "contentBlockDelta":
        return Sign(text=_delta(data))
    return CONTENT


def _judge_chunk(data: dict[str, Any]) -> Sign:
    try:
        inner = orjson.loads(b64decode(data["bytes"]))
    except (KeyError, TypeError, ValueError):
        return CONTENT
    if not isinstance(inner, dict):
        return CONTENT
    sign = _judge_makers(inner)
    return sign._replace(end=True) if _LAST in inner else sign


def _judge_makers(inner: dict[str, Any]) -> Sign:
    if isinstance(inner.get("type"), str):  # Anthropic
        # Its last event is followed by nothing but the metrics, which it comes with.
        sign = anthropic.judge(Event("", orjson.dumps(inner).decode()))
        return sign._replace(end=False, may_end=True) if sign.end else sign
    if isinstance(inner.get("contentBlockDelta"), dict):  # Amazon Nova
        return Sign(text=_delta(inner["contentBlockDelta"]))
    for words in ("outputText", "generation"):  # Amazon Titan, Meta Llama
        if isinstance(inner.get(words), str):
            return Sign(text=inner[words])
    outputs = inner.get("outputs")  # Mistral
    if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict):
        return Sign(text=str(outputs[0].get("text") or ""))
    return CONTENT


def _delta(data: dict[str, Any]) -> str:
    delta = data.get("delta")
    text = delta.get("text") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def error(status: int, words: str) -> dict[str, Any]:
    """An error body."""
    kind = "InternalServerException" if status >= 500 else "ValidationException"
    return {"__type": _TYPES.get(status, kind), "message": words}


BEDROCK = Format(
    "bedrock",
    # A model may be named by its ARN, which has slashes.
    re.compile(
        r"/model/(?P<model>.+)/(?P<op>invoke|invoke-with-response-stream|converse|converse-stream)$"
    ),
    own_parts=("system", "tools", "toolConfig"),
    lists=("messages",),
    # Of converse: what a request is filed under.
    neutral=frozenset({"requestMetadata"}),
    streams=frozenset({"invoke-with-response-stream", "converse-stream"}),
    judge=judge,
    error=error,
)
