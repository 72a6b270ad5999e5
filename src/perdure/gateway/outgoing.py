"""What a try sends where that differs from what the SDK asked for: another target of its route, a
bound on its answer, markers of prompt caching."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

# Where a request carries its credential, and what goes with that one alone.
CREDENTIALS = frozenset(
    {"api-key", "authorization", "openai-organization", "openai-project", "x-api-key"}
)
_LENGTH = frozenset({"content-length", "host", "transfer-encoding"})


class Outgoing(NamedTuple):
    """``url``: the whole of it but its query; "" for the SDK's own. ``headers`` take the place of
    those of the same name (in lower case); ``dropped`` are left out. ``body`` None: the SDK's own.
    ``silence``: how many seconds the provider may say nothing; None: as the SDK wants it.
    ``departs``: awaited when the connection is there and the request about to be written, by those
    libraries that tell when."""

    url: str = ""
    headers: Mapping[str, str] = {}
    dropped: frozenset[str] = frozenset()
    body: bytes | None = None
    silence: float | None = None
    departs: Callable[[], Coroutine[Any, Any, None]] | None = None

    def headers_over(self, given: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers to send: ``given`` as changed. Those that a new body or host makes wrong are
        left to whoever sends."""
        gone = self.dropped | self.headers.keys()
        if self.url or self.body is not None:
            gone |= _LENGTH
        kept = [(name, value) for name, value in given.items() if name.lower() not in gone]
        return [*kept, *self.headers.items()]
