"""The agent with a model that answers by script: no key, no network, no cost."""

import pytest

from perdure import gateway
from perdure.testing.local import LocalRuns
from perdure.testing.redirect import redirect
from perdure.testing.simulator import Match, ProviderSimulator, Reply, script

ANSWERS = [Reply(tools=[("weather", {"city": "Oslo"})]), "Take an umbrella."]
QUESTION = "What do I need in Oslo?"


@pytest.fixture
def agent(monkeypatch):
    monkeypatch.setenv("@KEY@", "any")
    from agent import agent

    return agent


@pytest.fixture
def model(agent):
    """The provider's address leads to a simulator, which can be asked what was called."""
    with ProviderSimulator(script(ANSWERS)) as simulator, redirect({"@HOST@": simulator.url}):
        gateway.install()
        yield simulator
        gateway.uninstall()


@pytest.fixture
async def runs(agent, model):
    async with LocalRuns(agent) as local:
        yield local


async def test_it_looks_at_the_weather_and_answers(runs, model):
    assert "umbrella" in str(await runs.run("agent", QUESTION))
    assert model.counts().answered == 2


async def test_a_crash_repeats_nothing_that_was_done(runs, model):
    """The worker is killed while the model answers for the second time."""
    model.hold(Match(nth=2))
    run = await runs.start("agent", QUESTION)
    await model.wait(held=1)
    await runs.crash()
    model.release()
    assert "umbrella" in str(await runs.result(run))
    # The first question was asked once, and the second, which was cut off, again.
    assert model.counts().started == 3
    done = [event for event in await runs.events(run) if event.kind == "tool"]
    assert [event.name for event in done if event.state == "done"] == ["weather"]
