"""A request's body as bytes, whatever it was given as: it is asked for by content, and sent again
at each try."""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp import hdrs, payload
from multidict import CIMultiDict


class _Buffer:
    """A StreamWriter that keeps what it is given."""

    def __init__(self) -> None:
        self.whole = bytearray()

    async def write(self, chunk: Any, **_: Any) -> None:
        self.whole += chunk


async def read_body(
    session: aiohttp.ClientSession, data: Any, json: Any, headers: CIMultiDict[str]
) -> bytes:
    """Reads ``data`` or ``json`` to its end as ``session`` would send it, and says in ``headers``
    what kind of content it is where they do not."""
    if data is None and json is None:
        return b""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    sent: Any = data
    if data is None:
        in_bytes = getattr(session, "_json_serialize_bytes", None)
        text = session.json_serialize(json) if in_bytes is None else in_bytes(json)
        headers.setdefault(hdrs.CONTENT_TYPE, "application/json")
        return text if isinstance(text, bytes) else text.encode()
    if not isinstance(sent, payload.Payload):
        if isinstance(sent, aiohttp.FormData):
            sent = sent()
        else:
            try:
                sent = payload.PAYLOAD_REGISTRY.get(sent, disposition=None)
            except payload.LookupError:
                sent = aiohttp.FormData(sent)()
    buffer: Any = _Buffer()
    await sent.write(buffer)
    content_type = sent.headers.get(hdrs.CONTENT_TYPE) or sent.content_type
    if content_type:
        headers.setdefault(hdrs.CONTENT_TYPE, content_type)
    return bytes(buffer.whole)
