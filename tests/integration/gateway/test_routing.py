"""Which model answers a call: rules of the settings, a user's function, weights; and what each
route costs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import anthropic
import openai
import pytest

import perdure
from perdure import codec
from perdure.app import App
from perdure.config import Config
from perdure.core.routing import Asked
from perdure.runtime.routing import standing
from perdure.store.costs import CostFilter
from perdure.store.rows import NewRun
from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

CHEAP = "claude-haiku-5-5"
DEAR = "claude-sonnet-5-5"


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    with ProviderSimulator(script([Reply("Yes.")] * 50)) as made:
        yield made


def to_cheap(rule: str) -> str:
    """A route to the small model for what ``rule`` says."""
    return f"""
[[routes]]
name = "cheap"
{rule}
targets = [{{ name = "small", model = "{CHEAP}" }}]
"""


async def ask(words: str = "Is it?") -> None:
    await anthropic.AsyncAnthropic().messages.create(
        model=DEAR, max_tokens=50, messages=[{"role": "user", "content": words}]
    )


async def ran(ground: Ground, agent: str, value: Any = None, **more: Any) -> None:
    run = NewRun(
        id=str(uuid4()), agent=agent, input=codec.encode(value), queue=agent, watch=True, **more
    )
    await ground.store.enqueue([run])
    await ground.result(run.id)


def models(sim: ProviderSimulator) -> list[str]:
    return [call.model for call in sim.calls()]


async def test_by_agent(ground: Ground, begin: Begin, sim: ProviderSimulator) -> None:
    async def support() -> None:
        await ask()

    async def support_eu() -> None:
        await ask()

    async def research() -> None:
        await ask()

    app = App()
    for agent in (support, support_eu, research):
        app.add(agent)
    await begin(app, sim, to_cheap('agent = "support*"'))
    for name in ("support", "support_eu", "research"):
        await ran(ground, name)
    assert models(sim) == [CHEAP, CHEAP, DEAR]


@perdure.step
async def summarise() -> None:
    await ask()


@perdure.tool(effect="reads")
async def look_up() -> None:
    await ask()


async def test_by_step(ground: Ground, begin: Begin, sim: ProviderSimulator) -> None:
    async def agent() -> None:
        await summarise()
        await look_up()
        await ask()

    app = App()
    app.add(agent)
    await begin(app, sim, to_cheap('step = ["summarise", "look_up"]'))
    await ran(ground, "agent")
    assert models(sim) == [CHEAP, CHEAP, DEAR]


async def test_by_tenant(ground: Ground, begin: Begin, sim: ProviderSimulator) -> None:
    app = App()
    app.add(asking(), name="agent")
    await begin(app, sim, to_cheap('tenant = ["free", "trial-*"]'))
    for tenant in ("free", "trial-7", "acme", ""):
        await ran(ground, "agent", tenant=tenant)
    assert models(sim) == [CHEAP, CHEAP, DEAR, DEAR]


def asking(words: str = "Is it?") -> Callable[..., Any]:
    async def agent() -> None:
        await ask(words)

    return agent


async def test_by_the_size_of_the_prompt(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App()
    app.add(asking(), name="short")
    app.add(asking("Is it? " * 2000), name="long")
    await begin(app, sim, to_cheap("max_prompt = 500"))
    for name in ("short", "long"):
        await ran(ground, name)
    assert models(sim) == [CHEAP, DEAR]


async def test_by_declared_difficulty(ground: Ground, begin: Begin, sim: ProviderSimulator) -> None:
    async def agent() -> None:
        with perdure.difficulty("easy"):
            await ask()
        await ask()

    app = App()
    app.add(agent)
    await begin(app, sim, to_cheap('difficulty = "easy"'))
    await ran(ground, "agent")
    await ran(ground, "agent", labels={"difficulty": "easy"})
    assert models(sim) == [CHEAP, DEAR, CHEAP, CHEAP]


async def test_all_rules_must_fit_and_the_first_route_wins(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App()
    app.add(asking(), name="agent")
    rules = to_cheap(f'agent = "agent"\ntenant = "free"\nmodel = "{DEAR}"')
    other = to_cheap('agent = "agent"').replace(CHEAP, "claude-opus-5-5").replace("cheap", "other")
    other = other.replace("small", "large")
    await begin(app, sim, rules + other)
    for tenant in ("free", "acme"):
        await ran(ground, "agent", tenant=tenant)
    assert models(sim) == [CHEAP, "claude-opus-5-5"]


async def test_by_a_function_of_ones_own(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    seen: list[Asked] = []

    def route(asked: Asked) -> str | None:
        seen.append(asked)
        return "cheap" if asked.tenant == "free" else None

    app = App(route=route)
    app.add(asking(), name="agent")
    # No rule of the settings fits: the function alone sends anyone there.
    await begin(app, sim, to_cheap('agent = "nobody"'))
    for tenant in ("free", "acme"):
        await ran(ground, "agent", tenant=tenant, session="s")
    assert models(sim) == [CHEAP, DEAR]
    assert (seen[0].model, seen[0].agent, seen[0].session) == (DEAR, "agent", "s")
    assert 0 < seen[0].prompt < 500


async def test_a_function_that_fails_leaves_it_to_the_settings(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    def route(asked: Asked) -> str | None:
        raise ValueError("a bug")

    app = App(route=route)
    app.add(asking(), name="agent")
    await begin(app, sim, to_cheap('agent = "agent"'))
    await ran(ground, "agent")
    assert models(sim) == [CHEAP]


async def test_a_function_that_names_no_route(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App(route=lambda asked: "nowhere")
    app.add(asking(), name="agent")
    await begin(app, sim, to_cheap('agent = "agent"'))
    run = await ground.until(await ground.start("agent", None, attempts=1))
    assert run.state in ("failed", "dead")
    assert "which is no route. Routes: cheap" in str(run.error)
    assert models(sim) == []


WEIGHTED = f"""
[[routes]]
name = "split"
sticky = "session"
targets = [
  {{ name = "one", model = "{DEAR}", weight = 1 }},
  {{ name = "two", model = "{CHEAP}", weight = 1 }},
]
"""


async def test_a_session_stays_where_its_prompt_is_cached(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    app = App()
    app.add(asking(), name="agent")
    end = await begin(app, sim, WEIGHTED)
    for session in range(24):
        await ran(ground, "agent", session=f"session {session // 2}")
    await end()
    found = await ground.store.costs(CostFilter(by=("session", "target", "why")))
    assert len(found) == 12  # each with one target
    assert {row.group["target"] for row in found} == {"one", "two"}
    assert {row.group["why"] for row in found} == {"weight 1/2"}


async def test_the_report_compares_routes(
    ground: Ground,
    begin: Begin,
    sim: ProviderSimulator,
    settings: Callable[[str], Config],
) -> None:
    config = to_cheap('difficulty = "easy"') + to_cheap("").replace("cheap", "dear").replace(
        "small", "large"
    ).replace(CHEAP, DEAR)

    async def agent() -> None:
        with perdure.difficulty("easy"):
            await ask()
        await ask()

    app = App()
    app.add(agent)
    end = await begin(app, sim, config)
    await ran(ground, "agent")
    await end()
    rows = await ground.store.costs(CostFilter(by=("route", "target", "model")))
    dear, cheap = [(row.group, row.calls, row.cost) for row in rows]  # the dearest first
    assert dear[:2] == ({"route": "dear", "target": "large", "model": DEAR}, 1)
    assert cheap[:2] == ({"route": "cheap", "target": "small", "model": CHEAP}, 1)
    assert dear[2] > cheap[2] > 0
    since = await ground.store.now() - timedelta(hours=1)
    found = await standing(ground.store, settings(config).routes, since)
    costs = {one.route.name: one.targets[0].cost_per_answer for one in found.routes}
    assert costs == {"cheap": cheap[2], "dear": dear[2]}


async def test_chat_completions_are_routed_too(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent() -> None:
        await openai.AsyncOpenAI().chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": "Is it?"}]
        )

    app = App()
    app.add(agent)
    await begin(app, sim, to_cheap('model = "gpt-*"').replace(CHEAP, "gpt-5-mini"))
    await ran(ground, "agent")
    assert models(sim) == ["gpt-5-mini"]
