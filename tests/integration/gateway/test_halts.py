"""The kill switch stops new model calls on every worker, and nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from perdure.cli.main import main
from perdure.core.record import EntryState, Kind
from perdure.errors import InvalidInput, NotFound
from perdure.runtime.halting import halt, halts, lift
from perdure.store import Store, make_store
from perdure.testing.simulator import Call, ProviderSimulator, Reply
from tests.integration.cli.program import Place
from tests.running import Ground

AGENTS = """
import os
import anthropic
import perdure

app = perdure.App()

async def ask(text):
    message = await anthropic.AsyncAnthropic().messages.create(
        model="claude-sonnet-5-5", max_tokens=20, messages=[{"role": "user", "content": text}]
    )
    return message.content[0].text

@app.agent
async def looper(name: str) -> int:
    for n in range(100_000):
        if await ask(f"{name} {n} of {os.getpid()}") == "enough":
            return n
    return -1

@app.agent
async def slow(name: str) -> str:
    return await ask(f"slow {name}")
"""


class Provider:
    """Notes when it is asked, by run and process. Slow questions are held until ``release``."""

    def __init__(self) -> None:
        self.asked: dict[str, list[float]] = defaultdict(list)
        self.processes: set[str] = set()
        self.enough = False
        self._loop = asyncio.get_running_loop()
        self.both, self.slow, self.release = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.obeyed_by = float("inf")
        self.obeyed = asyncio.Event()  # another agent asked after that time

    async def __call__(self, call: Call) -> Reply:
        found = re.match(r"(\w+) (\d+) of (\d+)", call.prompt)
        if found is None:
            self._loop.call_soon_threadsafe(self.slow.set)
            future = asyncio.run_coroutine_threadsafe(self.release.wait(), self._loop)
            await asyncio.wrap_future(future)
            return Reply("done")
        self.asked[found[1]].append(time.monotonic())
        if time.monotonic() > self.obeyed_by:
            self._loop.call_soon_threadsafe(self.obeyed.set)
        self.processes.add(found[3])
        if len(self.processes) == 2:
            self._loop.call_soon_threadsafe(self.both.set)
        return Reply("enough" if self.enough else "more")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = make_store(f"sqlite:///{tmp_path}/runs.db")
    await made.open(check=False)
    await made.upgrade()
    yield made
    await made.close()


@pytest.fixture
def ground(tmp_path: Path, store: Store) -> Ground:
    """Runs of workers that are processes of their own."""
    place = Ground(tmp_path)
    place.store = store  # type: ignore[assignment]
    return place


@pytest.fixture
async def provider() -> Provider:
    return Provider()


@pytest.fixture
def workers(tmp_path: Path, provider: Provider) -> Iterator[ExitStack]:
    """Two worker processes that execute two runs each at a time."""
    place = Place(tmp_path)
    (tmp_path / "agents.py").write_text(AGENTS)
    with ExitStack() as stack:
        sim = stack.enter_context(ProviderSimulator(provider))
        host = sim.url.removeprefix("http://")
        (tmp_path / "perdure.toml").write_text(
            f'[store]\nurl = "sqlite:///{tmp_path}/runs.db"\n'
            f'[gateway.providers]\n"{host}" = "anthropic"\n'
        )
        env = {**os.environ, "ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": "sk-x"}
        for _ in range(2):
            args = ("worker", "agents.py:app", "--concurrency", "2")
            stack.enter_context(place.start(*args, env=env))
        yield stack


async def test_every_worker_obeys_within_a_second(
    ground: Ground, workers: ExitStack, provider: Provider, store: Store
) -> None:
    runs = {name: await ground.start("looper", name) for name in ("a", "b", "c", "d")}
    async with asyncio.timeout(30):
        await provider.both.wait()
    halted = await halt(store, "agent", "looper", by="ada", reason="it talks too much")
    at = time.monotonic()
    for run in runs.values():
        failed = await ground.until(run, within=30)
        assert failed.state == "failed"
        assert failed.error is not None
        assert "agent looper was halted by ada: it talks too much" in failed.error["message"]
        assert "403" in failed.error["message"]
    last = max(times[-1] for times in provider.asked.values())
    assert last < at + 1.0
    assert await halts(store) == [halted]

    counts = {name: len(times) for name, times in provider.asked.items()}
    await lift(store, "agent", "looper")
    assert await halts(store) == []
    provider.enough = True
    for name, run in runs.items():
        await store.redrive(run)
        # It goes on where it was: what was answered is not asked again.
        assert await ground.result(run, within=30) == counts[name]
        assert len(provider.asked[name]) == counts[name] + 1


async def test_calls_under_way_end_and_others_go_on(
    ground: Ground, workers: ExitStack, provider: Provider, store: Store
) -> None:
    slow = await ground.start("slow", "x")
    other = await ground.start("looper", "a")
    async with asyncio.timeout(30):
        await provider.slow.wait()
        await halt(store, "agent", "slow", by="ada")
        provider.obeyed_by = time.monotonic() + 1.0
        await provider.obeyed.wait()  # another agent is not concerned
    late = await ground.start("slow", "y")
    assert (await ground.until(late, within=30)).state == "failed"
    provider.enough = True
    assert await ground.result(other, within=30) > 0
    provider.release.set()
    assert await ground.result(slow, within=30) == "done"
    [call] = [e for e in await store.journal(slow) if e.kind == Kind.MODEL]
    assert call.state == EntryState.DONE


async def test_halting_and_lifting_twice(store: Store) -> None:
    first = await halt(store, "tenant", "a/b c", by="ada", reason="unpaid")
    assert await halt(store, "tenant", "a/b c", by="bob") == first
    assert first.halt.by == "ada"
    second = await halt(store, "agent", "x" * 300, by="bob")
    assert [(one.kind, one.name) for one in await halts(store)] == [
        ("tenant", "a/b c"), ("agent", "x" * 300),
    ]  # fmt: skip
    assert await lift(store, "agent", "x" * 300) == second
    with pytest.raises(NotFound):
        await lift(store, "agent", "x" * 300)
    for kind, name, reason in (("model", "a", ""), ("agent", "", ""), ("agent", "a", "x" * 501)):
        with pytest.raises(InvalidInput):
            await halt(store, kind, name, by="ada", reason=reason)


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["db", "upgrade"]) == 0
    capsys.readouterr()

    def said(*args: str) -> Any:
        code = main(["halt", *args])
        out, err = capsys.readouterr()
        return orjson.loads(out) if "--json" in args and code == 0 else (code, out + err)

    assert said("list") == (0, "Nothing is halted.\n")
    made = said("agent", "talk", "--reason", "too chatty", "--json")
    assert (made["kind"], made["name"], made["reason"]) == ("agent", "talk", "too chatty")
    assert "no new model calls" in said("tenant", "acme")[1]
    listed = said("list", "--json")["halts"]
    assert listed[0] == made
    assert [one["name"] for one in listed] == ["talk", "acme"]
    code, text = said("list")
    assert (code, "too chatty" in text) == (0, True)
    assert said("lift", "agent", "talk") == (0, "The agent talk may make model calls again.\n")
    code, text = said("lift", "agent", "talk")
    assert code != 0
    assert "is not halted" in text
