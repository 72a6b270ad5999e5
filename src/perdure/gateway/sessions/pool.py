"""One connector per event loop for captured calls of *plain* sessions (rule T4), and connectors
that outlive their sessions.

Plain means: a TCPConnector made with nothing that says where and as whom to connect, by aiohttp or
by a subclass that changes no behaviour (google-genai's). What a request itself carries (its
SSLContext, its proxy) is part of aiohttp's key for a connection, so these are never mixed up. Other
connectors are used as they are; if their session is closed while a stream is still being recorded,
they are closed when that has ended (rule C8).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import aiohttp

from perdure.gateway.transport.lanes import KEEPALIVE_S
from perdure.gateway.transport.loops import PerLoop
from perdure.gateway.transport.pools import MEANT_LIMIT

# Set while a captured call is sent.
sending: ContextVar[bool] = ContextVar("perdure_aiohttp_sending", default=False)

# Options that say how, not where and as whom.
_ANY = frozenset(
    {
        "enable_cleanup_closed", "happy_eyeballs_delay", "interleave", "keepalive_timeout", "limit",
        "loop", "ssl_shutdown_timeout", "timeout_ceil_threshold", "ttl_dns_cache",
        "dns_cache_max_size",
    }
)  # fmt: skip
_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(aiohttp.TCPConnector.__init__).parameters.items()
}


class Connectors:
    """Belongs to the patch, which calls these methods in place of aiohttp's."""

    def __init__(self) -> None:
        self._plain: WeakSet[Any] = WeakSet()
        self._shared: PerLoop[aiohttp.TCPConnector] = PerLoop(_make, _close)
        self._in_use: Counter[aiohttp.BaseConnector] = Counter()
        self._leaving: set[aiohttp.BaseConnector] = set()

    def note(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``TCPConnector.__init__``."""

        def __init__(connector: Any, *args: Any, **kwargs: Any) -> None:
            original(connector, *args, **kwargs)
            # Its arguments are keywords only, which aiohttp has checked by now.
            if not args and is_plain(type(connector), kwargs):
                self._plain.add(connector)

        return __init__

    def connect(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``BaseConnector.connect``."""

        async def connect(connector: Any, *args: Any, **kwargs: Any) -> Any:
            if sending.get() and connector in self._plain:
                connector = await self._shared.get()
            return await original(connector, *args, **kwargs)

        return connect

    def close(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For ``ClientSession.close``."""

        async def close(session: aiohttp.ClientSession) -> None:
            connector = session.connector
            if connector is not None and session.connector_owner and connector in self._in_use:
                self._leaving.add(connector)
                session.detach()
            await original(session)

        return close

    def hold(self, session: aiohttp.ClientSession) -> Callable[[], Any]:
        """Keeps the session's connector open until the coroutine function that this returns is
        called."""
        connector = session.connector
        if connector is None or connector in self._plain:
            return _nothing
        self._in_use[connector] += 1

        async def release() -> None:
            self._in_use[connector] -= 1
            if not self._in_use[connector]:
                del self._in_use[connector]
                if connector in self._leaving:
                    self._leaving.discard(connector)
                    await connector.close()

        return release


def is_plain(cls: type, options: dict[str, Any]) -> bool:
    """Whether a connector of this class, made with these options, may be stood in for."""
    before = cls.__mro__[: cls.__mro__.index(aiohttp.TCPConnector)]
    own = {name for one in before for name in vars(one)}
    limit = options.get("limit", MEANT_LIMIT)
    return (
        "__init__" not in own
        and all(name.startswith("__") for name in own)
        and (not limit or limit >= MEANT_LIMIT)
        and all(name in _ANY or value == _DEFAULTS[name] for name, value in options.items())
    )


def _make() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)


async def _close(connector: aiohttp.TCPConnector) -> None:
    await connector.close()


async def _nothing() -> None:
    pass
