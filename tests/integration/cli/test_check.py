"""``perdure check`` beside a worker that executes, over both stores; and that it writes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from perdure.store import make_store
from perdure.store.ids import new_run_id
from perdure.store.rows import NewRun
from tests.integration.cli.program import AGENT, Place
from tests.servers import PostgresServer, offered


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with offered(PostgresServer()) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, place: Place) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{place.folder}/runs.db"
    server: PostgresServer = request.getfixturevalue("server")
    return server.dsn(server.create_database())


def ask(url: str, what: str, **more: Any) -> Any:
    """Something of the store, in an event loop of its own."""

    async def main() -> Any:
        store = make_store(url)
        await store.open(check=False)
        try:
            if what == "upgrade":
                return await store.upgrade()
            if what == "enqueue":
                ids = [new_run_id() for _ in range(more["count"])]
                agent = more["agent"]
                await store.enqueue([NewRun(i, agent, b'"hi"', queue=agent) for i in ids])
                return ids
            runs = [await store.get(run_id) for run_id in more["ids"]]
            return [(run, await store.events(run.id)) for run in runs]
        finally:
            await store.close()

    return asyncio.run(main())


def test_runs_under_way_are_checked_and_left_alone(place: Place, url: str) -> None:
    ask(url, "upgrade")
    with place.start("worker", "agents.py:app", "--store", url) as worker:
        worker.until("is ready")
        ids = ask(url, "enqueue", agent="three", count=1)
        ids += ask(url, "enqueue", agent="approved", count=2)
        place.open("1")
        worker.until("in step 2")  # one effect is recorded, the next one is in flight
        before = ask(url, "runs", ids=ids)
        code, out, err = place.run("check", "agents.py:app", "--store", url, "--json")
        assert code == 0, (out, err)
        found = json.loads(out)
        assert (found["checked"], found["fits"]) == (3, 3)
        three = next(run for run in found["runs"] if run["agent"] == "three")
        assert (three["state"], three["answered"]) == ("running", 1)

        (place.folder / "new.py").write_text(AGENT.replace("(1, 2, 3)", "(7, 2, 3)"))
        code, out, err = place.run("check", "new.py:app", "--store", url)
        assert code == 20, (out, err)
        assert "step 'gated' with other arguments than recorded (new.py:" in out
        parked = [run for run in ask(url, "runs", ids=ids) if run[0].agent == "three"]
        assert parked == [run for run in before if run[0].agent == "three"]
        assert place.calls == ["step 1", "step 2"]

        place.open("2", "3")
        worker.until("in step 3")
        worker.tell(signal.SIGTERM)
        assert worker.ended() == 0


def test_it_needs_no_right_to_write(place: Place, server: PostgresServer) -> None:
    url = server.dsn(server.create_database())
    ask(url, "upgrade")
    ask(url, "enqueue", agent="approved", count=1)
    name = url.rpartition("/")[2].partition("?")[0]

    async def read_only() -> None:
        import asyncpg

        link = await asyncpg.connect(url)
        await link.execute(f'alter database "{name}" set default_transaction_read_only = on')
        await link.close()

    asyncio.run(read_only())
    code, out, err = place.run("check", "agents.py:app", "--store", url, "--json")
    assert code == 0, (out, err)
    assert json.loads(out)["fits"] == 1


def test_an_sqlite_file_stays_as_it_is(place: Place) -> None:
    url = f"sqlite:///{place.folder}/runs.db"
    ask(url, "upgrade")
    ask(url, "enqueue", agent="approved", count=3)

    def dump() -> list[str]:
        with sqlite3.connect(place.folder / "runs.db") as link:
            return list(link.iterdump())

    before = dump()
    assert place.run("check", "agents.py:app", "--store", url)[0] == 0
    assert dump() == before


def test_ctrl_c_ends_it(place: Place) -> None:
    url = f"sqlite:///{place.folder}/runs.db"
    ask(url, "upgrade")
    ask(url, "enqueue", agent="waits", count=1)
    (place.folder / "waits.py").write_text(
        "import asyncio\n"
        "async def waits(text: str) -> None:\n"
        "    print('it waits', flush=True)\n"
        "    await asyncio.Event().wait()\n"
    )
    with place.start("check", "waits.py:waits", "--store", url) as program:
        program.until("it waits")
        program.tell(signal.SIGINT)
        assert program.ended() == 130
