"""Plain Python agents under fire, asynchronous and synchronous: whole and streamed model calls,
parallel tools with a model call inside, one payment (``once``), one event, one sleep.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import anthropic

import perdure
from perdure import App, sync
from tests.faults.books import LOOKED, charge, note, reconcile

MODEL = "claude-sonnet-4-5"
R = TypeVar("R")


async def ask(prompt: str) -> str:
    """A whole answer."""
    async with anthropic.AsyncAnthropic() as client:
        answer = await client.messages.create(
            model=MODEL, max_tokens=200, messages=[{"role": "user", "content": prompt}]
        )
    return "".join(block.text for block in answer.content if block.type == "text")


async def tell(prompt: str) -> str:
    """A streamed answer."""
    async with (
        anthropic.AsyncAnthropic() as client,
        client.messages.stream(
            model=MODEL, max_tokens=200, messages=[{"role": "user", "content": prompt}]
        ) as stream,
    ):
        return "".join([piece async for piece in stream.text_stream])


@perdure.tool(effect="idempotent")
async def look(key: str, what: str) -> str:
    note("look", f"{key}/{what}", "begin")
    found = await ask(f"{key}: what do you know of the {what}?")
    note("look", f"{key}/{what}", "end")
    return found


charge_async = perdure.tool(name="charge", effect="once", reconcile=reconcile)(charge)


async def plain_async(key: str) -> str:
    plan = await ask(f"{key}: make a plan")
    looked = await asyncio.gather(*[look(key, what) for what in LOOKED])
    story = await tell(f"{key}: tell a story of {plan} and {looked}")
    paid = await charge_async.aio(key)  # type: ignore[attr-defined]
    perdure.emit("halfway", {"key": key})
    await perdure.sleep(0.05)
    return await ask(f"{key}: end it: {story} {paid}")


async def plain_generations(given: Any) -> str:
    """The same, in three generations of the run."""
    if isinstance(given, str):
        plan = await ask(f"{given}: make a plan")
        looked = await asyncio.gather(*[look(given, what) for what in LOOKED])
        await perdure.continue_as({"key": given, "plan": plan, "looked": looked})
    key = given["key"]
    if "paid" not in given:
        story = await tell(f"{key}: tell a story of {given['plan']} and {given['looked']}")
        paid = await charge_async.aio(key)  # type: ignore[attr-defined]
        perdure.emit("halfway", {"key": key})
        await perdure.continue_as({"key": key, "story": story, "paid": paid})
    await perdure.sleep(0.05)
    return await ask(f"{key}: end it: {given['story']} {given['paid']}")


# -- synchronous --------------------------------------------------------------------------------


def ask_sync(prompt: str) -> str:
    with anthropic.Anthropic() as client:
        answer = client.messages.create(
            model=MODEL, max_tokens=200, messages=[{"role": "user", "content": prompt}]
        )
    return "".join(block.text for block in answer.content if block.type == "text")


def tell_sync(prompt: str) -> str:
    with (
        anthropic.Anthropic() as client,
        client.messages.stream(
            model=MODEL, max_tokens=200, messages=[{"role": "user", "content": prompt}]
        ) as stream,
    ):
        return "".join(stream.text_stream)


@perdure.tool(name="look", effect="idempotent")
def look_sync(key: str, what: str) -> str:
    note("look", f"{key}/{what}", "begin")
    found = ask_sync(f"{key}: what do you know of the {what}?")
    note("look", f"{key}/{what}", "end")
    return found


charge_sync = perdure.tool(name="charge", effect="once", reconcile=reconcile)(charge)


def in_threads(calls: list[Callable[[], R]]) -> list[R]:
    """Each call in a thread of its own, with this run's context."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(contextvars.copy_context().run, call) for call in calls]
        return [future.result() for future in futures]


def plain_sync(key: str) -> str:
    plan = ask_sync(f"{key}: make a plan")
    looked = in_threads([lambda what=what: look_sync(key, what) for what in LOOKED])  # type: ignore[misc]
    story = tell_sync(f"{key}: tell a story of {plan} and {looked}")
    paid = charge_sync(key)
    perdure.emit("halfway", {"key": key})
    sync.sleep(0.05)
    return ask_sync(f"{key}: end it: {story} {paid}")


def plain_lives(given: Any) -> str:
    """The same, in three generations of the run."""
    if isinstance(given, str):
        plan = ask_sync(f"{given}: make a plan")
        looked = in_threads([lambda what=what: look_sync(given, what) for what in LOOKED])  # type: ignore[misc]
        sync.continue_as({"key": given, "plan": plan, "looked": looked})
    key = given["key"]
    if "paid" not in given:
        story = tell_sync(f"{key}: tell a story of {given['plan']} and {given['looked']}")
        paid = charge_sync(key)
        perdure.emit("halfway", {"key": key})
        sync.continue_as({"key": key, "story": story, "paid": paid})
    sync.sleep(0.05)
    return ask_sync(f"{key}: end it: {given['story']} {given['paid']}")


app = App()
for function in (plain_async, plain_sync, plain_generations, plain_lives):
    app.add(function, warm_sleep=0.01, park_after=0.05)
