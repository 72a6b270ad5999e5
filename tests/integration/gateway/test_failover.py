"""Whatever the first target does, the run ends right; and the ledger says who answered, and why."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import anthropic
import openai
import pytest

from perdure import codec
from perdure.app import App
from perdure.cli.waterfall.contacts import by_effect, said
from perdure.config import Config
from perdure.core import breaker
from perdure.core.record import Kind
from perdure.core.routing import Asked
from perdure.gateway.board import Board
from perdure.gateway.credentials import Credentials
from perdure.gateway.targets import Chosen, Targets
from perdure.observe.logs import JsonLines
from perdure.store.costs import CostFilter
from perdure.store.rows import NewRun, Run
from perdure.testing.simulator import Fault, Match, ProviderSimulator, Reply, script
from tests.integration.gateway.conftest import Begin
from tests.running import Ground

ASK: Any = [{"role": "user", "content": "Say something."}]
WORDS = "The moon pulls at the sea, and the sea follows it twice a day."


@pytest.fixture
async def sim() -> AsyncIterator[ProviderSimulator]:
    brain = script([Reply(WORDS, chunk=8)])
    with ProviderSimulator(brain, targets=("east", "west")) as made:
        yield made


def routes(sim: ProviderSimulator, more: str = "") -> str:
    east, west = sim.target_url("east"), sim.target_url("west")
    return f"""
