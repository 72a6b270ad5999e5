"""AWS's binary event stream (``application/vnd.amazon.eventstream``), read incrementally: bytes in,
events out.

A message is: its length and its headers' length (4 bytes each, big-endian), a checksum of these,
the headers, the payload, and a checksum of all (Smithy, "Amazon Event Stream Specification").
Checksums are the SDK's to check. What the stream says is wrong comes as an event whose name begins
with ``exception:``.
"""

from __future__ import annotations

import struct

from perdure.gateway.sse import Event

_PRELUDE = struct.Struct(">III")
_CRC = 4
MAX_MESSAGE = 24 * 1024 * 1024  # bytes, the specification's limit
_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # header types of a fixed length
_STRING = 7


class EventStreamReader:
    """``feed`` it chunks. ``lost``: there were bytes that are no message, and there are no events
    any more."""

    __slots__ = ("_held", "lost")

    def __init__(self) -> None:
        self._held = b""
        self.lost = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that ``chunk`` completes."""
        data = self._held + chunk
        events, at = [], 0
        while len(data) - at >= _PRELUDE.size:
            length, head, _ = _PRELUDE.unpack_from(data, at)
            if not _PRELUDE.size + head + _CRC <= length <= MAX_MESSAGE:
                self.lost = True
                break
            if len(data) - at < length:
                break
            body = at + _PRELUDE.size
            headers = _headers(data[body : body + head])
            payload = data[body + head : at + length - _CRC]
            events.append(Event(_name(headers), payload.decode("utf-8", "replace") or "{}"))
            at += length
        self._held = data[at:]
        return events


def _name(headers: dict[str, str]) -> str:
    kind = headers.get(":message-type", "event")
    if kind == "exception":
        return "exception:" + headers.get(":exception-type", "")
    if kind == "error":
        return "exception:" + headers.get(":error-code", "")
    return headers.get(":event-type", "")


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are strings."""
    found, at = {}, 0
    while at + 2 <= len(data):
        end = at + 1 + data[at]
        name, kind = data[at + 1 : end].decode("utf-8", "replace"), data[end]
        at = end + 1
        size = _LENGTHS.get(kind)
        if size is None:  # bytes or a string, with their length before them
            size = int.from_bytes(data[at : at + 2], "big")
            at += 2
        if kind == _STRING:
            found[name] = data[at : at + size].decode("utf-8", "replace")
        at += size
    return found
