"""Steps and tools: functions whose calls are effects.

``step`` marks a piece of the agent's own work, ``tool`` a piece that the model asks for; both take
the same promise (rule P1), timeout and retries. Outside a run the functions are what they were.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

import orjson

from perdure import codec
from perdure.codec import canonical, decode_failure, encode_failure
from perdure.core import crash
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import EntryState, Kind, Promise
from perdure.core.retry import RetryPolicy, Severity, decide
from perdure.errors import BoundaryError, EffectTimeout, NotDone, Parked
from perdure.runtime.attempt import Ending
from perdure.runtime.place import Place
from perdure.runtime.policy import Policy, retry_after
from perdure.runtime.threads import begin
from perdure.runtime.ticket import Live
from perdure.store.rows import Wait

P = ParamSpec("P")
R = TypeVar("R")

ONCE_DEADLINE = timedelta(minutes=5)  # of a ``once`` without a timeout of its own (P3)
_DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared of a step or tool. ``timeout`` bounds each try; ``retries`` are tries
    within one attempt of the run. ``reconcile`` finds out for a ``once`` that was cut whether it
    happened: it is called with the same arguments, returns the result, or raises NotDone."""

    kind: str = Kind.STEP
    name: str | None = None
    effect: Promise = Promise.UNDECLARED
    timeout: timedelta | None = None
    retries: RetryPolicy | None = None
    reconcile: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.reconcile is not None and self.effect is not Promise.ONCE:
            raise BoundaryError("reconcile= goes with effect='once'")
        if self.name is not None and ("\0" in self.name or not self.name):
            raise BoundaryError("a step's or tool's name is a non-empty string without NUL")


class Values(Protocol):
    """How what an effect returns becomes bytes and comes back (K8)."""

    def encode(self, value: Any) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...


class ByAnnotation:
    """The closed codec, led by a function's return annotation."""

    __slots__ = ("_annotation", "_what")

    def __init__(self, annotation: Any, name: str) -> None:
        self._annotation = annotation
        self._what = f"result of {name!r}"

    def encode(self, value: Any) -> bytes:
        return codec.encode(value, self._annotation, what=self._what)

    def decode(self, data: bytes) -> Any:
        return codec.decode(data, self._annotation, what=self._what)


@dataclass(slots=True)  # not frozen: that makes one twice as slow to make
class Call:
    """One call of a step or tool. ``content`` is the digest of what shapes its answer (K5).
    ``direct``: the function is async, without timeout or retries, and awaited as it is.

    ``control`` are exceptions by which a framework breaks off a body to ask for it again later
    (LangGraph's ``interrupt()``): no outcome, so nothing is recorded of the call.
    """

    declared: Declared
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: Values
    content: bytes
    control: tuple[type[BaseException], ...] = ()
    direct: bool = False

    @property
    def name(self) -> str:
        return cast("str", self.declared.name)


def declare(
    kind: str,
    name: str | None,
    effect: str | None,
    timeout: timedelta | float | None,
    retries: RetryPolicy | int | None,
    reconcile: Callable[..., Any] | None,
) -> Declared:
    """The declaration as users write it. Raises BoundaryError for an unknown promise."""
    try:
        promise = Promise(effect) if effect is not None else Promise.UNDECLARED
    except ValueError:
        raise BoundaryError(
            f"effect={effect!r} is no promise", hint="One of: reads, idempotent, once."
        ) from None
    if isinstance(timeout, int | float):
        timeout = timedelta(seconds=timeout)
    if isinstance(retries, int):
        retries = RetryPolicy(attempts=retries)
    return Declared(kind, name, promise, timeout, retries, reconcile)


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    effect: str | None = None,
    timeout: timedelta | float | None = None,
    retries: RetryPolicy | int | None = None,
    reconcile: Callable[..., Any] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effect: str | None = None,
    timeout: timedelta | float | None = None,
    retries: RetryPolicy | int | None = None,
    reconcile: Callable[..., Any] | None = None,
) -> Any:
    """Make a function's calls durable: a completed call is not repeated by a later attempt.

    ``effect`` is what the function promises: ``"reads"``, ``"idempotent"`` (uses
    :func:`perdure.idempotency_key`) or ``"once"``. Undeclared steps run again after a crash that
    cut them. ``timeout`` (seconds or timedelta) bounds each try; ``retries`` are tries inside this
    attempt. A sync function called from async code on the event loop raises BoundaryError: use
    ``await function.aio(...)`` there.
    """
    declared = declare(Kind.STEP, name, effect, timeout, retries, reconcile)
    return wrap(function, declared) if function is not None else lambda f: wrap(f, declared)


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    effect: str | None = None,
    timeout: timedelta | float | None = None,
    retries: RetryPolicy | int | None = None,
    reconcile: Callable[..., Any] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effect: str | None = None,
    timeout: timedelta | float | None = None,
    retries: RetryPolicy | int | None = None,
    reconcile: Callable[..., Any] | None = None,
) -> Any:
    """The same as :func:`step` for a function that the model calls."""
    declared = declare(Kind.TOOL, name, effect, timeout, retries, reconcile)
    return wrap(function, declared) if function is not None else lambda f: wrap(f, declared)


