"""``GET /api/runs/{id}/events``: a run's log, as it grows, as SSE or JSON lines.

Invariants (E1): events are read from the store and go out in the order of their seq without
gaps, so a client that comes back with the last seq it saw, to whatever server, misses nothing and
gets nothing twice; and they are read a page at a time, as fast as the client takes them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from time import monotonic

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from perdure.errors import InvalidInput, StoreUnavailable
from perdure.server.event_view import ends, view
from perdure.server.routes.path import run_id_of
from perdure.server.service import Service
from perdure.server.watch import AWAY
from perdure.server.web.answers import EVENT_STREAM, JSON_LINES, accepts
from perdure.store.rows import LogEvent

PAGE = 100  # events read at a time: what one slow client holds in memory
RETRY_MS = 1000  # when a browser comes back
HEARTBEAT = b": still here\n\n"
FAREWELL = b": this server is going away, come back\n\n"

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Events:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def show(self, request: Request) -> Response:
        """Stream from after ``Last-Event-ID`` or ``?after=`` until the run is final."""
        run_id, after, follow = run_id_of(request), position(request), _follows(request)
        run = await self._service.store.get(run_id, payloads=False)
        final = run.state.final or not follow
        lines = next((t for t in JSON_LINES if accepts(request.headers, t)), None)
        if request.method == "HEAD":
            return Response(headers=_HEADERS, media_type=lines or EVENT_STREAM)
        if lines is not None:
            content = self._lines(run_id, after, final)
            return StreamingResponse(content, headers=_HEADERS, media_type=lines)
        if run.state.final and after >= await self._service.store.last_seq(run_id):
            # A browser's EventSource comes back after every end, until it is told this.
            return Response(status_code=204)
        return self.stream(run_id, after, {}, final=final)

    def stream(
        self, run_id: str, after: int, headers: dict[str, str], *, final: bool = False
    ) -> Response:
        """The SSE answer. ``final``: the run was, before this was called."""
        return StreamingResponse(
            self._sse(run_id, after, final),
            headers={**_HEADERS, **headers},
            media_type=EVENT_STREAM,
        )

    async def _sse(self, run_id: str, after: int, final: bool) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RETRY_MS
        async for page in self.pages(run_id, after, final):
            yield b"".join(map(_sse, page)) if page else HEARTBEAT
        if self._service.draining:
            yield FAREWELL

    async def _lines(self, run_id: str, after: int, final: bool) -> AsyncIterator[bytes]:
        async for page in self.pages(run_id, after, final):
            if page:
                yield b"".join(orjson.dumps(view(event)) + b"\n" for event in page)

    async def pages(self, run_id: str, after: int, final: bool) -> AsyncIterator[list[LogEvent]]:
        """Pages of events until the run is final or the server drains; an empty one is a
        heartbeat."""
        service = self._service
        pause = service.config.server.heartbeat.total_seconds()
        spoke = monotonic()
        async with service.watches.of(run_id) as watch:
            while True:
                away = False
                page: list[LogEvent] = []
                try:
                    page = await service.store.events(run_id, after, PAGE)
                except StoreUnavailable:
                    away = True
                if page:
                    after, spoke = page[-1].seq, monotonic()
                    yield page
                    if len(page) == PAGE:
                        continue
                    if ends(page[-1]):
                        return
                # ``final`` was so before the page was read, so there is nothing after it.
                if (final and not away) or service.draining:
                    return
                silence = spoke + pause - monotonic()
                if silence <= 0:
                    spoke = monotonic()
                    yield []
                    continue
                told = await watch.moved(min(silence, AWAY) if away else silence)
                if not told and not away:
                    final = await self._is_final(run_id)

    async def _is_final(self, run_id: str) -> bool:
        try:
            run = await self._service.store.get(run_id, payloads=False)
        except StoreUnavailable:
            return False
        return run.state.final


def _sse(event: LogEvent) -> bytes:
    shown = view(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.seq,
        shown["type"].encode(),
        orjson.dumps(shown),
    )


def _follows(request: Request) -> bool:
    """``?follow=false``: what there is by now, then the end. Raises InvalidInput."""
    text = request.query_params.get("follow", "true")
    if text not in ("true", "false"):
        raise InvalidInput("follow is true or false.", parameter="follow")
    return text == "true"


def position(request: HTTPConnection) -> int:
    """The seq after which to begin. Raises InvalidInput."""
    given = [request.headers.get("last-event-id"), request.query_params.get("after")]
    for text in given:
        if text is not None and not re.fullmatch("[0-9]{1,18}", text):
            raise InvalidInput(
                f"{text[:40]!r} is no event's seq.",
                hint="Last-Event-ID, or ?after=, is a whole number.",
            )
    return int(next((text for text in given if text is not None), 0))
