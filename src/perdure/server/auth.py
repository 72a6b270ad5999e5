"""Who may call. As soon as the store holds any API key, every route but the probes needs one; a
server without keys serves only its own machine.

The last invariant has two halves: :func:`refuse_exposed` refuses to bind to anything but loopback
without a key, and a server on loopback without keys answers only requests that name a loopback
host, so that a web page cannot reach it by DNS rebinding, nor from its own origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from time import monotonic
from urllib.parse import urlsplit

from starlette.types import Scope

from perdure.config import ServerConfig
from perdure.errors import ConfigError, Forbidden, StoreUnavailable, Unauthorized
from perdure.server import keys
from perdure.store.base import Store
from perdure.store.rows import ApiKey

FRESH = 5.0  # seconds: a revoked key works no longer than this
AGAIN = 1.0  # seconds: an unknown key makes the table be read again this often at most
TOUCH = 60.0  # seconds between two notes of a key's last use


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request. ``key`` is the API key's id, None where none is needed; ``scopes``
    are that key's."""

    key: str | None = None
    name: str = ""
    tenant: str = ""
    scopes: tuple[str, ...] = ()


ANYONE = Caller()


def is_loopback(host: str) -> bool:
    """Whether binding to ``host`` can be reached from this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


async def refuse_exposed(server: ServerConfig, store: Store) -> None:
    """Raises ConfigError for a bind beyond loopback without any key, unless ``insecure``."""
    if is_loopback(server.host) or server.insecure or await store.keys():
        return
    raise ConfigError(
        f"server.host is {server.host!r}, which others can reach, and there is no API key.",
        hint="Run: perdure keys create   (or start with --insecure)",
    )


class Access:
    """Checks requests against the store's keys."""

    def __init__(self, store: Store, server: ServerConfig) -> None:
        self._store = store
        self._local = is_loopback(server.host) and not server.insecure
        self._origins = frozenset(server.cors_origins)
        self._keys: Mapping[str, ApiKey] = {}
        self._read_at = float("-inf")
        self._store_time = datetime.min.replace(tzinfo=UTC)  # when they were read
        self._reading = asyncio.Lock()
        self._touched: dict[str, float] = {}
        self._touching: set[asyncio.Task[None]] = set()

    async def admit(self, scope: Scope, needed: str, given: str | None = None) -> Caller:
        """Whoever sends this; ``given`` is a key that is not in the headers. Raises Unauthorized,
        Forbidden, StoreUnavailable."""
        if monotonic() - self._read_at > FRESH:
            await self._read(FRESH)
        headers = scope["headers"]
        if not self._keys:
            if self._local:
                _refuse_foreign(headers, self._origins)
            return ANYONE
        token = given or presented(headers)
        if token is None:
            raise Unauthorized(
                "An API key is needed.", hint="Send it as: Authorization: Bearer pk_…"
            )
        parts = keys.split(token)
        if parts is None:
            raise Unauthorized("That is no API key: keys look like pk_<id>_<secret>.")
        key = self._keys.get(parts[0])
        if key is None and monotonic() - self._read_at > AGAIN:
            await self._read(AGAIN)
            key = self._keys.get(parts[0])
        if key is None or not keys.fits(key, parts[1]) or not keys.usable(key, self._now()):
            raise Unauthorized("The API key is unknown, revoked or expired.")
        if not keys.covers(key.scopes, needed):
            raise Forbidden(
                f"The API key {key.name!r} does not cover {needed}.",
                needed=needed,
                scopes=list(key.scopes),
            )
        self._touch(key.id)
        return Caller(key.id, key.name, scopes=key.scopes)

    async def close(self) -> None:
        """Finish notes of last use that are under way."""
        await asyncio.gather(*self._touching, return_exceptions=True)

    async def _read(self, older_than: float) -> None:
        async with self._reading:
            if monotonic() - self._read_at <= older_than:
                return  # someone else has just read them
            try:
                found, now = await self._store.keys(), await self._store.now()
            except StoreUnavailable:
                # A store that is away does not lock out whoever was let in before.
                if not self._keys:
                    raise
                self._store_time = self._now()
                self._read_at = monotonic()
                return
            self._keys = {key.id: key for key in found}
            self._read_at = monotonic()
            self._store_time = now

    def _now(self) -> datetime:
        return self._store_time + timedelta(seconds=monotonic() - self._read_at)

    def _touch(self, key_id: str) -> None:
        now = monotonic()
        if now - self._touched.get(key_id, float("-inf")) < TOUCH:
            return
        self._touched[key_id] = now
        task = asyncio.get_running_loop().create_task(self._note_use(key_id))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)

    async def _note_use(self, key_id: str) -> None:
        try:
            await self._store.touch_key(key_id)
        except StoreUnavailable:
            self._touched.pop(key_id, None)


def presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in ``Authorization: Bearer`` or ``X-API-Key``."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
        elif name == b"x-api-key" and value:
            return value.decode("latin-1").strip()
    return None


def _refuse_foreign(headers: Iterable[tuple[bytes, bytes]], origins: frozenset[str]) -> None:
    for name, value in headers:
        text = value.decode("latin-1")
        try:
            if name == b"host":
                host = urlsplit(f"//{text}").hostname
            elif name == b"origin" and text not in origins:
                host = urlsplit(text).hostname
            else:
                continue
        except ValueError:  # brackets that enclose no address
            host = None
        if host is None or not is_loopback(host):
            raise Forbidden(
                f"Without API keys this server answers its own machine only; "
                f"{name.decode()} is {text!r}.",
                hint="Call it as http://127.0.0.1, or run: perdure keys create",
            )
