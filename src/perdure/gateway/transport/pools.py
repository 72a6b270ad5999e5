"""One warm pool of connections per event loop and configuration (rule T4).

Agents make a client for each call; its own pool would mean a TCP and TLS handshake each time. So
captured calls of *plain* transports go through a shared one. Plain means: no proxy, no socket
path, no HTTP/2, the default trust store and no client certificate. Anything else, and anything
this module does not know, keeps the client's own transport. A limit on connections below httpx's
own default of 100 is meant and kept; higher ones are defaults of a library and are not shared
out: admission to a provider is decided elsewhere.

What a transport was made with cannot be read off it afterwards (an SSLContext does not tell
whether it holds a client certificate), so it is noted as it is made.
"""

from __future__ import annotations

import inspect
import ssl
import threading
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

from perdure.gateway.transport.library import Library
from perdure.gateway.transport.loops import PerLoop

# Idle connections live this long; providers' load balancers keep them for a minute and more.
KEEPALIVE_S = 55.0
MAX_IDLE = 256
MEANT_LIMIT = 100
_KNOWN = frozenset(
    {
        "verify", "cert", "trust_env", "http1", "http2", "limits", "proxy", "uds",
        "local_address", "retries", "socket_options",
    }
)  # fmt: skip


class Pools:
    """The shared transports of one library. Safe from any thread."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._made: WeakKeyDictionary[Any, tuple[dict[str, Any], object]] = WeakKeyDictionary()
        self._by_loop: PerLoop[dict[Hashable, Any]] = PerLoop(dict, _close_all)
        self._blocking: dict[Hashable, Any] = {}

    def note(self, transport: Any, init: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        """Remembers what ``transport`` has just been made with by ``init``."""
        given = inspect.signature(init).bind(transport, *args, **kwargs).arguments
        given.pop("self", None)
        options = plain(given)
        pool = getattr(transport, "_pool", None)
        if options is not None and pool is not None:
            self._made[transport] = (options, pool)

    def pick(self, transport: Any) -> Any:
        """What a synchronous call of ``transport`` is sent through."""
        options = self._options(transport)
        return transport if options is None else self.blocking(options)

    async def pick_async(self, transport: Any) -> Any:
        """What an asynchronous call of ``transport`` is sent through."""
        options = self._options(transport)
        return transport if options is None else await self.of_loop(options)

    def blocking(self, options: dict[str, Any]) -> Any:
        """The process's shared transport for synchronous calls."""
        key = _key(options)
        with self._lock:
            shared = self._blocking.get(key)
            if shared is None:
                shared = self._make(self._library.module.HTTPTransport, options)
                self._blocking[key] = shared
            return shared

    async def of_loop(self, options: dict[str, Any]) -> Any:
        """The running loop's shared transport."""
        transports = await self._by_loop.get()
        key = _key(options)
        shared = transports.get(key)
        if shared is None:
            shared = self._make(self._library.module.AsyncHTTPTransport, options)
            transports[key] = shared
        return shared

    def close(self) -> None:
        """Closes the synchronous ones; the others end with their loops."""
        with self._lock:
            ended, self._blocking = self._blocking, {}
        for transport in ended.values():
            transport.close()

    def _options(self, transport: Any) -> dict[str, Any] | None:
        made = self._made.get(transport)
        if made is None:
            return None
        options, pool = made
        # Somebody may have put another pool (a network backend of their own) in its place.
        return options if getattr(transport, "_pool", None) is pool else None

    def _make(self, cls: Any, options: dict[str, Any]) -> Any:
        limits = self._library.module.Limits(
            max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=KEEPALIVE_S
        )
        return cls(limits=limits, **options)


async def _close_all(transports: dict[Hashable, Any]) -> None:
    for transport in transports.values():
        await transport.aclose()


def plain(given: dict[str, Any]) -> dict[str, Any] | None:
    """The options that a shared transport has to have in common with one made with ``given``;
    None where it cannot be shared."""
    limits = given.get("limits")
    connections = getattr(limits, "max_connections", None)
    if (
        not given.keys() <= _KNOWN
        or given.get("verify", True) is not True
        or given.get("cert") is not None
        or given.get("http2", False)
        or given.get("http1", True) is not True
        or given.get("proxy") is not None
        or given.get("uds") is not None
        or (connections is not None and connections < MEANT_LIMIT)
    ):
        return None
    options: dict[str, Any] = {
        name: given[name] for name in ("trust_env", "local_address", "retries") if name in given
    }
    if given.get("socket_options") is not None:
        options["socket_options"] = tuple(given["socket_options"])
    return options


def _key(options: dict[str, Any]) -> Hashable:
    # The trust store depends on SSL_CERT_FILE and SSL_CERT_DIR, which this reads as OpenSSL does.
    return (*sorted(options.items()), ssl.get_default_verify_paths())
