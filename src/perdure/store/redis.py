"""Shared documents in Redis (extra ``redis``), for those who limit more calls than their database
is to hear of.

A swap is one script, which Redis runs alone: nobody waits for a lock. All keys carry one hash tag,
so that a cluster keeps them in one slot. Redis may forget (a flush, a restart without its file, a
failover): a marker beside the documents says since when it remembers. It must not evict
(``maxmemory-policy noeviction``), and a replica that takes over has to be up to date
(``min-replicas-to-write``): what a lagging one lacks, nobody notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from perdure.core.shared import LONGEST, TOPIC, Document, Swap, Swapped, changed, told
from perdure.errors import ConfigError, PerdureError, StoreUnavailable

log = logging.getLogger("perdure.store")

LINKS = 16  # connections that swaps share
HEALTH_S = 10  # how often a silent connection is asked whether it is there
PAUSES_S = (0.05, 0.1, 0.25, 0.5, 1.0)  # before listening is tried again; the last one repeats
LATER = "Calls wait for their quota meanwhile. Is it up, and is that its address?"

# KEYS: the marker, then the documents, those to change first. ARGV: how many to change, the version
# and the new body of each, the channel, what to tell there. A document is kept as version:body;
# versions are compared as texts, since a number of Lua's has 53 bits.
_SWAP = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = redis.call('MGET', unpack(KEYS))
if not found[1] then
  found[1] = string.format('%.0f', now)
  redis.call('SET', KEYS[1], found[1])
end
local count = tonumber(ARGV[1])
local fits = 1
for i = 1, count do
  local document = found[i + 1]
  local version = document and string.match(document, '^%d+') or '0'
  if version ~= ARGV[2 * i] then fits = 0 end
end
if fits == 1 then
  for i = 1, count do
    local version, body = ARGV[2 * i], ARGV[2 * i + 1]
    if body == '' then
      if version ~= '0' then redis.call('DEL', KEYS[i + 1]) end
      found[i + 1] = false
    else
      version = version == '0' and now or version + 1
      found[i + 1] = string.format('%.0f', version) .. ':' .. body
      redis.call('SET', KEYS[i + 1], found[i + 1])
    end
  end
  for i = 2 * count + 3, #ARGV do redis.call('PUBLISH', ARGV[2 * count + 2], ARGV[i]) end
end
return {time[1], time[2], fits, found}
"""
_AWAY = (
    ConnectionError,
    TimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterError,
    TryAgainError,
)
_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
# Errors of the server that have no class of their own.
_AWAY_CODES = ("MISCONF", "NOREPLICAS", "LOADING", "BUSY", "UNKILLABLE")


