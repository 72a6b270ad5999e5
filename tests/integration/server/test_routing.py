"""``GET /api/routes``: where model calls go, as the settings, the breakers and the ledger say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

from perdure.app import App
from perdure.core import breaker, drill
from perdure.core.breaker import Rule
from perdure.core.charge import Charge, Priced, Source
from perdure.core.drill import Drill
from perdure.core.routing import Route, Target
from perdure.core.shared import Swap
from perdure.server.openapi import document
from perdure.store import Store
from tests.integration.server.serving import Served, serving

CLAUDE = Route(
    name="claude",
    model=("claude-*",),
    max_prompt=2000,
    targets=(Target(name="east", key="a"), Target(name="west", key="b", model="small")),
)


def charge(name: str, target: str, source: str = Source.SENT, cost: int = 0) -> Charge:
    return Charge(
        name.encode().ljust(16), "agent", "anthropic", "m", source, route="claude", target=target,
        cost=cost, priced=Priced.KNOWN, took_ms=100,
    )  # fmt: skip


async def asked(served: Served, path: str = "/api/routes") -> Any:
    answer = await served.http.get(path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    schemas = document()["components"]["schemas"]
    schema = {"$ref": "#/components/schemas/Routes", "components": {"schemas": schemas}}
    Draft202012Validator(schema).validate(found)
    return found


async def broken(store: Store, target: str, failures: int) -> None:
    now = (await store.now()).timestamp()
    state = breaker.failed(breaker.CLOSED, Rule(), now, failures)
    key = breaker.key(target)
    assert (await store.swap((), [Swap(key, 0, breaker.encode(state))])).done


async def test_no_routes(tmp_path: Path) -> None:
    async with serving(App(), tmp_path, work=False) as served:
        assert (await asked(served))["routes"] == []


async def test_targets_breakers_and_costs(tmp_path: Path) -> None:
    async with serving(App(), tmp_path, work=False) as served:
        served.service.config = replace(served.service.config, routes=(CLAUDE,))
        store = served.store
        await store.charge(
            [
                charge("1", "east", cost=2_000_000_000),
                charge("2", "east", Source.FAILED),
                charge("3", "west", cost=500_000_000),
                charge("4", "west", Source.REPLAYED),  # nobody was asked
            ]
        )
        await broken(store, "east", 5)
        await broken(store, "west", 2)
        now = (await store.now()).timestamp()
        one = Drill("d", "claude", "west", 10.0, now, now + 600)
        await store.swap((), [Swap(drill.key("claude"), 0, drill.encode(one))])
        [route] = (await asked(served))["routes"]
        assert route["rules"] == {"model": ["claude-*"], "max_prompt": 2000}
        assert (route["calls"], route["cost_usd"], route["cost_per_call_usd"]) == (3, 2.5, 1.25)
        assert route["drill"]["target"] == "west"
        east, west = route["targets"]
        assert (east["breaker"], east["success"], east["share"]) == ("open", 0.5, 0.6667)
        assert east["until"] is not None
        assert east["cost_per_call_usd"] == 2.0
        assert (west["breaker"], west["failures"], west["calls"]) == ("closed", 2, 1)
        later = (await store.now() + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        [route] = (await asked(served, f"/api/routes?since={later}"))["routes"]
        assert route["calls"] == 0
        assert route["targets"][0]["success"] is None


async def test_a_wrong_question(tmp_path: Path) -> None:
    async with serving(App(), tmp_path, work=False) as served:
        for query in ("since=yesterday", "until=2026-01-01T00:00:00Z"):
            assert (await served.http.get(f"/api/routes?{query}")).status_code == 422