[gateway]
silence = "300ms"
[keys.east]
env = "EAST_KEY"
[keys.west]
env = "WEST_KEY"
[[routes]]
name = "claude"
model = "claude-*"
{more}
targets = [
  {{ name = "east", base_url = "{east}", key = "east" }},
  {{ name = "west", base_url = "{west}", key = "west", model = "claude-haiku-5-5" }},
]
[[routes]]
name = "gpt"
model = "gpt-*"
targets = [
  {{ name = "east gpt", base_url = "{east}/v1", key = "east" }},
  {{ name = "west gpt", base_url = "{west}/v1", key = "west", model = "gpt-5-mini" }},
]
"""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAST_KEY", "sk-east")
    monkeypatch.setenv("WEST_KEY", "sk-west")


async def whole() -> str:
    client = anthropic.AsyncAnthropic()
    message = await client.messages.create(model="claude-sonnet-5-5", max_tokens=100, messages=ASK)
    return message.content[0].text  # type: ignore[union-attr]


async def streamed() -> str:
    client = anthropic.AsyncAnthropic()
    async with client.messages.stream(
        model="claude-sonnet-5-5", max_tokens=100, messages=ASK
    ) as stream:
        return await stream.get_final_text()


def blocking() -> str:
    client = anthropic.Anthropic()
    with client.messages.stream(model="claude-sonnet-5-5", max_tokens=100, messages=ASK) as stream:
        return stream.get_final_text()


async def chat() -> str:
    client = openai.AsyncOpenAI()
    answer = await client.chat.completions.create(model="gpt-5", messages=ASK)
    return answer.choices[0].message.content or ""


AGENTS = [whole, streamed, blocking, chat]


def dead(sim: ProviderSimulator) -> None:
    sim.down("east")


def hanging(sim: ProviderSimulator) -> None:
    sim.set_faults([Fault("hang")], target="east")


def limited(sim: ProviderSimulator) -> None:
    sim.set_faults([Fault("429", retry_after=3600)], target="east")


def failing(sim: ProviderSimulator) -> None:
    sim.set_faults([Fault("500")], target="east")


def breaking(sim: ProviderSimulator) -> None:
    sim.set_faults([Fault("break", after_chunks=3)], target="east")


@pytest.mark.parametrize("trouble", [dead, hanging, limited, failing, breaking])
@pytest.mark.parametrize("agent", AGENTS)
async def test_every_run_ends_right(
    ground: Ground,
    begin: Begin,
    sim: ProviderSimulator,
    agent: Callable[..., Any],
    trouble: Callable[[ProviderSimulator], None],
) -> None:
    trouble(sim)
    app = App()
    app.add(agent, name="agent", timeout=30)
    end = await begin(app, sim, routes(sim))
    assert await ground.result(await ground.start("agent", None)) == WORDS
    await end()
    found = await ground.store.costs(CostFilter(by=("target", "source", "credential")))
    [sent] = [row.group for row in found if row.group["source"] == "sent"]
    assert sent["target"].startswith("west")
    assert sent["credential"] == "west"
    assert {row.group["target"][:4] for row in found} == {"east", "west"}


async def test_a_stream_that_broke_is_whole_again_and_its_text_void(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    breaking(sim)
    app = App()
    app.add(streamed, name="agent")
    end = await begin(app, sim, routes(sim))
    run = await ground.start("agent", None)
    assert await ground.result(run) == WORDS
    await end()
    assert (await ground.store.get(run)).attempts == 0  # nobody failed
    types = [event.type for event in await ground.events(run)]
    assert types.count("attempt.started") == 2
    found = await ground.store.costs(CostFilter(by=("source",)))
    assert {row.group["source"]: row.calls for row in found} == {"void": 1, "sent": 1}


async def test_a_stream_may_be_left_broken(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    breaking(sim)

    async def agent() -> str:
        try:
            return await streamed()
        except Exception as error:
            return type(error).__name__

    app = App()
    app.add(agent)
    await begin(app, sim, routes(sim, 'stream = "fail"'))
    assert "Error" in await ground.result(await ground.start("agent", None))


async def several(n: int) -> None:
    for _ in range(n):
        await whole()


async def test_a_target_that_fails_is_left_alone(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.down("east")
    app = App()
    app.add(several, name="agent")
    await begin(app, sim, routes(sim, 'break_after = 2\nopen_for = "1h"'))
    await ground.result(await ground.start("agent", 6))
    # Open after two failures: the rest went to the other one at once.
    failed = await ground.store.costs(CostFilter(source="failed", by=("target",)))
    assert [(row.group["target"], row.calls) for row in failed] == [("east", 2)]


async def test_a_target_that_fails_is_not_asked_for_a_while(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent(n: int) -> None:
        for _ in range(n):
            await whole()

    sim.down("east")
    app = App()
    app.add(agent)
    await begin(app, sim, routes(sim, 'break_after = 2\nopen_for = "1h"'))
    await ground.result(await ground.start("agent", 6))
    # Open after two failures: the rest went to the other one at once.
    failed = await ground.store.costs(CostFilter(source="failed", by=("target",)))
    assert [(row.group["target"], row.calls) for row in failed] == [("east", 2)]


async def test_a_target_that_comes_back_is_asked_again(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    async def agent(n: int) -> None:
        for _ in range(n):
            await whole()

    sim.down("east")
    app = App()
    app.add(agent)
    await begin(app, sim, routes(sim, 'break_after = 2\nopen_for = "300ms"'))
    await ground.result(await ground.start("agent", 3))
    sim.up("east")
    await sim_asked(ground, sim)


async def sim_asked(ground: Ground, sim: ProviderSimulator) -> None:
    """Runs go on until the first target answers again."""
    for _ in range(100):
        await ground.result(await ground.start("agent", 1))
        if any(call.target == "east" for call in sim.calls()):
            return
    raise AssertionError("it was never asked again")


async def test_a_wrong_request_goes_nowhere_else(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("400")], target="east")
    app = App()
    app.add(whole, name="agent")
    await begin(app, sim, routes(sim))
    assert (await ground.until(await ground.start("agent", None))).state == "failed"
    assert [call.target for call in sim.calls()] == ["east"]


async def test_what_its_own_credential_may_not_another_may(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("401")], target="east")
    app = App()
    app.add(whole, name="agent")
    await begin(app, sim, routes(sim))
    assert await ground.result(await ground.start("agent", None)) == WORDS
    assert [call.target for call in sim.calls()] == ["east", "west"]


async def test_targets_get_their_own_credentials_and_models(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.set_faults([Fault("500")], target="east")
    app = App()
    app.add(whole, name="agent")
    await begin(app, sim, routes(sim))
    await ground.result(await ground.start("agent", None))
    first, second = sim.calls()
    assert first.key != second.key
    assert (first.model, second.model) == ("claude-sonnet-5-5", "claude-haiku-5-5")


async def test_the_ledger_and_the_log_say_who_answered_and_why(
    ground: Ground,
    begin: Begin,
    sim: ProviderSimulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing(sim)
    caplog.set_level(logging.DEBUG, "perdure.calls")
    app = App()
    app.add(whole, name="agent")
    end = await begin(app, sim, routes(sim))
    run = await ground.start("agent", None)
    await ground.result(run)
    await end()
    rows = await ground.store.charges(CostFilter(run_id=run))
    [effect] = [entry for entry in await ground.store.journal(run) if entry.kind == Kind.MODEL]
    assert said(by_effect(rows)[effect.key], "claude-sonnet-5-5").startswith(
        "via west (claude-haiku-5-5, after east: HTTP 500) $"
    )
    first, second = [record for record in caplog.records if record.name == "perdure.calls"]
    assert (first.levelname, second.levelname) == ("INFO", "DEBUG")
    told = json.loads(JsonLines().format(second))
    assert (told["run_id"], told["agent"], told["effect"]) == (run, "agent", effect.key.hex())
    assert told["extra"]["cost_usd"] > 0
    facts = {name: told["extra"][name] for name in ("provider", "model", "credential", "route")}
    assert facts == {
        "provider": "anthropic", "model": "claude-haiku-5-5", "credential": "west",
        "route": "claude",
    }  # fmt: skip
    assert (told["extra"]["target"], told["extra"]["why"]) == ("west", "after east")


# -- in time --------------------------------------------------------------------------------------


def both(trouble: Callable[[ProviderSimulator], None], sim: ProviderSimulator) -> None:
    """The same trouble with all targets."""
    trouble(sim)
    if trouble is dead:
        sim.down("west")
        return
    kinds: dict[Any, Fault] = {
        hanging: Fault("hang"),
        limited: Fault("429", retry_after=3600),
        failing: Fault("500"),
        breaking: Fault("break", after_chunks=3),
    }
    sim.set_faults([kinds[trouble]], target="west")


async def within(ground: Ground, seconds: float, agent: str = "agent") -> Run:
    """A run with this deadline, once it has ended. It did so by then, and not for want of time."""
    run = NewRun(
        str(uuid4()), agent, codec.encode(None), queue=agent, watch=True,
        timeout=timedelta(seconds=seconds),
    )  # fmt: skip
    await ground.store.enqueue([run])
    ended = await ground.until(run.id, within=seconds + 10)
    assert ended.finished_at is not None
    assert ended.finished_at - ended.created_at < timedelta(seconds=seconds + 1)
    return ended


@pytest.mark.parametrize("trouble", [dead, hanging, limited, failing, breaking])
@pytest.mark.parametrize("agent", AGENTS)
async def test_with_no_target_left_it_ends_in_time_and_says_why(
    ground: Ground,
    begin: Begin,
    sim: ProviderSimulator,
    agent: Callable[..., Any],
    trouble: Callable[[ProviderSimulator], None],
) -> None:
    both(trouble, sim)
    app = App()
    app.add(agent, name="agent")
    await begin(app, sim, routes(sim))
    ended = await within(ground, 5)
    assert ended.state in ("failed", "dead")
    assert ended.error is not None
    assert {call.target for call in sim.calls()} <= {"east", "west"}


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_hanging_target_is_left_before_the_deadline(
    ground: Ground, begin: Begin, sim: ProviderSimulator, agent: Callable[..., Any]
) -> None:
    hanging(sim)
    app = App()
    app.add(agent, name="agent")
    await begin(app, sim, routes(sim).replace("300ms", "1s"))
    ended = await within(ground, 10)
    assert ended.result == codec.encode(WORDS)


async def test_a_provider_that_says_when_to_come_again_is_asked_then(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    """With nobody else to ask: not before, and not much later."""
    sim.set_faults([Fault("429", retry_after=60)], target="west")
    sim.set_faults([Fault("429", Match(nth=1), retry_after=1)], target="east")
    app = App()
    app.add(whole, name="agent")
    await begin(app, sim, routes(sim))
    ended = await within(ground, 30)
    assert ended.result == codec.encode(WORDS)
    east = [call.started for call in sim.calls() if call.target == "east"]
    assert len(east) == 2
    assert 1.0 <= east[1] - east[0] < 10


# -- breakers are everyone's ----------------------------------------------------------------------

ASKED = Asked("claude-sonnet-5-5", "agent")


def another(ground: Ground, config: Config) -> Targets:
    """Those of another worker."""
    return Targets(config.routes, Board(ground.store), Credentials({}), random.random)


async def first(targets: Targets) -> Chosen:
    route = targets.route(ASKED)
    assert route is not None
    chosen = await targets.next(route, ASKED, (), 0.5)
    assert chosen is not None
    return chosen


async def test_a_breaker_is_shared_by_all_workers(
    ground: Ground, begin: Begin, sim: ProviderSimulator, settings: Callable[[str], Config]
) -> None:
    failing(sim)
    text = routes(sim, 'break_after = 2\nopen_for = "1h"')
    app = App()
    app.add(whole, name="agent")
    await begin(app, sim, text)
    for _ in range(3):
        await ground.result(await ground.start("agent", None))
    assert sum(call.target == "east" for call in sim.calls()) == 2
    # Another worker has never asked it, and does not.
    chosen = await first(another(ground, settings(text)))
    assert (chosen.target.name, chosen.why) == ("west", "broken: east")


async def test_one_worker_at_a_time_probes_and_everyone_comes_back(
    ground: Ground, sim: ProviderSimulator, settings: Callable[[str], Config]
) -> None:
    config = settings(routes(sim, 'break_after = 1\nopen_for = "1ms"'))
    one = another(ground, config)
    await one.failed(await first(one))  # open, and due for a probe at once
    workers = [another(ground, config) for _ in range(4)]
    found = await asyncio.gather(*(first(worker) for worker in workers for _ in range(4)))
    [probing] = [chosen for chosen in found if chosen.probe]
    assert (probing.target.name, probing.why) == ("east", "probe")
    assert {chosen.target.name for chosen in found if not chosen.probe} == {"west"}
    await one.well(probing)
    document = (await ground.store.swap([breaker.key("east")])).documents[breaker.key("east")]
    assert document.body == b""
    assert (await first(another(ground, config))).why == "first"
