"""What agent code says to its run: ``sleep``, ``wait_for``, ``emit``, ``now``, ``uuid4``,
``idempotency_key``, ``current``.

Each works in async code (await it) and in sync code (the ``_blocking`` form is chosen by the
caller's surroundings where a verb has no need to wait). Outside a run they raise BoundaryError.
"""

from __future__ import annotations

import asyncio
import uuid as _uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import orjson

from perdure import codec
from perdure.core import trace
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind, Promise
from perdure.errors import BoundaryError, TooLarge
from perdure.runtime.crossing import refuse_loop_thread
from perdure.runtime.place import Place
from perdure.runtime.ticket import Live
from perdure.runtime.waiting import signal_document, signal_payload
from perdure.store.blobs import MAX_INLINE
from perdure.store.rows import Wait


@dataclass(frozen=True, slots=True)
class Current:
    """The run that the calling code belongs to. ``attempt`` counts from 1 and rises only with
    failures; ``epoch`` rises with every claim. ``trace_id`` (W3C, 32 hex digits) is that of whoever
    started the run, and of the runs that it starts; ``traceparent`` is the header by which to hand
    it on."""

    run_id: str
    agent: str
    attempt: int
    epoch: int
    tenant: str
    session: str | None
    depth: int
    generation: int
    labels: dict[str, str]
    created_at: datetime
    deadline_at: datetime | None
    replaying: bool
    trace_id: str
    traceparent: str


def _place(verb: str) -> Place:
    place = current_boundary.get()
    if place is None:
        raise BoundaryError(
            f"perdure.{verb} was called outside a run.",
            hint="It works in the code of an agent that Perdure executes.",
        )
    return cast("Place", place)


def in_run() -> bool:
    """Whether the calling code is executed by Perdure."""
    return current_boundary.get() is not None


def current() -> Current:
    """Facts about the run. Raises BoundaryError outside one."""
    attempt = _place("current()").attempt
    lease = attempt.lease
    return Current(
        run_id=lease.run_id,
        agent=lease.agent,
        attempt=lease.attempts + 1,
        epoch=lease.epoch,
        tenant=lease.tenant,
        session=lease.session,
        depth=lease.depth,
        generation=lease.generation,
        labels=dict(lease.labels),
        created_at=lease.created_at,
        deadline_at=lease.deadline_at,
        replaying=attempt.replaying,
        trace_id=trace.trace_id(lease.run_id, lease.trace),
        traceparent=trace.onward(lease.run_id, lease.trace),
    )


async def sleep(duration: timedelta | float) -> None:
    """Sleep for ``duration`` (seconds or timedelta), counted from the first time this was
    reached. A long sleep parks the run; it holds no worker and survives restarts."""
    place, seconds = _place("sleep"), _seconds(duration)
    _refuse_in_once(place, "sleep")
    await _on_loop(place, _sleep, seconds)


def sleep_blocking(duration: timedelta | float) -> None:
    """``sleep`` for synchronous agent code."""
    place, seconds = _place("sleep"), _seconds(duration)
    _refuse_in_once(place, "sleep")
    _blocking(place, "sleep", _sleep, seconds)


async def _sleep(place: Place, foreign: bool, seconds: float) -> None:
    attempt = place.attempt
    content = digest(repr(seconds).encode())
    ticket = await attempt.admit(
        place, Kind.SLEEP, "sleep", content, Promise.READS, foreign=foreign
    )
    if not ticket.live:
        return
    live = cast("Live", ticket)
    if live.intended is not None:
        until = datetime.fromisoformat(orjson.loads(live.intended_value)["until"])
    else:
        until = attempt.now() + timedelta(seconds=seconds)
    long = (until - attempt.now()) > attempt.policy.warm_sleep
    if long and live.intended is None:
        await live.intent(orjson.dumps({"until": until.isoformat()}))
    await attempt.waiting.until(live, Wait("sleep", until=until), long=long, foreign=foreign)
    await live.done(b"null")


async def wait_for(
    signal: str, *, timeout: timedelta | float | None = None, type: Any = None
) -> Any:
    """The payload of the next signal of this name, read as ``type``. Signals sent before are
    kept. Raises TimeoutError when ``timeout`` (seconds or timedelta) passes first."""
    place = _place("wait_for")
    _refuse_in_once(place, "wait_for")
    payload = await _on_loop(place, _wait_for, signal, _seconds(timeout))
    return _payload(signal, payload, type)


