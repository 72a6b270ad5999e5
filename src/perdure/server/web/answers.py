"""JSON answers, and which of its forms a client wants."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response

EVENT_STREAM = "text/event-stream"
JSON_LINES = ("application/x-ndjson", "application/jsonl")


class Json(Response):
    """``content`` is JSON values, with :class:`orjson.Fragment` where bytes are JSON already."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def accepts(headers: Headers, media_type: str) -> bool:
    """Whether ``Accept`` names this media type itself (a wildcard asks for nothing special)."""
    for part in headers.get("accept", "").split(","):
        name, *parameters = part.split(";")
        if name.strip().lower() == media_type:
            return not any(p.replace(" ", "").lower() in ("q=0", "q=0.0") for p in parameters)
    return False
