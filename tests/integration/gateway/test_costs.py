"""What was spent, as people ask for it: the command, CSV, the API, the clients."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from perdure.cli.main import main
from perdure.client import AsyncClient
from perdure.config import load
from perdure.core.charge import NANO, Charge, Priced, Source
from perdure.core.shared import Swap
from perdure.errors import InvalidInput, NotFound, UsageError
from perdure.runtime.spending import DOCUMENT
from perdure.server.asgi import make_app
from perdure.server.service import Service
from perdure.store import Store, make_store

RUN = "01980a52-2b1f-7e3a-9d2c-5b1a0c9d8e7f"
BUDGETS = """
[store]
url = "sqlite:///perdure.db"
[[budgets]]
name = "daily"
usd = 10
every = "day"
soft = "80%"
"""
Say = Callable[..., tuple[int, str, str]]


def charge(n: int, agent: str, cost: float = 0.0, **more: Any) -> Charge:
    given: dict[str, Any] = {"priced": Priced.KNOWN, "input": 1000, "output": 50, **more}
    return Charge(
        n.to_bytes(16, "big"), agent, "anthropic", "claude-opus-5", cost=round(cost * NANO), **given
    )  # fmt: skip


LEDGER = [
    charge(1, "writer", 1.5, run_id=RUN, cache_read=400, saved=NANO // 10),
    charge(2, "writer", 0.25, run_id=RUN, priced=Priced.ESTIMATE),
    charge(3, "writer", source=Source.REPLAYED, calls=3, saved=3 * NANO, run_id=RUN),
    charge(4, "critic", 0.5, tenant="acme"),
    charge(5, "critic", source=Source.CACHED, saved=NANO // 2, tenant="acme"),
    charge(6, "critic", priced=Priced.UNKNOWN, source=Source.FAILED, input=0, output=0),
    charge(7, "=cmd()", 0.001),
]  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "perdure.toml").write_text(BUDGETS)
    made = make_store("sqlite:///perdure.db")
    await made.open(check=False)
    await made.upgrade()
    await made.charge(LEDGER)
    yield made
    await made.close()


@pytest.fixture
def say(store: Store, capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*args: str) -> tuple[int, str, str]:
        code = main(args)
        out, err = capsys.readouterr()
        return code, out, err

    return run


async def said(say: Say, *args: str) -> tuple[int, str, str]:
    """Commands have an event loop of their own."""
    return await asyncio.to_thread(say, *args)


async def document(say: Say, *args: str) -> Any:
    code, out, err = await said(say, *args, "--json")
    assert code == 0, err
    return json.loads(out)


async def test_a_table_for_people(say: Say) -> None:
    code, out, err = await said(say, "costs", "--by", "agent")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines == [
        ["AGENT", "CALLS", "REPLAYED", "CACHED", "IN", "OUT", "HITS", "COST", "SAVED"],
        ["writer", "2", "3", "-", "2.0k", "100", "20%", "~$1.75", "$3.10"],
        ["critic", "2", "-", "1", "1.0k", "50", "-", "?$0.50", "$0.50"],
        ["=cmd()", "1", "-", "-", "1.0k", "50", "-", "$0.0010", "-"],
        ["total", "5", "3", "1", "4.0k", "200", "10%", "~?$2.25", "$3.60"],
    ]
    assert "1 failed" in err
    assert "~ 1 call at an estimated price" in err
    assert "? 1 call without a known price: add it to [[prices]]" in err
    assert max(map(len, out.splitlines())) <= 80


async def test_groups_filters_and_times(say: Say) -> None:
    found = await document(say, "costs", "--by", "agent,day", "--tenant", "acme")
    [row] = found["costs"]
    assert row["group"].keys() == {"agent", "day"}
    assert (row["group"]["agent"], row["cost_usd"], row["cached"]) == ("critic", 0.5, 1)
    assert (found["total"]["cost_nano"], found["more"]) == (NANO // 2, 0)
    found = await document(say, "costs", "--by", "run", "--run", RUN)
    assert [row["group"] for row in found["costs"]] == [{"run": RUN}]
    assert found["costs"][0]["hit_rate"] == 0.2
    assert (await document(say, "costs", "--until", "1d"))["costs"] == []
    assert (await document(say, "costs", "--since", "2999-01-01"))["costs"] == []
    assert (await document(say, "costs", "--limit", "1", "--by", "agent"))["more"] == 2
    whole = await document(say, "costs", "--by", "")
    assert [row["group"] for row in whole["costs"]] == [{}]
    assert (await said(say, "costs", "--until", "1d"))[2] == "No model calls in that time.\n"


async def test_csv_for_spreadsheets(say: Say) -> None:
    code, out, _ = await said(say, "costs", "--by", "agent,provider", "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["agent"], row["cost_usd"]) for row in rows] == [
        ("writer", "1.75"), ("critic", "0.5"), ("'=cmd()", "0.001"),
    ]  # fmt: skip
    assert rows[0]["saved_usd"] == "3.1"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--by", "colour"), "'colour'"),
        (("--since", "yesterday"), "neither a time"),
        (("--csv", "--json"), "two ways"),
    ],
)
async def test_what_makes_no_sense(say: Say, args: tuple[str, ...], words: str) -> None:
    code, _, err = await said(say, "costs", *args)
    assert code != 0
    assert words in err


async def test_unusual_hours_are_shown(say: Say, store: Store) -> None:
    assert (await said(say, "costs", "--anomalies"))[2] == "Nothing unusual was spent.\n"
    now = await store.now()
    hours = [(now - timedelta(days=ago)).strftime("%Y-%m-%dT%H") for ago in (40, 1)]
    rows = [[hour, "main", 9 * NANO, NANO] for hour in hours]
    await store.swap([], [Swap(DOCUMENT, 0, orjson.dumps(rows))])
    code, out, _ = await said(say, "costs", "--anomalies")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [[hours[1], "main", "$9.00", "$1.00"]]
    assert "1 unusual hour" in (await said(say, "costs"))[2]
    found = await document(say, "costs", "--since", "60d")
    assert [one["hour"] for one in found["anomalies"]] == hours[::-1]


async def test_budgets(say: Say) -> None:
    found = await document(say, "budgets")
    assert [(one["name"], one["left_usd"]) for one in found["budgets"]] == [("daily", 10.0)]
    code, out, _ = await said(say, "budgets")
    assert (code, out.splitlines()[1].split()[:4]) == (0, ["daily", "all", "$10.00", "$0"])
    code, _, err = await said(say, "budgets", "--name", "weekly")
    assert code != 0
    assert "Budgets: daily" in err


async def test_the_api_and_its_client(store: Store, tmp_path: Path) -> None:
    service = Service({}, load(tmp_path / "perdure.toml", environ={}), store, None)
    transport = httpx2.ASGITransport(make_app(service))
    async with AsyncClient("http://127.0.0.1:8080", transport=transport) as client:
        found = await client.costs(["agent", "tenant"], tenant="acme")
        assert [row["group"] for row in found["costs"]] == [{"agent": "critic", "tenant": "acme"}]
        assert (found["costs"][0]["cost_usd"], found["total"]["saved_usd"]) == (0.5, 0.5)
        since = await store.now() - timedelta(hours=1)
        found = await client.costs(since=since, run=RUN)
        assert [row["group"] for row in found["costs"]] == [{"model": "claude-opus-5"}]
        assert (await client.costs(until=since))["costs"] == []
        with pytest.raises(InvalidInput, match="'colour'"):
            await client.costs("colour")
        with pytest.raises(InvalidInput, match="is the id of a run"):
            await client.costs(run="x")
        [daily] = await client.budgets()
        assert (daily["name"], daily["amount_usd"]) == ("daily", 10.0)

        made = await client.halt(agent="writer", reason="too dear")
        assert (made["kind"], made["name"], made["reason"]) == ("agent", "writer", "too dear")
        assert await client.halts() == [made]
        assert await client.lift(agent="writer") == made
        assert await client.halts() == []
        with pytest.raises(NotFound):
            await client.lift(tenant="writer")
        with pytest.raises(UsageError):
            await client.halt(agent="a", tenant="b")
        with pytest.raises(InvalidInput):
            await client.halt(agent="")
