"""aiohttp's exceptions in neutral words, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from perdure.gateway.outcome import FailureKind, SendFailed

# Those that a body can break off with, and that are made of a message alone.
_IN_A_BODY: dict[str, Callable[[str], Exception]] = {
    "ClientConnectionError": aiohttp.ClientConnectionError,
    "ClientOSError": aiohttp.ClientOSError,
    "ClientPayloadError": aiohttp.ClientPayloadError,
    "ServerDisconnectedError": aiohttp.ServerDisconnectedError,
    "ServerTimeoutError": aiohttp.ServerTimeoutError,
    "SocketTimeoutError": aiohttp.SocketTimeoutError,
    "TimeoutError": asyncio.TimeoutError,
}
# The request itself is what is wrong.
_OUR_OWN = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects)


def failed(error: Exception) -> SendFailed | None:
    """None when it is none of the transport's."""
    if not isinstance(error, aiohttp.ClientError | asyncio.TimeoutError | ConnectionError):
        return None
    kind: FailureKind = "broken"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        kind = "connect"
    elif isinstance(error, asyncio.TimeoutError):
        kind = "timeout"
    elif isinstance(error, _OUR_OWN):
        kind = "local"
    return SendFailed(kind, type(error).__name__, str(error))


def exception(failure: SendFailed) -> Exception:
    """What aiohttp raises for a failure; ClientPayloadError where it has nothing of that name."""
    return _IN_A_BODY.get(failure.error, aiohttp.ClientPayloadError)(failure.message)
