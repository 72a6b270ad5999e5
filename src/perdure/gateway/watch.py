"""What a stream has said so far: whether the answer has begun, is complete, or failed.

Sans-IO: chunks in, words out. A stream is complete when its format's last event came; a
connection that closes cleanly before is a broken stream (proxies and load balancers do that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perdure.gateway.eventstream import EventStreamReader
from perdure.gateway.formats import Sign
from perdure.gateway.sse import Event, SSEReader

SSE = "text/event-stream"
_READERS: dict[str, Callable[[], SSEReader | EventStreamReader]] = {
    SSE: SSEReader,
    "application/vnd.amazon.eventstream": EventStreamReader,
}


class Watch:
    """``kind``: the stream's content type. What no reader knows, or ``judge`` None, is opaque: it
    begins with its first byte and its end is the connection's."""

    __slots__ = ("_judge", "_reader", "begun", "ended", "error", "may_end", "opaque")

    def __init__(self, judge: Callable[[Event], Sign] | None, kind: str = SSE) -> None:
        make = _READERS.get(kind)
        if make is None:
            judge = None
        self._judge = judge
        self._reader = (make or SSEReader)()
        self.begun = False
        self.ended = False
        self.opaque = judge is None
        self.may_end = judge is None
        self.error: Mapping[str, Any] | None = None

    def feed(self, chunk: bytes) -> str:
        """Takes note of ``chunk``; returns the words in it."""
        if self._judge is None:
            self.begun = self.begun or bool(chunk)
            return ""
        words = ""
        for event in self._reader.feed(chunk):
            if not event.data:
                continue
            sign = self._judge(event)
            self.begun = self.begun or sign.begun
            self.ended = self.ended or sign.end
            self.may_end = self.may_end or sign.may_end
            if sign.error is not None and self.error is None:
                self.error = sign.error
            words += sign.text
        if self._reader.lost:
            self._judge = None
            self.opaque = self.may_end = self.begun = True
        return words

    @property
    def final(self) -> bool:
        """Nothing that matters can follow."""
        return self.ended or self.error is not None

    @property
    def complete(self) -> bool:
        """It would be all right if the connection closed now."""
        return self.final or self.may_end