class RedisShared:
    """A ``Shared`` that belongs to the event loop that opens it.

    ``url``: ``redis://`` or, over TLS, ``rediss://user:password@host:6379/0``, with the options of
    redis-py's ``from_url``; ``unix://path`` for a socket. ``prefix`` begins all keys: one for each
    installation. ``timeout`` is for an answer, ``connect_timeout`` for a connection. Raises
    ConfigError for an address that is none."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "perdure",
        timeout: timedelta = timedelta(seconds=5),
        connect_timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        self.url = _shown(url)
        self._tag = f"{{{prefix}}}"
        self._options: dict[str, Any] = {
            "socket_timeout": timeout.total_seconds(),
            "socket_connect_timeout": connect_timeout.total_seconds(),
            "socket_keepalive": True,
            # A connection that the server has closed is made anew; repeating a swap is safe.
            "retry": Retry(ConstantBackoff(0.02), 1),
            "protocol": 2,
            "decode_responses": False,
        }
        try:
            self._pool = BlockingConnectionPool.from_url(
                url, max_connections=LINKS, timeout=timeout.total_seconds(), **self._options
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.url} is no address of a Redis server: {error}.",
                hint="Write redis://host:6379/0, or rediss://user:password@host:6379/0.",
            ) from None
        self._full_url = url
        self._client = Redis(connection_pool=self._pool)
        self._swap = self._client.register_script(_SWAP)
        self._shift = 0.0
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and begin to listen. Raises StoreUnavailable, ConfigError."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(
            self._keep_listening(ready), name="perdure-redis-listen"
        )
        try:
            await ready
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._pool.disconnect()

    async def swap(self, reads: Sequence[str], swaps: Sequence[Swap] = ()) -> Swapped:
        """See ``Shared.swap``."""
        if self._task is None:
            raise StoreUnavailable("The connection to Redis is not open.")
        keys = list(dict.fromkeys((*changed(swaps), *reads)))
        given: list[bytes | str | int] = [len(swaps)]
        for swap in swaps:
            given += (swap.version, swap.body)
        given += (self._channel, *told(swaps))
        names = [f"{self._tag}:since", *(f"{self._tag}/{key}" for key in keys)]
        try:
            seconds, micros, done, found = await self._swap(keys=names, args=given)
        except (RedisError, OSError) as error:
            raise self._translate(error) from error
        now = int(seconds) + int(micros) / 1_000_000 + self._shift
        fresh = now - int(found[0]) / 1_000_000 < LONGEST
        documents = {key: _document(text) for key, text in zip(keys, found[1:], strict=True)}
        return Swapped(now, bool(done), documents, fresh)

    async def listed(self, prefix: str, limit: int = 1000) -> Swapped:
        """See ``Shared.listed``. It searches through all keys of the server, a few at a time."""
        start = f"{self._tag}/"
        try:
            names = {
                name.decode().removeprefix(start)
                async for name in self._client.scan_iter(_literal(start + prefix) + "*", count=1000)
            }
        except (RedisError, OSError) as error:
            raise self._translate(error) from error
        found = await self.swap(sorted(names)[:limit])
        there = {key: document for key, document in found.documents.items() if document.version}
        return found._replace(documents=there)

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        """See ``Store.listen``; there is one topic, ``core.shared.TOPIC``."""
        callbacks = self._listeners.setdefault(topic, [])
        callbacks.append(callback)

        def undo() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return undo

    def shift_clock(self, by: timedelta) -> None:
        """For tests: this object's view of the server's clock moves on by ``by``."""
        self._shift += by.total_seconds()

    @property
    def _channel(self) -> str:
        return f"{self._tag}:{TOPIC}"

    async def _keep_listening(self, ready: asyncio.Future[None]) -> None:
        tries = 0
        while True:
            client = Redis.from_url(self._full_url, health_check_interval=HEALTH_S, **self._options)
            try:
                async with client, client.pubsub() as link:
                    await link.subscribe(self._channel)
                    while True:
                        message = await link.get_message(timeout=HEALTH_S)
                        if message is None:
                            continue
                        tries = 0
                        if message["type"] == "message":
                            self._tell(message["data"].decode())
                        elif not ready.done():
                            ready.set_result(None)
                        else:  # subscribed again: something may have been missed
                            self._tell("*")
            except (RedisError, OSError) as error:
                if not ready.done():
                    ready.set_exception(self._translate(error))
                    return
                log.debug("Cannot listen to Redis: %s", error)
            await asyncio.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1

    def _tell(self, payload: str) -> None:
        for callback in self._listeners.get(TOPIC, ()):
            asyncio.get_running_loop().call_soon(callback, payload)

    def _translate(self, error: Exception) -> Exception:
        """What an error is to a caller. A mistake in the script stays what it is."""
        if isinstance(error, PerdureError):
            return error
        text = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, _REFUSED):
            return ConfigError(
                f"Redis at {self.url} refuses us: {text}.", hint="Check user and password."
            )
        if isinstance(error, _AWAY) or text.startswith(_AWAY_CODES):
            return StoreUnavailable(f"Redis at {self.url} cannot serve us: {text}.", hint=LATER)
        return error


def _document(text: bytes | None) -> Document:
    if text is None:
        return Document()
    version, _, body = text.partition(b":")
    return Document(int(version), body)


def _shown(url: str) -> str:
    """For people: without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _literal(text: str) -> str:
    """For a pattern of Redis, so that it means itself."""
    return "".join(f"\\{c}" if c in "\\*?[]^-" else c for c in text)
