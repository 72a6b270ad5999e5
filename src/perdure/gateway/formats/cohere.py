"""Cohere's own API: chat (v1, v2), embed and rerank."""

from __future__ import annotations

import re

from perdure.gateway.formats.base import CONTENT, END, PREAMBLE, Format, Sign, read_json
from perdure.gateway.sse import Event


def judge(event: Event) -> Sign:
    """See ``Format.judge``. Of v2; v1 streams JSON lines, which are not looked into."""
    data = read_json(event)
    kind = data.get("type") or event.name
    if kind == "message-start":
        return PREAMBLE
    if kind == "message-end":
        delta = data.get("delta")
        failed = isinstance(delta, dict) and delta.get("finish_reason") == "ERROR"
        return Sign(begun=False, error=delta) if failed else END
    if kind == "content-delta":
        delta = data.get("delta") or {}
        content = (delta.get("message") or {}).get("content") or {}
        return Sign(text=str(content.get("text", "")))
    return CONTENT


COHERE = Format(
    "cohere",
    re.compile(r"/(?P<op>v[12]/(?:chat|embed|rerank))$"),
    own_parts=("tools",),
    lists=("messages", "chat_history"),
    judge=judge,
)
