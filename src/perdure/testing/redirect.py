"""Redirects hosts below the transport, so that SDKs keep their official base URLs (rule T5: some
of their behaviour is different for any other).

    with ProviderSimulator() as sim, redirect({"api.anthropic.com": sim.url}):
        AsyncAnthropic(api_key="any")  # talks to the simulator

It changes where connections go: the request, its Host header and everything above the pools of
httpx's, httpx2's, aiohttp's and urllib3's connections (capture, tracing) see the official host. The
last two are redirected if they are imported before; botocore leaves the Host header to the
connection, which then says where it goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from perdure.errors import ConfigError

__all__ = ["redirect"]

_POOLS = (
    ("ConnectionPool", "handle_request"),
    ("AsyncConnectionPool", "handle_async_request"),
)


@contextmanager
def redirect(hosts: Mapping[str, str]) -> Iterator[None]:
    """Within it, connections to each host go to its URL (scheme, host and port) instead.

    Process-wide; may be nested, the innermost first. Raises ConfigError for a URL with a path.
    """
    targets = {host.encode(): _origin(url) for host, url in hosts.items()}
    undo: list[Callable[[], None]] = []
    try:
        for name in ("httpcore2", "httpcore"):
            if find_spec(name) is not None:
                module = import_module(name)
                undo += [_wrap(module, cls, method, targets) for cls, method in _POOLS]
        if "aiohttp.connector" in sys.modules:
            undo.append(_wrap_aiohttp({host.lower(): url for host, url in hosts.items()}))
        if "urllib3" in sys.modules:
            undo.append(_wrap_urllib3({host.lower(): url for host, url in hosts.items()}))
        yield
    finally:
        for restore in reversed(undo):
            restore()


def _origin(url: str) -> tuple[bytes, bytes, int]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"A redirect needs a URL of scheme, host and port, not {url!r}.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme.encode(), parts.hostname.encode(), port


def _wrap(
    module: Any, cls_name: str, method: str, targets: Mapping[bytes, tuple[bytes, bytes, int]]
) -> Callable[[], None]:
    cls = getattr(module, cls_name)
    original = getattr(cls, method)

    def handle(pool: Any, request: Any) -> Any:
        target = targets.get(request.url.host)
        if target is not None:
            scheme, host, port = target
            request = module.Request(
                request.method,
                module.URL(scheme=scheme, host=host, port=port, target=request.url.target),
                headers=request.headers,
                content=request.stream,
                extensions=request.extensions,
            )
        return original(pool, request)

    setattr(cls, method, handle)

    def restore() -> None:
        setattr(cls, method, original)

    return restore


def _wrap_aiohttp(targets: Mapping[str, str]) -> Callable[[], None]:
    from aiohttp import BaseConnector
    from yarl import URL

    original = BaseConnector.connect

    def connect(connector: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        target = targets.get(request.url.host)
        if target is not None:
            # Its headers are made; the request line has but the path and the query of this URL.
            at = URL(target)
            request.url = request.url.with_scheme(at.scheme).with_host(at.host).with_port(at.port)
        return original(connector, request, *args, **kwargs)

    patched: Any = connect
    BaseConnector.connect = patched  # type: ignore[method-assign]

    def restore() -> None:
        BaseConnector.connect = original  # type: ignore[method-assign]

    return restore


def _wrap_urllib3(targets: Mapping[str, str]) -> Callable[[], None]:
    from urllib3 import PoolManager

    original = PoolManager.connection_from_host

    def connect(
        manager: Any, host: str | None, port: int | None = None, scheme: str | None = "http",
        pool_kwargs: Any = None,
    ) -> Any:  # fmt: skip
        target = targets.get((host or "").lower())
        if target is not None:
            at = urlsplit(target)
            host, port, scheme = at.hostname, at.port, at.scheme
        return original(manager, host, port, scheme, pool_kwargs)

    patched: Any = connect
    PoolManager.connection_from_host = patched  # type: ignore[method-assign]

    def restore() -> None:
        PoolManager.connection_from_host = original  # type: ignore[method-assign]

    return restore
