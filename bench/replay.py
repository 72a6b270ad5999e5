"""Replay: how soon an attempt is where the one before it parked, and what a conversation stores.

A run makes its effects and parks; a signal wakes it; the time is from the beginning of the second
attempt, its journal not yet read, to the end of its replay. The conversation goes through real
capture to the provider's official address, redirected to the provider simulator: once with a plain
httpx2 client, and once with the official OpenAI SDK, which takes far longer than anything else here
to prepare a long conversation (it walks through every message with its type hints, each turn), so
that it is also measured by itself, over a transport that answers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson

from bench import runs as submitted
from bench.agents import UNGUARDED, app
from bench.figure import Figure, Size, median
from bench.scene import KINDS, TITLES, Kind, Scene, opened
from perdure import gateway, wait_for
from perdure.app import App
from perdure.core.run import RunState
from perdure.runtime.agent import Agent
from perdure.runtime.attempt import Attempt
from perdure.runtime.execution import Ended
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.store import Store
from perdure.store.blobs import FileBlobs
from perdure.testing.redirect import redirect
from perdure.testing.simulator import ProviderSimulator, Reply

STEPS_MS = 100.0
TURNS_S = 3.0
LINEAR = 1.15  # bytes a turn of the longest conversation over those of one a third as long
URL = "https://api.openai.com/v1/chat/completions"
MODEL = "gpt-4.1-mini"
JSON = {"content-type": "application/json"}
HALF = "All work and no play makes Jack a dull boy. " * 24  # about 1 KB: of each of a turn's sides

talk = App()


@talk.agent(limits=UNGUARDED, park_after=0)
async def plainly(turns: int) -> int:
    """A chat that grows by 2 KB a turn, then waits."""
    messages: list[Any] = []
    async with httpx2.AsyncClient(headers={"authorization": "Bearer sk-simulated"}) as client:
        for turn in range(turns):
            messages.append({"role": "user", "content": f"{turn}: {HALF}"})
            content = orjson.dumps({"model": MODEL, "messages": messages})
            answer = await client.post(URL, content=content, headers=JSON)
            messages.append(answer.json()["choices"][0]["message"])
    await wait_for("go")
    return len(messages)


@talk.agent(limits=UNGUARDED, park_after=0)
async def sdk(turns: int) -> int:
    """The same with the official SDK."""
    await _chat(openai.AsyncOpenAI(api_key="sk-simulated"), turns)
    await wait_for("go")
    return turns


async def _chat(client: openai.AsyncOpenAI, turns: int) -> None:
    messages: list[Any] = []
    async with client:
        for turn in range(turns):
            messages.append({"role": "user", "content": f"{turn}: {HALF}"})
            answer = await client.chat.completions.create(model=MODEL, messages=messages)
            said = answer.choices[0].message.content
            messages.append({"role": "assistant", "content": said})


async def sdk_alone(turns: int) -> float:
    """Seconds that the SDK takes for a conversation whose answers cost nothing."""
    message = {"role": "assistant", "content": HALF}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    document = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL}
    answer = orjson.dumps({**document, "choices": choices})
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, content=answer, headers=JSON)
    )
    http = openai.DefaultAsyncHttpxClient(transport=transport)
    client = openai.AsyncOpenAI(api_key="sk-simulated", http_client=http)
    begun = time.perf_counter()
    await _chat(client, turns)
    return time.perf_counter() - begun


@contextmanager
def captured() -> Iterator[None]:
    """Model calls of this process go to a simulator and are caught on their way."""
    provider = ProviderSimulator(lambda call: Reply(HALF))
    with provider, redirect({"api.openai.com": provider.url}):
        gateway.install(gateway.Capture())
        try:
            yield
        finally:
            gateway.uninstall()


async def replayed(store: Store, folder: Path, agent: Agent, size: int) -> tuple[float, float]:
    """Seconds that the first attempt and its replay took, each to the wait."""
    worker = Worker(store, FileBlobs(folder), {agent.name: agent}, WorkerSettings())
    began: list[float] = []
    ended: list[tuple[float, Ended | None]] = []
    worker.on_begin = lambda attempt: began.append(time.perf_counter())
    moved = asyncio.Event()

    def over(attempt: Attempt, end: Ended | None) -> None:
        ended.append((time.perf_counter(), end))
        moved.set()

    worker.on_end = over
    await worker.start()
    run = submitted.new(agent.name, size)
    await store.enqueue([run])
    await _until(moved, lambda: len(ended) == 1)
    if ended[0][1] is None or ended[0][1].state is not RunState.WAITING:
        raise RuntimeError(f"the run did not park: {ended[0][1]}")
    await store.signal(run.id, "go", b"null")
    await _until(moved, lambda: len(ended) == 2)
    if ended[1][1] is None or ended[1][1].state is not RunState.SUCCEEDED:
        raise RuntimeError(f"the run did not succeed: {ended[1][1]}")
    await worker.stop()
    return ended[0][0] - began[0], ended[1][0] - began[1]


async def _until(moved: asyncio.Event, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not true():
            await moved.wait()
            moved.clear()


async def stored(scene: Scene, turns: int) -> int:
    """Bytes that a conversation leaves in a database file and its blobs."""
    url = scene.url("sqlite")
    folder = scene.path("blobs")
    async with opened(url) as store:
        await replayed(store, folder, talk.agents["plainly"], turns)
    # Closed, so that everything is in the one file.
    blobs = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return scene.path("perdure.db").stat().st_size + blobs


async def measure(size: Size) -> list[Figure]:
    """Steps and conversations on both stores; bytes of three lengths."""
    steps, turns = size.of(1000, 100), size.of(300, 30)
    figures: list[Figure] = []
    with Scene() as scene, captured():
        for kind in KINDS:
            times = [
                await _replay(scene, kind, app.agents["pausing"], steps) for _ in range(size.repeat)
            ]
            talks = [
                await _replay(scene, kind, talk.agents["plainly"], turns)
                for _ in range(size.repeat)
            ]
            title = TITLES[kind]
            figures += [
                Figure(
                    "replay", f"{title}: {steps:,} steps", median(t for _, t in times) * 1e3, "ms",
                    STEPS_MS, beside=f"live: {median(t for t, _ in times) * 1e3:,.0f} ms",
                ),
                Figure(
                    "replay", f"{title}: {turns} model calls growing 2 KB a turn",
                    median(t for _, t in talks), "s", TURNS_S,
                    beside=f"live: {median(t for t, _ in talks):.1f} s",
                ),
            ]  # fmt: skip
        with_sdk: list[float] = []
        alone: list[float] = []
        for _ in range(min(size.repeat, 3)):
            alone.append(await sdk_alone(turns))
            _, again = await _replay(scene, "postgres", talk.agents["sdk"], turns)
            with_sdk.append(again)
        over = median(with_sdk) - median(alone)
        figures.append(
            Figure(
                "replay", f"PostgreSQL: {turns} calls of the OpenAI SDK, over the SDK alone", over,
                "s", TURNS_S,
                beside=f"{median(with_sdk):.1f} s, the SDK alone {median(alone):.1f} s",
            )
        )  # fmt: skip
        none = await stored(scene, 0)
        third, whole = await stored(scene, turns // 3), await stored(scene, turns)
    growth = ((whole - none) / turns) / ((third - none) / (turns // 3))
    figures.append(
        Figure(
            "replay", f"bytes a turn, {turns} turns over {turns // 3}", growth, "x", LINEAR,
            beside=f"{(whole - none) / turns / 1024:.1f} KB a turn, {whole / 1e6:.1f} MB in all",
        )
    )  # fmt: skip
    return figures


async def _replay(scene: Scene, kind: Kind, agent: Agent, size: int) -> tuple[float, float]:
    async with opened(scene.url(kind)) as store:
        return await replayed(store, scene.path("blobs"), agent, size)
