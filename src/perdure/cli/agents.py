"""The agents of a process: those of its TARGETs, with what the settings say about them."""

from __future__ import annotations

from collections.abc import Sequence

from perdure import gateway
from perdure.app import App
from perdure.cli import target
from perdure.config import Config
from perdure.errors import ConfigError
from perdure.runtime.agent import Agent


def load_agents(targets: Sequence[str], config: Config) -> dict[str, Agent]:
    """Raises TargetError, and ConfigError for two agents of one name."""
    if config.gateway.capture:
        # Before anybody's client is made: those of module level share connections then too.
        gateway.install()
    whole = App()
    for one in targets:
        for name, agent in target.load(one).agents.items():
            if name in whole.agents:
                raise ConfigError(
                    f"{one} holds an agent {name!r}, and so does another target.",
                    hint="Give one of them another name: app.add(agent, name=…)",
                )
            whole.agents[name] = agent
    return whole.configured(config)
