"""What a run of the Agents SDK says while it goes on, as events (docs/reference/events.md).

- ``state``: what a model call added to the conversation, ``{"name": agent, "path", "update"}``.
- ``agent``: a handoff, ``{"from", "to"}``.

They are told by the SDK's own hooks, beside the agent's branches, where nothing follows from them;
once each, however often the run is replayed. ``path`` is the tool calls around it, by id.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, cast

import orjson
from agents import RunHooks

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.frameworks.openai_agents.places import calls
from perdure.frameworks.openai_agents.shapes import items
from perdure.runtime.place import Place

BESIDE = "events/agents"
MAX_UPDATE = 32 * 1024  # bytes; of a larger update the event tells only its size


async def tell(name: str, data: dict[str, Any]) -> None:
    """Append the event to the log of the run that the calling code belongs to."""
    place = cast("Place | None", current_boundary.get())
    if place is None:
        return
    attempt = place.attempt
    value = orjson.dumps(data)

    async def note() -> None:
        beside = attempt.named_place(BESIDE, place)
        attempt.note(beside, Kind.EMIT, name, digest(canonical(data)), value)

    if asyncio.get_running_loop() is attempt.loop:
        await note()
    else:
        await attempt.crossing.ask_async(note())


class Told(RunHooks[Any]):
    """The hooks of a run: what the user's own (``theirs``) do, and the events."""

    def __init__(self, theirs: RunHooks[Any] | None) -> None:
        self._theirs = theirs

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """A model has answered."""
        event = {"name": agent.name, "path": "/".join(calls.get())}
        update = items(response.output)
        if len(size := orjson.dumps(update)) > MAX_UPDATE:
            await tell("state", {**event, "omitted_bytes": len(size)})
        else:
            await tell("state", {**event, "update": update})
        if self._theirs is not None:
            await self._theirs.on_llm_end(context, agent, response)

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        """Another agent takes over."""
        await tell("agent", {"from": from_agent.name, "to": to_agent.name})
        if self._theirs is not None:
            await self._theirs.on_handoff(context, from_agent, to_agent)


def _passed_on(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(RunHooks, name))
    async def hook(self: Told, *args: Any, **kwargs: Any) -> None:
        if self._theirs is not None:
            await getattr(self._theirs, name)(*args, **kwargs)

    return hook


for _name in dir(RunHooks):
    if _name.startswith("on_") and _name not in Told.__dict__:
        setattr(Told, _name, _passed_on(_name))
