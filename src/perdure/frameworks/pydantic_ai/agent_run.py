"""One attempt at a run of an agent: ``agent.run`` with the run's input, told as events."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import orjson
from pydantic_ai import DeferredToolRequests
from pydantic_ai.models import Model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.wrapper import WrapperModel

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.errors import UsageError
from perdure.frameworks.plain import plain
from perdure.frameworks.pydantic_ai.deferred import asking
from perdure.frameworks.pydantic_ai.options import Configured
from perdure.frameworks.pydantic_ai.shapes import Dependencies, Given, messages_of, output_of

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

_CUSTOM, _STATE = "events/custom", "events/state"


async def run(
    configured: Configured, deps: Dependencies, given: Given, attempt: Attempt, *, agent: str
) -> Any:
    """The output as JSON values. Raises UsageError where calls stay unanswered, which is possible
    only where nothing is recorded."""
    recorded = current_boundary.get() is not None
    token = asking.set(attempt if recorded else None)
    try:
        async with AsyncExitStack() as stack:
            result = await configured.agent.run(
                given.prompt,
                message_history=given.history,
                deps=await _made(deps, given, stack),
                usage_limits=configured.usage_limits,
                model_settings=configured.model_settings,
                event_stream_handler=_handler(configured, attempt if recorded else None),
                infer_name=False,
            )
    finally:
        asking.reset(token)
    if not recorded and isinstance(result.output, DeferredToolRequests):
        raise UsageError(
            f"A tool of agent {agent!r} asks for approval or for a result from outside, and with "
            "durability='none' nothing is kept that could wait for it.",
            hint="Leave durability at its default for agents that ask.",
        )
    if recorded:
        state = {"name": "messages", "path": "", "update": messages_of(result)}
        _tell(attempt, _STATE, "state", digest(b"messages"), orjson.dumps(state))
    return output_of(result)


async def _made(deps: Dependencies, given: Given, stack: AsyncExitStack) -> Any:
    if deps.make is None:
        return given.deps
    made = deps.make(given.deps) if deps.taken and given.deps is not None else deps.make()
    if inspect.isawaitable(made):
        made = await made
    if inspect.isasyncgenfunction(inspect.unwrap(deps.make)):  # an @asynccontextmanager's
        return await stack.enter_async_context(made)
    return made


def _handler(configured: Configured, attempt: Attempt | None) -> Any:
    own = configured.agent.event_stream_handler
    if own is None and not (configured.stream and streams(configured.agent.model)):
        return None

    async def handle(ctx: Any, events: AsyncIterable[Any]) -> None:
        async with aclosing(_watched(events, attempt)) as watched:
            if own is not None:
                await own(ctx, watched)
            async for _ in watched:
                pass

    return handle


async def _watched(
    events: AsyncIterable[Any], attempt: Attempt | None
) -> AsyncGenerator[Any, None]:
    async for event in events:
        if attempt is not None and getattr(event, "event_kind", None) == "custom":
            value = canonical(plain(event))
            _tell(attempt, _CUSTOM, "custom", digest(value), value)
        yield event


def _tell(attempt: Attempt, beside: str, name: str, content: bytes, value: bytes) -> None:
    attempt.note(attempt.named_place(beside), Kind.EMIT, name, content, value)


def streams(model: Any) -> bool:
    """Whether the model can be asked for a stream."""
    if isinstance(model, WrapperModel):
        return streams(model.wrapped)
    if isinstance(model, FallbackModel):
        return all(streams(inner) for inner in model.models)
    if isinstance(model, FunctionModel):
        return model.stream_function is not None
    if isinstance(model, Model):
        return type(model).request_stream is not Model.request_stream
    return True
