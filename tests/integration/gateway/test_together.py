"""Everything at once: two unmodified agents, four workers, limits far below what they ask for, and
a first target that dies in the middle."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from perdure import codec
from perdure.core.run import FINAL
from perdure.store import Store, make_store
from perdure.store.costs import CostFilter
from perdure.store.rows import Filter, NewRun
from perdure.testing.simulator import Call, Limit, ProviderSimulator, Quota, Reply
from tests.servers import PostgresServer, offered

WORKERS = 4
RUNS = 24  # of each agent, with two model calls each
AGENTS = Path(__file__).with_name("together_agents.py")
# The ten lines: limits, and a second target for each provider.
SETTINGS = """
limits = [
  {{ provider = "anthropic", model = "claude-*", rpm = 240, window = "6s", itpm = 200_000 }},
  {{ provider = "openai", model = "gpt-*", rpm = 240, window = "6s", tpm = 2_000_000 }},
]
routes = [
  {{ name = "claude", model = "claude-*", targets = [
    {{ name = "east", base_url = "{east}" }},
    {{ name = "west", base_url = "{west}", key = "w" }}] }},
  {{ name = "gpt", model = "gpt-*", targets = [
    {{ name = "east gpt", base_url = "{east}/v1" }},
    {{ name = "west gpt", base_url = "{west}/v1", key = "w" }}] }},
]
keys = {{ w = {{ env = "WEST_KEY" }} }}
[gateway]
patience = "2s"
[gateway.providers]
"{host}" = "{provider}"
"""


def brain(call: Call) -> Reply:
    """A tool call, then an answer."""
    if call.turn == 0:
        return Reply(tools=[("weather", {"city": "Faro"})])
    return Reply("It is mild.", chunk=4)


@pytest.fixture
def sim() -> Iterator[ProviderSimulator]:
    quotas = [
        Quota((Limit("requests", 24, per=6, kind="window"),), name=name, models=(models,))
        for name, models in (("claude", "claude-*"), ("gpt", "gpt-*"))
    ]
    with ProviderSimulator(brain, limits=quotas, targets=("east", "west")) as made:
        yield made


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with offered(PostgresServer()) as server:
        yield server


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    return postgres.dsn(postgres.create_database())


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    made = make_store(dsn)
    await made.open(check=False)
    await made.upgrade()
    yield made
    await made.close()


@pytest.fixture
def workers(
    tmp_path: Path, sim: ProviderSimulator, store: Store, dsn: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    (tmp_path / "agents.py").write_text(AGENTS.read_text())
    host = sim.url.removeprefix("http://")
    east, west = sim.target_url("east"), sim.target_url("west")
    text = SETTINGS.format(east=east, west=west, host=host, provider="anthropic")
    ports = "".join(f'"{url.removeprefix("http://")}" = "openai"\n' for url in (east, west))
    (tmp_path / "perdure.toml").write_text(text + ports)
    environ = {
        **os.environ,
        "PERDURE_STORE": dsn,
        "ANTHROPIC_API_KEY": "sk-a", "OPENAI_API_KEY": "sk-o", "WEST_KEY": "sk-w",
        "ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": f"{east}/v1",
    }  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    try:
        for n in range(WORKERS):
            with (tmp_path / f"worker{n}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-m",
                            "perdure",
                            "worker",
                            "agents.py:guide",
                            "agents.py:clerk",
                        ],
                        cwd=tmp_path,
                        env=environ,
                        stdout=log,
                        stderr=log,
                    )
                )
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


async def until(condition: Callable[[], Awaitable[bool]], within: float = 150) -> None:
    """Processes of others tell nobody here when they are through: look now and then."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("workers")
async def test_all_runs_end_within_the_limits_and_the_books_agree(
    sim: ProviderSimulator, store: Store
) -> None:
    def run(agent: str, n: int) -> NewRun:
        text = f"What is the weather in Faro? ({n})"
        asked: Any = {"messages": [{"role": "user", "content": text}]} if agent == "guide" else text
        return NewRun(str(uuid4()), agent, codec.encode(asked), queue=agent)

    runs = [run(agent, n) for n in range(RUNS) for agent in ("guide", "clerk")]
    await store.enqueue(runs)

    async def half() -> bool:
        return sim.accounting().total.answered >= RUNS

    await until(half)
    sim.down("east")

    async def over() -> bool:
        found = await store.find(Filter(limit=1000))
        return all(one.state in FINAL for one in found)

    await until(over)
    found = await store.find(Filter(limit=1000))
    assert {str(one.state) for one in found} == {"succeeded"}
    books = sim.accounting()
    assert books.total.limited == 0
    assert all(meter.largest_share <= 1.0 for meter in books.meters)
    rows = await store.costs(CostFilter(by=("source",)))
    told = {row.group["source"]: row for row in rows}
    used = [row for name, row in told.items() if name in ("sent", "void")]
    assert sum(row.input for row in used) == books.total.input
    assert sum(row.output for row in used) == books.total.output
    assert told["sent"].calls == 4 * RUNS
    targets = {row.group["target"] for row in await store.costs(CostFilter(by=("target",)))}
    assert {"east", "west", "east gpt", "west gpt"} <= targets
