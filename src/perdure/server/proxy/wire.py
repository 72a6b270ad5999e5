"""What the proxy sends its requests with."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import httpx2

from perdure.gateway.httpx2_transport import library
from perdure.gateway.transport.departing import Departs, tracing
from perdure.gateway.transport.lanes import Lanes

CONNECT_S = 10.0  # connecting takes no longer anywhere


class Wire:
    """Of one event loop."""

    def __init__(self) -> None:
        self._lanes = Lanes(library, {})

    async def send(
        self,
        method: str,
        url: str,
        query: bytes,
        headers: Any,
        body: bytes,
        silence: float,
        departs: Departs | None = None,
    ) -> httpx2.Response:
        """One request. ``silence``: how many seconds nothing may come; ``departs`` is awaited when
        the request is about to be written. The response has to be closed. Raises httpx2's
        errors."""
        where = _url(url) if not query else httpx2.URL(f"{url}?{query.decode('latin-1')}")
        connect = min(CONNECT_S, silence)
        extensions: dict[str, Any] = {
            "timeout": {"connect": connect, "read": silence, "write": silence, "pool": connect}
        }
        if departs is not None:
            extensions["trace"] = tracing(departs, None)
        request = httpx2.Request(
            method, where, headers=headers, content=body, extensions=extensions
        )
        handle = httpx2.AsyncHTTPTransport.handle_async_request
        response: httpx2.Response = await self._lanes.send(request, handle)
        return response

    async def close(self) -> None:
        """All connections, those in use too."""
        await self._lanes.close()


_url = lru_cache(maxsize=256)(httpx2.URL)
