"""What the gateway needs to know of a transport library: httpx and httpx2 have the same API and
unrelated classes, so all but two thin adapters is written once against this."""

from __future__ import annotations

from typing import Any, Protocol

from perdure.gateway.outcome import FailureKind, SendFailed
from perdure.gateway.transport.body import AsyncBody, SyncBody


class Library(Protocol):
    """One of the two."""

    @property
    def module(self) -> Any:
        """``httpx`` or ``httpx2``."""

    def async_stream(self, body: AsyncBody) -> Any:
        """``body`` as this library's AsyncByteStream."""

    def sync_stream(self, body: SyncBody) -> Any:
        """``body`` as this library's SyncByteStream."""


def plain_headers(headers: Any) -> dict[str, str]:
    """By name, in lower case: the libraries' own look through all of them for each."""
    found: dict[str, str] = {}
    encoding = headers.encoding
    for name, value in headers.raw:
        key, text = name.decode(encoding).lower(), value.decode(encoding)
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def failed(library: Library, error: Exception) -> SendFailed | None:
    """A transport's exception in neutral words; None when it is none of a transport's."""
    module = library.module
    if not isinstance(error, module.TransportError | module.DecodingError):
        return None
    kind: FailureKind = "broken"
    if isinstance(error, module.ConnectError | module.ConnectTimeout):
        kind = "connect"
    elif isinstance(error, module.TimeoutException):
        kind = "timeout"
    elif isinstance(error, module.LocalProtocolError | module.UnsupportedProtocol):
        kind = "local"
    return SendFailed(kind, type(error).__name__, str(error))


def exception(library: Library, failure: SendFailed) -> Exception:
    """The library's own exception for a failure; RemoteProtocolError where it has none of that
    name (it is looked up among its transport errors only, never imported)."""
    module = library.module
    cls = getattr(module, failure.error, None)
    known = module.TransportError | module.DecodingError
    if not isinstance(cls, type) or not issubclass(cls, known):
        cls = module.RemoteProtocolError
    error: Exception = cls(failure.message)
    return error
