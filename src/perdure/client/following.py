"""Following a run's events through whatever happens to the connection: pure.

Invariant: what comes out is the log, each seq once and without gaps. A connection that ends before
the run does, or that skips a seq, is opened again after the last one that was given out.
"""

from __future__ import annotations

import random
from typing import Any

import orjson

from perdure.client.asking import Answer, Call, Lost, Retries, verdict
from perdure.client.events import Event, Status, event

SILENCE = 60.0  # seconds; servers say something every server.heartbeat (15 s)


class Following:
    """One client's way through one run's log. ``after`` is the last seq that was given out;
    ``pause`` is how long to wait before the next connection."""

    def __init__(self, run_id: str, after: int, retries: Retries) -> None:
        self.after = after
        self.ended = False
        self.pause = 0.0
        self._path = f"/api/runs/{run_id}/events"
        self._retries = retries
        self._drops = 0
        self._held = b""
        self._gap = False
        self._final = False  # the last event is a run's end

    def call(self) -> Call:
        """The next connection."""
        self._held, self._gap = b"", False
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.after)}
        return Call("GET", self._path, headers=headers, patience=SILENCE)

    def opened(self, status: int) -> bool:
        """Whether there is a stream to read. False for 204: everything is known."""
        self.ended = status == 204
        return status == 200

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that ``chunk`` completes."""
        *blocks, self._held = (self._held + chunk).split(b"\n\n")
        found: list[Event] = []
        for block in blocks:
            for line in block.split(b"\n"):
                if line.startswith(b"data:") and not self._gap:
                    found += self._given(orjson.loads(line[5:]))
        return found

    def closed(self) -> None:
        """The stream is over: the run is final, the server goes away, or there was a gap."""
        self.ended = self._final and not self._gap
        if not self.ended:
            self._again(None, None)

    def dropped(self, error: Exception) -> None:
        """The connection broke. Raises Unreachable when that happened too often in a row."""
        self._again(Lost(error, sent=True), None)

    def refused(self, answer: Answer) -> None:
        """No stream was opened. Raises what the answer says, unless it may pass."""
        self._again(answer, None)

    def _given(self, document: dict[str, Any]) -> list[Event]:
        seq = document["seq"]
        if seq <= self.after:
            return []
        if seq != self.after + 1:
            self._gap = True  # nothing more of this connection; the next one begins before it
            return []
        self.after, self._drops = seq, 0
        found = event(document)
        self._final = isinstance(found, Status) and found.final
        return [found]

    def _again(self, outcome: Answer | Lost | None, after: float | None) -> None:
        self._drops += 1
        if outcome is None:
            # A server that drains says farewell; its successor may be up already.
            self.pause = self._retries.pause(1, None, random.random()) or self._retries.base
            return
        error, after = verdict(outcome, self._path)
        assert error is not None
        pause = None
        if error.retryable:
            pause = self._retries.pause(self._drops, after, random.random())
        if pause is None:
            raise error
        self.pause = pause
