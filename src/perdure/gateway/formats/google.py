"""Google's Gemini API and Vertex AI: the model and the operation are in the path."""

from __future__ import annotations

import re
from typing import Any

from perdure.gateway.formats.base import Format, Sign, read_json
from perdure.gateway.sse import Event

# google.rpc.Code names for HTTP statuses.
_CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_STREAMS = frozenset({"streamGenerateContent", "streamRawPredict"})


def judge(event: Event) -> Sign:
    """See ``Format.judge``. There is no last event: a finish reason, or a refused prompt, is."""
    data = read_json(event)
    error = data.get("error")
    if error:
        return Sign(begun=False, error=error if isinstance(error, dict) else {"message": error})
    text, finished = "", "blockReason" in (data.get("promptFeedback") or {})
    candidates = data.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        content = candidate.get("content") or {}
        for part in content.get("parts") or ():
            if isinstance(part.get("text"), str) and not part.get("thought"):
                text += "" if candidate.get("index") else part["text"]
        finished = finished or bool(candidate.get("finishReason"))
    return Sign(text=text, may_end=finished)


def error(status: int, words: str) -> dict[str, Any]:
    """An error body."""
    code = _CODES.get(status, "UNKNOWN")
    return {"error": {"code": status, "message": words, "status": code}}


GENERATE = Format(
    "google.generate",
    re.compile(
        r"/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?P<op>generateContent"
        r"|streamGenerateContent|embedContent|batchEmbedContents|predict)$"
    ),
    own_parts=("systemInstruction", "system_instruction", "tools"),
    lists=("contents",),
    neutral=frozenset({"labels"}),
    streams=_STREAMS,
    judge=judge,
    error=error,
)
