"""Whatever the first target does, the run ends right; and the ledger says who answered, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import openai
import pytest

from perdure.app import App
from perdure.store.costs import CostFilter
from perdure.testing.simulator import Fault, ProviderSimulator, Reply, script
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


async def test_a_target_that_comes_back_is_asked_again(
    ground: Ground, begin: Begin, sim: ProviderSimulator
) -> None:
    sim.down("east")
    app = App()
    app.add(several, name="agent")
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
