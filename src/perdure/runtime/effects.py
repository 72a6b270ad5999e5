"""Steps and tools: functions whose calls are effects.

``step`` marks a piece of the agent's own work, ``tool`` a piece that the model asks for; both take
the same promise (rule P1), timeout and retries. Outside a run the functions are what they were.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints, overload

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.core.retry import RetryPolicy
from perdure.runtime.call import ByAnnotation, Call
from perdure.runtime.declared import Declared, declare
from perdure.runtime.performing import perform, perform_blocking
from perdure.runtime.place import Place

P = ParamSpec("P")
R = TypeVar("R")


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

    signature = inspect.signature(function) if declared.kind == Kind.TOOL else None

    def this(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        content = digest(canonical([args, kwargs]))
        call = Call(declared, function, args, kwargs, values, content, direct=direct)
        if signature is not None:
            call.arguments = functools.partial(_by_name, signature, args, kwargs)
        return call

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


def _by_name(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError:  # the call itself is going to say so
        return {"args": args, **kwargs}
