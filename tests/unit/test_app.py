"""An App: agents, their policies, and what settings make of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from perdure import App, Limits, RetryPolicy
from perdure.app import as_app, make_policy
from perdure.config import AgentConfig, Config
from perdure.core.matching import Changed
from perdure.errors import ConfigError, TargetError
from perdure.runtime.handle import AgentHandle
from perdure.runtime.policy import Policy


async def agent(n: int) -> int:
    """Doubles.

    More of it.
    """
    return n * 2


def test_agents_are_added_and_named() -> None:
    app = App()
    handle = app.add(agent)
    assert isinstance(handle, AgentHandle)
    assert handle.name == "agent"
    app.add(agent, name="other", timeout=5, cap=2)
    served = app.agents["other"]
    assert (served.queue, served.framework, served.description) == ("other", "python", "Doubles.")
    assert (served.policy.timeout, served.policy.cap) == (timedelta(seconds=5), 2)


def test_the_decorator_leaves_the_function_as_it_is() -> None:
    app = App()

    @app.agent
    async def plain() -> None: ...

    @app.agent(name="named", priority=3)
    async def with_policy() -> None: ...

    assert set(app.agents) == {"plain", "named"}
    assert app.agents["plain"].target is plain
    assert app.agents["named"].target is with_policy
    assert app.agents["named"].policy.priority == 3


def test_a_name_is_taken_once() -> None:
    app = App()
    app.add(agent)
    with pytest.raises(ConfigError, match="two agents named 'agent'"):
        app.add(agent)


@pytest.mark.parametrize("thing", [5, "text", int, None, object()])
def test_what_is_no_agent(thing: Any) -> None:
    with pytest.raises(TargetError, match="no agent that Perdure knows"):
        App().add(thing)


def test_plain_functions_declare_their_tools_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless they use an SDK whose tools are patched."""
    monkeypatch.setattr("perdure.frameworks.patches.install_imported", lambda: False)
    with pytest.raises(TargetError, match=r"perdure\.tool"):
        App().add(agent, tools={"refund": "once"})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"colour": "red"}, "no agent setting 'colour'"),
        ({"changed": "maybe"}, "changed is one of"),
        ({"undeclared": "maybe"}, "undeclared is one of"),
        ({"durability": "maybe"}, "durability is one of"),
    ],
)
def test_policies_are_checked(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make_policy(settings)


def test_policies_take_seconds_and_words() -> None:
    policy = make_policy(
        {"timeout": 1.5, "park_after": 0, "warm_sleep": timedelta(9), "changed": "park"}
    )
    assert policy.timeout == timedelta(seconds=1.5)
    assert policy.park_after == timedelta(0)
    assert policy.warm_sleep == timedelta(9)
    assert policy.changed is Changed.PARK
    assert make_policy({}) == Policy()


def test_settings_change_an_agents_policy_and_nothing_else() -> None:
    app = App()
    app.add(agent, retry=RetryPolicy(attempts=9, factor=3.0), limits=Limits(effects=7), priority=4)
    app.add(agent, name="untouched")
    config = Config(
        agents={
            "agent": AgentConfig(
                timeout=timedelta(seconds=3), attempts=2, changed="redo", max_model_calls=1
            )
        }
    )
    configured = app.configured(config)
    policy = configured["agent"].policy
    assert policy.timeout == timedelta(seconds=3)
    assert policy.retry == RetryPolicy(attempts=2, factor=3.0)
    assert policy.limits == Limits(model_calls=1, effects=7)
    assert (policy.changed, policy.priority) == (Changed.REDO, 4)
    assert configured["untouched"] is app.agents["untouched"]
    assert app.agents["agent"].policy.timeout is None


def test_settings_for_an_agent_that_is_not_there() -> None:
    app = App()
    app.add(agent)
    with pytest.raises(ConfigError, match="names no agent here") as caught:
        app.configured(Config(agents={"agnet": AgentConfig()}))
    assert caught.value.hint == "Agents: agent"


def test_a_wrong_word_in_the_settings_is_refused() -> None:
    app = App()
    app.add(agent)
    with pytest.raises(ConfigError, match="changed is one of"):
        app.configured(Config(agents={"agent": AgentConfig(changed="maybe")}))


def test_a_target_becomes_an_app() -> None:
    app = App()
    app.add(agent)
    assert as_app(app, name="x") is app
    assert list(as_app(agent, name="served").agents) == ["served"]
    with pytest.raises(TargetError, match="holds no agents"):
        as_app(App(), name="x")


def test_settings_have_the_same_names_in_code_and_file() -> None:
    policy = make_policy({"attempts": 3, "max_model_calls": 7, "max_effects": 8, "max_repeats": 9})
    assert policy.retry == replace(Policy().retry, attempts=3)
    assert policy.limits == Limits(model_calls=7, effects=8, repeats=9)
