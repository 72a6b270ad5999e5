"""An App: the agents a deployment serves, and the handle by which code starts their runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from perdure.config import AgentConfig, Config
from perdure.core.hooks import BudgetCrossed, Hooks, SpendAnomaly
from perdure.core.matching import Changed
from perdure.core.routing import Asked
from perdure.errors import ConfigError, TargetError
from perdure.runtime.agent import Agent
from perdure.runtime.handle import AgentHandle
from perdure.runtime.policy import Policy

if TYPE_CHECKING:
    from perdure.client.asynchronous import AsyncClient
    from perdure.server.mounted import Mounted
    from perdure.server.web.gate import Identify

F = TypeVar("F", bound=Callable[..., Any])


class App:
    """Holds agents. Make one where several agents are served together, or to set policies in
    code; a single agent needs none (``perdure dev file.py:agent``).

    It is an ASGI app as well: ``FastAPI(lifespan=app.lifespan)`` and
    ``api.mount("/agents", app)`` serve its agents, execute their runs and have the HTTP API under
    ``/agents/api``, by the settings of ``perdure.toml`` and the environment."""

    def __init__(
        self,
        *,
        route: Callable[[Asked], str | None] | None = None,
        on_budget: Callable[[BudgetCrossed], Any] | None = None,
        on_spend: Callable[[SpendAnomaly], Any] | None = None,
    ) -> None:
        """``route`` names the route of a model call, or None for the settings' choice; it is called
        for each call of these agents and must not wait. ``on_budget`` is told when a call crosses a
        soft amount of a budget, ``on_spend`` when far more than usual is spent with a credential;
        both may be async, else they run in a thread. What any of them raises is logged."""
        self.hooks = Hooks(route, on_budget, on_spend)
        self.agents: dict[str, Agent] = {}
        self._served: Mounted | None = None

    # -- serving ------------------------------------------------------------------------------

    def asgi(
        self,
        *,
        config: Config | None = None,
        worker: bool = True,
        identify: Identify | None = None,
    ) -> Mounted:
        """The ASGI app with other settings than those of ``perdure.toml``, without a ``worker``, or
        with ``identify``: a function of the request's connection that says who calls, so that no
        API key is asked for."""
        from perdure.server.mounted import Mounted

        return Mounted(self, config=config, worker=worker, identify=identify)

    @property
    def _mounted(self) -> Mounted:
        if self._served is None:
            self._served = self.asgi()
        return self._served

    def lifespan(self, app: Any = None) -> AbstractAsyncContextManager[None]:
        """What opens and closes it: hand it to the app that it is mounted in. Raises ConfigError,
        StoreUnavailable, SchemaOutdated, SchemaNewer."""
        return self._mounted.running()

    def client(self, name: str = "") -> AsyncClient:
        """A client for the host app's own code: in this process, without a key."""
        return self._mounted.client(name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._mounted(scope, receive, send)

    # -- agents -------------------------------------------------------------------------------

    @overload
    def agent(self, function: F, /) -> F: ...
    @overload
    def agent(self, /, *, name: str | None = None, **policy: Any) -> Callable[[F], F]: ...
    def agent(self, function: Any = None, /, *, name: str | None = None, **policy: Any) -> Any:
        """Declare a function as an agent. ``policy``: the fields of
        :class:`perdure.runtime.policy.Policy`."""
        if function is None:
            return lambda f: self.agent_named(f, name, policy)
        return self.agent_named(function, name, policy)

    def agent_named(self, function: Any, name: str | None, policy: Mapping[str, Any]) -> Any:
        self.add(function, name=name, **policy)
        return function

    def add(
        self,
        target: Any,
        *,
        name: str | None = None,
        tools: Mapping[str, Any] | None = None,
        **policy: Any,
    ) -> AgentHandle:
        """Serve any supported agent object as it is. ``tools`` declares promises (P2):
        ``{"refund": "once"}``, or ``perdure.once(reconcile=...)``. Raises TargetError for an
        object no adapter knows, ConfigError for a name that is taken."""
        from perdure.frameworks import adapt

        agent = replace(
            adapt(target, name=name, tools=dict(tools or {}), policy=make_policy(policy)),
            hooks=self.hooks,
        )
        if agent.name in self.agents:
            raise ConfigError(
                f"There are two agents named {agent.name!r}.", hint="Give one of them name=…"
            )
        self.agents[agent.name] = agent
        return AgentHandle(agent)

    def configured(self, config: Config) -> dict[str, Agent]:
        """The agents with what ``[agents.NAME]`` sets. Raises ConfigError for unknown names."""
        unknown = sorted(set(config.agents) - set(self.agents))
        if unknown:
            raise ConfigError(
                f"[agents.{unknown[0]}] names no agent here.",
                hint=f"Agents: {', '.join(sorted(self.agents)) or 'none'}",
            )
        return {
            name: _configure(agent, config.agents[name]) if name in config.agents else agent
            for name, agent in self.agents.items()
        }


# Settings of the loop guard, and what they are in ``Limits``.
_LIMITS = {"max_model_calls": "model_calls", "max_effects": "effects", "max_repeats": "repeats"}


def make_policy(settings: Mapping[str, Any]) -> Policy:
    """A policy from keyword arguments, also by their names in ``[agents.NAME]``; durations may be
    seconds. Raises ConfigError."""
    known = {f.name for f in fields(Policy)} | {"attempts", *_LIMITS}
    values = dict(settings)
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(
            f"There is no agent setting {unknown[0]!r}.", hint=f"Known: {', '.join(sorted(known))}"
        )
    if "attempts" in values:
        retry = values.get("retry", Policy().retry)
        values["retry"] = replace(retry, attempts=values.pop("attempts"))
    limits = {name: values.pop(key) for key, name in _LIMITS.items() if key in values}
    if limits:
        values["limits"] = replace(values.get("limits", Policy().limits), **limits)
    for key in ("timeout", "park_after", "warm_sleep", "cancel_grace"):
        if isinstance(values.get(key), int | float):
            values[key] = timedelta(seconds=values[key])
    try:
        if "changed" in values:
            values["changed"] = Changed(values["changed"])
    except ValueError:
        raise ConfigError("changed is one of: reuse, redo, park") from None
    if values.get("undeclared", "rerun") not in ("rerun", "ask"):
        raise ConfigError("undeclared is one of: rerun, ask")
    if values.get("durability", "journal") not in ("journal", "none"):
        raise ConfigError("durability is one of: journal, none")
    return Policy(**values)


def policy_of(policy: Policy, config: AgentConfig) -> Policy:
    """The policy with what ``[agents.NAME]`` sets. Raises ConfigError."""
    changes: dict[str, Any] = {
        key: getattr(config, key)
        for key in (
            "timeout", "changed", "undeclared", "park_after", "cap", "priority", "durability",
            "requests", "max_entries", "attempts", *_LIMITS,
        )
        if getattr(config, key) is not None
    }  # fmt: skip
    base = {f.name: getattr(policy, f.name) for f in fields(Policy)}
    return make_policy({**base, **changes})


def _configure(agent: Agent, config: AgentConfig) -> Agent:
    from perdure.frameworks import adapt

    configured = policy_of(agent.policy, config)
    if not config.tools:
        return replace(agent, policy=configured)
    adapted = adapt(
        agent.target, name=agent.name, tools={**agent.tools, **config.tools}, policy=configured
    )
    return replace(adapted, hooks=agent.hooks)


def as_app(found: Any, *, name: str) -> App:
    """What a TARGET led to, as an App."""
    if isinstance(found, App):
        if not found.agents:
            raise TargetError("The App holds no agents.", hint="Add one: app.add(my_agent)")
        return found
    app = App()
    app.add(found, name=name)
    return app


__all__ = ["App", "as_app", "make_policy"]
