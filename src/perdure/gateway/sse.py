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

    __slots__ = ("_data", "_held", "_name", "_started")

    def __init__(self) -> None:
        self._held = b""
        self._name = ""
        self._data: list[str] = []
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that ``chunk`` completes."""
        text = self._held + chunk
        if not self._started and text:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._held = text
                return []
            self._started = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        # A CR at the very end may be half of a CRLF: it stays until the next chunk.
        ending = text.endswith(b"\r")
        whole = text[:-1] if ending else text
        lines = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._held = lines.pop() + (b"\r" if ending else b"")
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
