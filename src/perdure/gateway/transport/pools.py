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
from os import environ
from typing import Any
from weakref import WeakKeyDictionary

from perdure.gateway.transport.lanes import BlockingLanes, Lanes
from perdure.gateway.transport.library import Library
from perdure.gateway.transport.loops import PerLoop

MEANT_LIMIT = 100
_KNOWN = frozenset(
    {
        "verify", "cert", "trust_env", "http1", "http2", "limits", "proxy", "uds",
        "local_address", "retries", "socket_options",
    }
)  # fmt: skip


class Pools:
    """The shared connections of one library. Safe from any thread."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._made: WeakKeyDictionary[Any, tuple[dict[str, Any], object]] = WeakKeyDictionary()
        self._by_loop: PerLoop[dict[Hashable, Lanes]] = PerLoop(dict, _close_all)
        self._blocking: dict[Hashable, BlockingLanes] = {}

    def note(self, transport: Any, init: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        """Remembers what ``transport`` has just been made with by ``init``."""
        given = inspect.signature(init).bind(transport, *args, **kwargs).arguments
        given.pop("self", None)
        options = plain(given)
        pool = getattr(transport, "_pool", None)
        if options is not None and pool is not None:
            self._made[transport] = (options, pool)

    async def of(self, transport: Any) -> Lanes | None:
        """What an asynchronous call of ``transport`` is sent through; None: its own pool."""
        options = self._options(transport)
        return None if options is None else await self.shared(options)

    def blocking_of(self, transport: Any) -> BlockingLanes | None:
        """What a synchronous call of ``transport`` is sent through; None: its own pool."""
        options = self._options(transport)
        return None if options is None else self.blocking(options)

    async def shared(self, options: dict[str, Any]) -> Lanes:
        """The running loop's."""
        by_options = await self._by_loop.get()
        key = _key(options)
        lanes = by_options.get(key)
        if lanes is None:
            lanes = by_options[key] = Lanes(self._library, options)
        return lanes

    def blocking(self, options: dict[str, Any]) -> BlockingLanes:
        """The process's, for synchronous calls."""
        key = _key(options)
        with self._lock:
            lanes = self._blocking.get(key)
            if lanes is None:
                lanes = self._blocking[key] = BlockingLanes(self._library, options)
            return lanes

    def close(self) -> None:
        """Closes the synchronous ones; the others end with their loops."""
        with self._lock:
            ended, self._blocking = self._blocking, {}
        for lanes in ended.values():
            lanes.close()

    def _options(self, transport: Any) -> dict[str, Any] | None:
        made = self._made.get(transport)
        if made is None:
            return None
        options, pool = made
        # Somebody may have put another pool (a network backend of their own) in its place.
        return options if getattr(transport, "_pool", None) is pool else None


async def _close_all(by_options: dict[Hashable, Lanes]) -> None:
    for lanes in by_options.values():
        await lanes.close()


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
        name: given[name] for name in ("local_address", "retries", "trust_env") if name in given
    }
    if given.get("socket_options") is not None:
        options["socket_options"] = tuple(given["socket_options"])
    return options


_PATHS = ssl.get_default_verify_paths()


def _key(options: dict[str, Any]) -> Hashable:
    # What the trust store depends on, as OpenSSL reads it when it is loaded.
    trusted = environ.get(_PATHS.openssl_cafile_env), environ.get(_PATHS.openssl_capath_env)
    return (*options.items(), trusted)
