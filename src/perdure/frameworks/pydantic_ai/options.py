"""How an agent is to be run, where what it says of itself does not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import UsageLimits


@dataclass(frozen=True, slots=True)
class Configured:
    """An agent with what ``agent.run`` takes beside it, to be served as one:
    ``app.add(Configured(agent, deps=open_deps))``.

    ``deps`` makes the run's dependencies, once in each attempt: a function, an async function, or
    one with ``@asynccontextmanager`` (left when the attempt ends). Where it has a parameter, it is
    called with the ``deps`` of the run's input, held to that parameter's annotation.
    ``stream=False`` asks the model for whole answers: no tokens are told then.
    """

    agent: AbstractAgent[Any, Any]
    deps: Callable[..., Any] | None = None
    usage_limits: UsageLimits | None = None
    model_settings: ModelSettings | None = None
    stream: bool = True