def reads() -> Declared:
    """Promise for ``app.add(agent, tools={"search": reads()})``: running it again is harmless."""
    return Declared(Kind.TOOL, effect=Promise.READS)


def idempotent() -> Declared:
    """Promise: running it again with the same :func:`perdure.idempotency_key` is harmless."""
    return Declared(Kind.TOOL, effect=Promise.IDEMPOTENT)


def once(
    *, timeout: timedelta | float | None = None, reconcile: Callable[..., Any] | None = None
) -> Declared:
    """Promise: at most once. A crash in the middle is answered by ``reconcile`` or an operator."""
    return declare(Kind.TOOL, None, Promise.ONCE, timeout, None, reconcile)


def wrap(function: Callable[..., Any], declared: Declared) -> Any:
    """``function`` with its calls made effects. ``.aio`` is its asynchronous form."""
    declared = replace(declared, name=declared.name or getattr(function, "__qualname__", "step"))
    try:
        returns = get_type_hints(function).get("return")
    except Exception:  # a forward reference only a type checker can follow
        returns = None
    values = ByAnnotation(returns, cast("str", declared.name))
    is_async = inspect.iscoroutinefunction(function)
    direct = is_async and declared.timeout is None and declared.retries is None

    def this(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        content = digest(canonical([args, kwargs]))
        return Call(declared, function, args, kwargs, values, content, direct=direct)

    if is_async:

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            place = current_boundary.get()
            if place is None:
                return await function(*args, **kwargs)
            return await perform(cast("Place", place), this(args, kwargs))

        call.aio = call  # type: ignore[attr-defined]
        call.__perdure__ = declared  # type: ignore[attr-defined]
        return call

    @functools.wraps(function)
    def call_sync(*args: Any, **kwargs: Any) -> Any:
        place = current_boundary.get()
        if place is None:
            return function(*args, **kwargs)
        return perform_blocking(cast("Place", place), this(args, kwargs))

    async def aio(*args: Any, **kwargs: Any) -> Any:
        place = current_boundary.get()
        if place is None:
            return await asyncio.to_thread(function, *args, **kwargs)
        return await perform(cast("Place", place), this(args, kwargs))

    call_sync.aio = aio  # type: ignore[attr-defined]
    call_sync.__perdure__ = declared  # type: ignore[attr-defined]
    return call_sync


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
        return await _once(live, inner, call)
    if declared.effect is Promise.UNDECLARED and declared.kind == Kind.TOOL:
        await _undeclared(live, inner)
    token = current_boundary.set(inner)
    try:
        if call.direct:
            inner.mine()
            result = await call.function(*call.args, **call.kwargs)
        else:
            result = await _tries(call)
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
    attempt.tell_thread()
    place.owner = asyncio.current_task()
    current_boundary.set(place)
    task = asyncio.ensure_future(perform(place, call))
    place.owner = task
    closed = asyncio.ensure_future(attempt.until_cutting())
    try:
        await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        await attempt.until_thread_may_go()
        raise Parked("the attempt is over")
    finally:
        closed.cancel()


def _replayed(state: str, value: bytes, call: Call) -> Any:
    if state == EntryState.FAILED:
        raise decode_failure(value)
    return call.values.decode(value)


async def _tries(call: Call) -> Any:
    """The body with its timeout and its retries."""
    retries = call.declared.retries
    if retries is None:
        return await _try(call)
    failures = 0
    while True:
        try:
            return await _try(call)
        except call.control:
            raise
        except Exception as error:
            failures += 1
            severity = _DEFAULT.severity(error)
            if isinstance(error, NotDone | EffectTimeout):
                severity = Severity.RETRYABLE
            verdict = decide(retries, failures, severity, random.random(), retry_after(error))
            if verdict.again_in is None:
                raise
        await asyncio.sleep(verdict.again_in.total_seconds())


async def _try(call: Call, timeout: timedelta | None = None) -> Any:
    declared = call.declared
    limit = timeout or declared.timeout
    if limit is None:
        return await _body(call.function, call.args, call.kwargs)
    try:
        async with asyncio.timeout(limit.total_seconds()) as bound:
            return await _body(call.function, call.args, call.kwargs)
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise EffectTimeout(
            f"{declared.kind} {declared.name!r} took longer than its timeout of "
            f"{limit.total_seconds():g} s."
        ) from error


async def _body(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    inner = cast("Place", current_boundary.get())
    if inspect.iscoroutinefunction(function):
        inner.mine()
        return await function(*args, **kwargs)

    def body() -> Any:
        inner.mine()
        return function(*args, **kwargs)

    # The agent may turn away; the thread goes on, and the attempt waits for its end (C3).
    future = begin(body, name=f"{inner.run_id}-body")
    inner.attempt.bodies.count(future)
    return await asyncio.shield(future)


async def _undeclared(live: Live, inner: Place, *, foreign: bool = False) -> None:
    """An unmodified framework tool was cut by a crash: run it again, or ask (P1)."""
    attempt = inner.attempt
    ask = attempt.policy.undeclared == "ask"
    if live.intended is not None:
        if ask:
            live.cut()
            wait = Wait("uncertain", key=live.key.hex(),
                        detail=f"{live.name}: a crash cut it; it declares no promise")  # fmt: skip
            attempt.close(Ending.PARK, waits=(wait,))
            await attempt.block(foreign, inner)
        attempt.runtime.count("perdure_undeclared_reruns_total", tool=live.name)
        live.warning("rerun", f"The tool {live.name!r} was cut by a crash and runs again.")
    elif ask:
        await live.intent(b"{}")


async def _once(live: Live, inner: Place, call: Call) -> Any:
    """Intent first; exactly once, or ask (P1, P3)."""
    attempt, declared = inner.attempt, call.declared
    if live.intended is not None:
        found = await _find_out(live, inner, call)
        if found is not None:
            await live.done(found)
            return call.values.decode(found)
    limit = declared.timeout or ONCE_DEADLINE
    deadline = attempt.now() + limit * (declared.retries.attempts if declared.retries else 1)
    await live.intent(orjson.dumps({"deadline": deadline.isoformat()}))
    token = current_boundary.set(inner)
    try:
        crash.reach(crash.Point.INSIDE_ONCE)
        data = call.values.encode(await _once_tries(call, limit))
    except NotDone as error:
        await live.failed(encode_failure(error))
        raise
    except call.control:
        # What such a body did so far it does again when it is asked again: harmless by contract.
        live.withdrawn()
        raise
    except BaseException as error:
        # It may have happened. Never guess about a sent email: an operator decides.
        live.cut()
        if attempt.cancelling or attempt.closing is Ending.LOST:
            raise
        await _ask(live, inner, f"{declared.name} ended with {type(error).__name__}: {error}")
        raise
    finally:
        current_boundary.reset(token)
    await live.done(data)
    return call.values.decode(data)


async def _once_tries(call: Call, limit: timedelta) -> Any:
    """Only a try that says NotDone may be followed by another."""
    retries = call.declared.retries
    failures = 0
    while True:
        try:
            return await _try(call, limit)
        except NotDone:
            failures += 1
            if retries is None:
                raise
            verdict = decide(retries, failures, Severity.RETRYABLE, random.random())
            if verdict.again_in is None:
                raise
        await asyncio.sleep(verdict.again_in.total_seconds())


async def _find_out(live: Live, inner: Place, call: Call) -> bytes | None:
    """An earlier attempt left an open intent: its result, or None where it did not happen, or
    park for an operator. Not before its deadline, unless that attempt's process is proven to be
    gone (P3)."""
    attempt, name = inner.attempt, call.name
    deadline = datetime.fromisoformat(orjson.loads(live.intended_value)["deadline"])
    if not attempt.lease.gone and deadline > attempt.now():
        await _ask(live, inner, f"{name}: its process may be alive", until=deadline)
    reconcile = call.declared.reconcile
    if reconcile is None:
        await _ask(live, inner, f"{name}: a crash cut it and it has no reconcile=")
        return None
    token = current_boundary.set(inner)
    try:
        return call.values.encode(await _body(reconcile, call.args, call.kwargs))
    except NotDone:
        return None
    except Exception as error:
        await _ask(live, inner, f"{name}: reconcile failed: {error!r}")
        raise
    finally:
        current_boundary.reset(token)


async def _ask(live: Live, inner: Place, detail: str, *, until: datetime | None = None) -> None:
    """Park until an operator says what happened. Does not return."""
    live.cut()
    wait = Wait("uncertain", key=live.key.hex(), detail=detail[:1000], until=until)
    inner.attempt.close(Ending.PARK, waits=(wait,))
    await inner.attempt.block(False, inner)
