"""The way of one call: asked of the journal, performed where it is new, recorded."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from perdure.codec import decode_failure, encode_failure
from perdure.core.ports import current_boundary
from perdure.core.record import EntryState, Kind, Promise
from perdure.errors import BoundaryError, Parked
from perdure.runtime.call import Call, tries
from perdure.runtime.closing import Ending
from perdure.runtime.once import perform_once
from perdure.runtime.place import Place
from perdure.runtime.ticket import Live
from perdure.store.rows import Wait


async def perform(place: Place, call: Call) -> Any:
    """One effect around the call's function, which may be sync (it then runs in a thread)."""
    declared, attempt = call.declared, place.attempt
    if asyncio.get_running_loop() is not attempt.loop:
        raise BoundaryError(
            f"The {declared.kind} {call.name!r} was called on an event loop of its own inside a "
            "run.",
            hint="Await it on the loop that runs the agent, or make it synchronous there.",
        )
    ticket = await place.request(declared.kind, call.name, call.content, promise=declared.effect)
    if not ticket.live:
        return _replayed(ticket.state, ticket.value, call)
    live = cast("Live", ticket)
    inner = place.inside(live, once=declared.effect is Promise.ONCE)
    if declared.effect is Promise.ONCE:
        return await perform_once(live, inner, call)
    if declared.effect is Promise.UNDECLARED and declared.kind == Kind.TOOL:
        await _undeclared(live, inner)
    token = current_boundary.set(inner)
    try:
        if call.direct:
            inner.mine()
            result = await call.function(*call.args, **call.kwargs)
        else:
            result = await tries(call)
        data = call.values.encode(result)
    except asyncio.CancelledError:
        live.abandoned()
        raise
    except Parked:
        live.cut()
        raise
    except call.control:
        live.withdrawn()
        raise
    except Exception as error:
        await live.failed(encode_failure(error))
        raise
    except BaseException:
        live.cut()
        raise
    finally:
        current_boundary.reset(token)
    await live.done(data)
    return call.values.decode(data)


def perform_blocking(place: Place, call: Call) -> Any:
    """The same for synchronous code: the body runs in the calling thread, unless it needs a
    bound that only a task can give (``once``, timeout, retries)."""
    declared = call.declared
    attempt = place.attempt
    attempt.refuse_loop_thread(f"The {declared.kind} {call.name!r}")
    here = place.here()
    if declared.effect is Promise.ONCE or declared.timeout or declared.retries:
        token = current_boundary.set(here)
        try:
            return place.wait_blocking(_handed_over(here, call))
        finally:
            here.mine()  # again
            current_boundary.reset(token)
    ticket = here.ticket_blocking(declared.kind, call.name, call.content, promise=declared.effect)
    if not ticket.live:
        return _replayed(ticket.state, ticket.value, call)
    live = cast("Live", ticket)
    inner = here.inside(live, once=False)
    if declared.effect is Promise.UNDECLARED and declared.kind == Kind.TOOL:
        here.wait_blocking(_undeclared(live, inner, foreign=True))
    inner.mine()
    token = current_boundary.set(inner)
    try:
        data = call.values.encode(call.function(*call.args, **call.kwargs))
    except call.control:
        attempt.loop.call_soon_threadsafe(live.withdrawn)
        raise
    except Exception as error:
        here.wait_blocking(live.failed(encode_failure(error)))
        raise
    except BaseException:
        attempt.loop.call_soon_threadsafe(live.cut)
        raise
    finally:
        current_boundary.reset(token)
    here.wait_blocking(live.done(data))
    return call.values.decode(data)


async def _handed_over(place: Place, call: Call) -> Any:
    """An effect of synchronous code, performed from the loop on the thread's behalf: it keeps
    the thread's branch, and closing must reach the thread as an exception."""
    attempt = place.attempt
    attempt.closing.tell_thread()
    place.owner = asyncio.current_task()
    current_boundary.set(place)
    task = asyncio.ensure_future(perform(place, call))
    place.owner = task
    closed = asyncio.ensure_future(attempt.closing.until_cutting())
    try:
        await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        await attempt.closing.until_thread_may_go()
        raise Parked("the attempt is over")
    finally:
        closed.cancel()


def _replayed(state: str, value: bytes, call: Call) -> Any:
    if state == EntryState.FAILED:
        raise decode_failure(value)
    return call.values.decode(value)


async def _undeclared(live: Live, inner: Place, *, foreign: bool = False) -> None:
    """An unmodified framework tool was cut by a crash: run it again, or ask (P1)."""
    attempt = inner.attempt
    ask = attempt.policy.undeclared == "ask"
    if live.intended is not None:
        if ask:
            live.cut()
            wait = Wait("uncertain", key=live.key.hex(),
                        detail=f"{live.name}: a crash cut it; it declares no promise")  # fmt: skip
            attempt.closing.close(Ending.PARK, waits=(wait,))
            await attempt.block(foreign, inner)
        attempt.runtime.count("perdure_undeclared_reruns_total", tool=live.name)
        live.warning("rerun", f"The tool {live.name!r} was cut by a crash and runs again.")
    elif ask:
        await live.intent(b"{}")
