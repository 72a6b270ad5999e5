"""How an agent is to be run, where the SDK's defaults do not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents import Agent, RunConfig


@dataclass(frozen=True, slots=True)
class Configured:
    """An agent with what ``Runner.run`` takes beside it, to be served as one:
    ``app.add(Configured(agent, max_turns=30))``.

    ``context`` is called with the run's input at each attempt and gives the run's context object.
    ``session`` is called with the id of the conversation (the run's session, else the run) and
    gives the SDK's session for it. ``stream=False`` asks for whole answers: no tokens are told.
    """

    agent: Agent[Any]
    max_turns: int | None = 10
    run_config: RunConfig | None = None
    context: Callable[[Any], Any] | None = None
    session: Callable[[str], Any] | None = None
    stream: bool = True