def wait_for_blocking(
    signal: str, *, timeout: timedelta | float | None = None, type: Any = None
) -> Any:
    """``wait_for`` for synchronous agent code."""
    place = _place("wait_for")
    _refuse_in_once(place, "wait_for")
    payload = _blocking(place, "wait_for", _wait_for, signal, _seconds(timeout))
    return _payload(signal, payload, type)


def _payload(signal: str, payload: bytes | None, type: Any) -> Any:
    if payload is None:
        raise TimeoutError(f"no signal {signal!r} came in time")
    return codec.decode(payload, type, what=f"payload of signal {signal!r}")


async def _wait_for(
    place: Place, foreign: bool, signal: str, seconds: float | None
) -> bytes | None:
    attempt = place.attempt
    ticket = await attempt.admit(
        place, Kind.SIGNAL, signal, digest(b""), Promise.READS, foreign=foreign
    )
    if not ticket.live:
        return await attempt.opened(signal_payload(ticket.value))
    live = cast("Live", ticket)
    until = None
    if live.intended is not None:
        until = datetime.fromisoformat(orjson.loads(live.intended_value)["until"])
    elif seconds is not None:
        until = attempt.now() + timedelta(seconds=seconds)
        await live.intent(orjson.dumps({"until": until.isoformat()}))
    found = await attempt.waiting.signal(
        live, signal, until=until, reason="signal", foreign=foreign
    )
    document = signal_document(found)
    try:
        await live.done(document)
    except asyncio.CancelledError:
        attempt.waiting.give_back(found)
        raise
    return await attempt.opened(signal_payload(document))


def emit(name: str, data: Any = None) -> None:
    """Append an event of the agent's own to the run's log: once, however often it is replayed.
    Outside a run it does nothing. Raises TooLarge for over 256 KiB of data."""
    place = current_boundary.get()
    if place is None:
        return
    value = codec.encode(data, what=f"data of event {name!r}")
    if len(value) > MAX_INLINE:
        raise TooLarge(
            f"The data of event {name!r} is {len(value)} bytes; an event holds {MAX_INLINE}.",
            hint="Return it from a step, which can be any size, and emit where it is.",
        )
    _note(cast("Place", place), Kind.EMIT, name, digest(value), value)


def now() -> datetime:
    """The time, as it was when this was first reached (aware, UTC)."""
    place = _place("now()")
    value = orjson.dumps(place.attempt.now())
    return datetime.fromisoformat(orjson.loads(_note(place, Kind.CLOCK, "now", digest(b""), value)))


def uuid4() -> _uuid.UUID:
    """A random UUID, the same in every attempt."""
    place = _place("uuid4()")
    value = orjson.dumps(str(_uuid.uuid4()))
    recorded = _note(place, Kind.RANDOM, "uuid4", digest(b""), value)
    return _uuid.UUID(orjson.loads(recorded))


def idempotency_key() -> str:
    """A key that is the same whenever the step or tool it is called in runs again: hand it to
    the service that the step calls."""
    place = _place("idempotency_key()")
    return f"{place.attempt.life}-{place.scope.hex() or 'run'}"


def _note(place: Place, kind: str, name: str, content: bytes, value: bytes) -> bytes:
    here = place.here()
    attempt = here.attempt
    try:
        on_loop = asyncio.get_running_loop() is attempt.loop
    except RuntimeError:
        on_loop = False
    if on_loop:
        return attempt.note(here, kind, name, content, value)

    async def there() -> bytes:
        return attempt.note(here, kind, name, content, value)

    noted: bytes = attempt.crossing.ask(there())
    return noted


async def _on_loop(place: Place, verb: Any, *args: Any) -> Any:
    here = place.here()
    attempt = here.attempt
    if asyncio.get_running_loop() is attempt.loop:
        return await verb(here, False, *args)
    return await attempt.crossing.ask_async(verb(here, True, *args))


def _blocking(place: Place, what: str, verb: Any, *args: Any) -> Any:
    here = place.here()
    refuse_loop_thread(f"perdure.{what}")
    return here.attempt.crossing.ask(verb(here, True, *args))


def _refuse_in_once(place: Place, verb: str) -> None:
    if place.once:
        raise BoundaryError(
            f"perdure.{verb} was called inside a once effect, which cannot be left open (P4).",
            hint=f"Call {verb} before or after it.",
        )


def _seconds(duration: timedelta | float | None) -> Any:
    if duration is None:
        return None
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds < 10 * 365 * 86400:
        raise BoundaryError(f"A duration of {seconds} s is not between 0 and ten years.")
    return seconds
