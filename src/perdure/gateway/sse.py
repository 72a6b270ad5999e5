"""Server-sent events, read incrementally: bytes in, events out (WHATWG HTML, section 9.2).

Only ``event`` and ``data`` matter here. Whatever the cuts between the chunks, the events are the
same; bytes after the last blank line are not an event.
"""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """``name`` is "" where the stream gave none."""

    name: str
    data: str


class SSEReader:
    """``feed`` it chunks."""

    __slots__ = ("_after_cr", "_data", "_held", "_name", "_started")

    lost = False  # any bytes are a stream of events

    def __init__(self) -> None:
        self._held = b""
        self._name = ""
        self._data: list[str] = []
        self._started = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that ``chunk`` completes."""
        if not chunk:
            return []
        text = self._held + chunk
        if not self._started:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._held = text
                return []
            self._started = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in text or self._after_cr:
            # A CR ends its line at once; should the next chunk begin with LF, that belongs to it.
            if self._after_cr:
                text = text.removeprefix(b"\n")
            self._after_cr = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._held = lines.pop()
        events = []
        for line in lines:
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            event = Event(self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(text.decode("utf-8", "replace"))
        elif field == b"event":
            self._name = text.decode("utf-8", "replace")
        return None
