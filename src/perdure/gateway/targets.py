"""Where a call goes: the chain of targets of its route, less those whose breaker is open."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from perdure.core import breaker, drill
from perdure.core.breaker import Rule
from perdure.core.drill import Drill
from perdure.core.routing import Asked, Choice, Route, Standing, Target, draw, find, named, plan
from perdure.errors import ConfigError, StoreUnavailable
from perdure.gateway.board import Board
from perdure.gateway.credentials import Credentials, header
from perdure.gateway.outgoing import CREDENTIALS
from perdure.gateway.request import Request
from perdure.gateway.trip import Call

Choose = Callable[[Asked], str | None]  # a user's own rule: the name of a route


class Chosen(NamedTuple):
    """A target of a route. ``probe`` is the name under which the breaker's probe was got."""

    route: Route
    target: Target
    why: str
    probe: str = ""


class Targets:
    """The routes of one worker."""

    def __init__(
        self,
        routes: Sequence[Route],
        board: Board,
        credentials: Credentials,
        random: Callable[[], float],
        choose: Choose | None = None,
    ) -> None:
        self._routes = routes
        self._board = board
        self._credentials = credentials
        self._random = random
        self._choose = choose
        self._fine: dict[str, int] = {}  # what went well since the last failure, by target

    @property
    def any(self) -> bool:
        """Whether a call can be sent anywhere but where its SDK wants it."""
        return bool(self._routes) or self._choose is not None

    def route(self, asked: Asked) -> Route | None:
        """The route of a call; None: it goes where the SDK wants it. Raises ConfigError where the
        user's rule names none."""
        if self._choose is not None and (name := self._choose(asked)) is not None:
            route = named(self._routes, name)
            if route is None:
                known = ", ".join(route.name for route in self._routes) or "none"
                raise ConfigError(
                    f"The routing function chose {name!r}, which is no route.",
                    hint=f"Routes: {known}",
                )
            return route
        return find(self._routes, asked) if self._routes else None

    async def next(
        self, route: Route, asked: Asked, tried: Sequence[str], chance: float
    ) -> Chosen | None:
        """The first target that was not tried and is not broken; where all are broken the first
        that was not tried, since a breaker may be wrong and a refusal is of no use. A drill's share
        goes to the drilled target first."""
        standings, drilled = await self._news(route)
        order = plan(route, draw(route, asked, chance), standings)
        if drilled is not None and not tried and drill.drawn(drilled, asked.run, chance):
            for choice in order.choices:
                # One that is due for a probe, or broken, is no longer drilled: that is real.
                if choice.target.name == drilled.target and not choice.probe:
                    return Chosen(route, choice.target, drill.WHY)
        for choice in order.choices:
            if choice.target.name in tried:
                continue
            if not choice.probe:
                return Chosen(route, choice.target, _why(choice, tried))
            if probe := await self._probe(choice.target):
                return Chosen(route, choice.target, "probe", probe)
        for target, _ in order.skipped:
            if target.name not in tried and not order.choices:
                return Chosen(route, target, "all broken")
        return None

    async def well(self, chosen: Chosen) -> None:
        """It answered."""
        name = chosen.target.name
        self._fine[name] = self._fine.get(name, 0) + 1
        if chosen.probe:
            await self._change(chosen, lambda state, now: breaker.well(state, chosen.probe))

    async def failed(self, chosen: Chosen) -> None:
        """It did not answer as a provider that is well does."""
        fine = self._fine.pop(chosen.target.name, 0)
        rule = Rule(chosen.route.break_after, chosen.route.open_for.total_seconds())
        await self._change(
            chosen,
            lambda state, now: breaker.failed(state, rule, now, fine=fine, probe=chosen.probe),
        )

    async def unsaid(self, chosen: Chosen) -> None:
        """What came says nothing about the target."""
        if chosen.probe:
            await self._change(chosen, lambda state, now: breaker.give_back(state, chosen.probe))

    async def _news(self, route: Route) -> tuple[Mapping[str, Standing], Drill | None]:
        """How the route's targets are, and whether one is drilled."""
        keys = {breaker.key(target.name): target.name for target in route.targets}
        drills = drill.key(route.name)
        try:
            documents = await self._board.read([*keys, drills])
        except StoreUnavailable:
            return {}, None  # without news of them all are well
        now = self._board.now()
        standings = {
            name: breaker.standing(breaker.decode(documents[key].body), now)
            for key, name in keys.items()
        }
        return standings, drill.under_way(documents[drills].body, now)

    async def _probe(self, target: Target) -> str:
        """The name of a probe that was got; "" where another has it."""
        name = os.urandom(6).hex()

        def take(body: bytes, now: float) -> bytes | None:
            taken = breaker.take_probe(breaker.decode(body), name, now)
            return None if taken is None else breaker.encode(taken)

        try:
            body = await self._board.change(breaker.key(target.name), take)
        except StoreUnavailable:
            return ""
        return name if breaker.decode(body).probe == name else ""

    async def _change(
        self, chosen: Chosen, make: Callable[[breaker.Breaker, float], breaker.Breaker]
    ) -> None:
        try:
            await self._board.change(
                breaker.key(chosen.target.name),
                lambda body, now: breaker.encode(make(breaker.decode(body), now)),
            )
        except StoreUnavailable:
            pass  # the others find out for themselves

    # -- what is sent -----------------------------------------------------------------------------

    def headers(self, call: Call, target: Target) -> tuple[dict[str, str], frozenset[str]]:
        """The headers to set and those to drop. Raises ConfigError where the credential cannot be
        read."""
        if not target.key:
            return {}, frozenset()
        provider = target.provider or call.provider
        name, value = header(provider, call.wire.name, self._credentials.secret(target.key))
        return {name: value}, CREDENTIALS - {name}


def url(target: Target, request: Request) -> str:
    """Where a target wants a request; "" for where the SDK does."""
    if not target.base_url or request.shape is None:
        return ""
    base = target.base_url.rstrip("/")
    operation = request.shape.operation
    # Anthropic's base URLs have no version, and people write one all the same.
    if base.endswith("/v1") and operation.startswith("/v1/"):
        operation = operation.removeprefix("/v1")
    return base + operation


def _why(choice: Choice, tried: Sequence[str]) -> str:
    return f"after {', '.join(tried)}" if tried else choice.why
