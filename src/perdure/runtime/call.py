"""One call of a step or tool: its function, its arguments, and the tries at its body."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast

import orjson

from perdure import codec
from perdure.codec import canonical
from perdure.core.ports import current_boundary
from perdure.core.retry import Severity, decide
from perdure.errors import EffectTimeout, NotDone
from perdure.runtime.declared import Declared
from perdure.runtime.place import Place
from perdure.runtime.policy import Policy, retry_after
from perdure.runtime.threads import begin

MAX_ARGUMENTS = 16 * 1024  # bytes of a tool call's arguments that its intent tells

_DEFAULT = Policy()


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
    (LangGraph's ``interrupt()``): no outcome, so nothing is recorded of the call. ``arguments``
    gives what a model asked a tool for (JSON values), and ``call_id`` its name of that request:
    both are told to who watches the run.
    """

    declared: Declared
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: Values
    content: bytes
    control: tuple[type[BaseException], ...] = ()
    direct: bool = False
    arguments: Callable[[], Any] | None = None
    call_id: str | None = None

    @property
    def name(self) -> str:
        return cast("str", self.declared.name)

    def asked(self, **more: Any) -> bytes:
        """The value of its intent: a JSON object of what was asked for, and ``more``."""
        about: dict[str, Any] = dict(more)
        if self.arguments is not None:
            arguments = canonical(self.arguments())
            if len(arguments) <= MAX_ARGUMENTS:
                about["arguments"] = orjson.Fragment(arguments)
            else:
                about["arguments_size"] = len(arguments)
        if self.call_id is not None:
            about["call_id"] = self.call_id
        return orjson.dumps(about)


async def tries(call: Call) -> Any:
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
        return await body_of(call.function, call.args, call.kwargs)
    try:
        async with asyncio.timeout(limit.total_seconds()) as bound:
            return await body_of(call.function, call.args, call.kwargs)
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise EffectTimeout(
            f"{declared.kind} {declared.name!r} took longer than its timeout of "
            f"{limit.total_seconds():g} s."
        ) from error


async def body_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The function on the loop, or in a thread where it is synchronous."""
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


async def once_tries(call: Call, limit: timedelta) -> Any:
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
