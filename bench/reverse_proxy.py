"""The least that a proxy in Python does: ``python -m bench.reverse_proxy PORT UPSTREAM``. Every
request goes on over one warm httpx2 pool, and comes back piece by piece; nothing is looked at."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import httpx2
import uvicorn

HOP = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding"})


class Reverse:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
        self._pool = httpx2.AsyncHTTPTransport(limits=limits)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(name, value) for name, value in scope["headers"] if name not in HOP]
        url = self._upstream + scope["path"]
        request = httpx2.Request(scope["method"], url, headers=headers, content=body)
        response = await self._pool.handle_async_request(request)
        kept = [
            (name, value) for name, value in response.headers.raw
            if name.lower() not in (b"transfer-encoding", b"connection")
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
        async for piece in aiter(response.stream):  # type: ignore[arg-type]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await response.aclose()
        await send({"type": "http.response.body", "body": b""})


def main(port: int, upstream: str) -> None:
    # Its protocol has to be said: asyncio switches Nagle's algorithm off by it.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    print("ready", flush=True)
    app = Reverse(upstream)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[sock]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
