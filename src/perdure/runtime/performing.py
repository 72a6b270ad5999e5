"""The way of one call: asked of the journal, performed where it is new, recorded."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from dataclasses import replace
from functools import partial
from typing import Any, cast

from perdure.codec import decode_failure, encode_failure
from perdure.core.ports import current_boundary
from perdure.core.record import EntryState, Kind, Promise
from perdure.errors import Parked
from perdure.runtime.call import Call, body_of, tries
from perdure.runtime.closing import Ending
from perdure.runtime.crossing import refuse_loop_thread
from perdure.runtime.once import perform_once
from perdure.runtime.place import Place
from perdure.runtime.ticket import Live
from perdure.store.rows import Wait


async def perform(place: Place, call: Call) -> Any:
    """One effect around the call's function, which may be sync (it then runs in a thread)."""
    declared, attempt = call.declared, place.attempt
    if asyncio.get_running_loop() is not attempt.loop:
        return await _from_elsewhere(place, call)
    ticket = await place.request(declared.kind, call.name, call.content, promise=declared.effect)
    if not ticket.live:
        return _replayed(ticket.state, ticket.value, call)
    live = cast("Live", ticket)
    inner = place.inside(live, once=declared.effect is Promise.ONCE)
    if declared.effect is Promise.ONCE:
        return await perform_once(live, inner, call)
    if declared.kind == Kind.TOOL:
        await _begin_tool(live, inner, call)
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
    refuse_loop_thread(f"The {declared.kind} {call.name!r}")
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
    if declared.kind == Kind.TOOL:
        here.wait_blocking(_begin_tool(live, inner, call, foreign=True))
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
    """An effect of code that runs elsewhere, performed from the loop on its behalf: it keeps its
    branch, and closing must reach it as an exception."""
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


async def _begin_tool(live: Live, inner: Place, call: Call, *, foreign: bool = False) -> None:
    """Tell what it was asked for. An unmodified framework's tool that was cut by a crash is run
    again, or asked about (P1)."""
    attempt = inner.attempt
    undeclared = call.declared.effect is Promise.UNDECLARED
    ask = undeclared and attempt.policy.undeclared == "ask"
    if live.intended is None:
        if ask:
            await live.intent(call.asked())
        else:
            live.told(call.asked())
        return
    if ask:
        live.cut()
        wait = Wait("uncertain", key=live.key.hex(),
                    detail=f"{live.name}: a crash cut it; it declares no promise")  # fmt: skip
        attempt.closing.close(Ending.PARK, waits=(wait,))
        await attempt.block(foreign, inner)
    if undeclared:
        attempt.runtime.count("perdure_undeclared_reruns_total", tool=live.name)
        live.warning("rerun", f"The tool {live.name!r} was cut by a crash and runs again.")


async def _from_elsewhere(place: Place, call: Call) -> Any:
    """A call on another event loop than the run's (``run_sync`` of some SDKs): the effect is the
    run's loop's, its body is run here, in the caller's context."""
    here, home = place.here(), asyncio.get_running_loop()
    context = contextvars.copy_context()

    async def body(*args: Any, **kwargs: Any) -> Any:
        inner = current_boundary.get()
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        started: list[asyncio.Task[Any]] = []

        async def run() -> Any:
            current_boundary.set(inner)
            return await body_of(call.function, args, kwargs)

        def start() -> None:
            task = home.create_task(run(), context=context.copy())
            started.append(task)
            task.add_done_callback(partial(_pass_on, done))

        home.call_soon_threadsafe(start)
        try:
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            home.call_soon_threadsafe(lambda: [task.cancel() for task in started])
            raise

    # Not ``direct``: whose task the body is in is not ours to say here.
    shipped = replace(call, function=body, direct=False)
    try:
        return await here.attempt.crossing.carry_out_async(_handed_over(here, shipped))
    finally:
        here.mine()  # again


def _pass_on(done: concurrent.futures.Future[Any], task: asyncio.Task[Any]) -> None:
    if done.cancelled():
        return
    if task.cancelled():
        done.cancel()
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())
