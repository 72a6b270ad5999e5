"""Which targets may answer a call, in which order, and why: an ordered chain for each model name.

The first route whose rules fit is taken. Of its targets those with a weight share the first place;
all others follow in the order they were written in. A target whose breaker is open is left out, one
that is due for a probe is tried in its place by whoever gets the probe. Pure: the random number is
an argument, and with ``sticky`` it comes from the run or session, so that a conversation stays
where its prompt is cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple

from perdure.core.pattern import fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a call may go. What is empty stays as the caller has it. ``key`` is the label of a
    credential; ``weight``: its share of first tries, beside the other weights of the route."""

    name: str
    provider: str = ""
    base_url: str = ""
    model: str = ""
    key: str = ""
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """``model`` and the other rules must all fit; ``min_prompt`` and ``max_prompt`` are tokens,
    both included. ``break_after`` failures open a target's breaker for ``open_for``. ``stream``:
    what follows a stream that breaks past its first token: ask ``again``, or ``fail``."""

    name: str
    targets: tuple[Target, ...]
    model: tuple[str, ...] = ("*",)
    agent: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    difficulty: tuple[str, ...] = ()
    min_prompt: int | None = None
    max_prompt: int | None = None
    sticky: str = ""
    break_after: int = 5
    open_for: timedelta = timedelta(seconds=30)
    stream: str = "again"


class Asked(NamedTuple):
    """What rules look at. ``prompt`` is an estimate in tokens."""

    model: str
    agent: str = ""
    step: str = ""
    tenant: str = ""
    difficulty: str = ""
    prompt: int = 0
    run: str = ""
    session: str = ""


class Standing(NamedTuple):
    """What a target's breaker says: open until ``open_until`` (seconds since 1970; None: it is
    not open), or ``probe``: one call may try it."""

    open_until: float | None = None
    probe: bool = False


class Choice(NamedTuple):
    """``probe``: the breaker's probe must be got before it is tried. ``why`` is for the ledger."""

    target: Target
    why: str
    probe: bool = False


class Plan(NamedTuple):
    """Targets in the order to try them. ``skipped``: those that are broken, each with the time
    when it may be asked again."""

    choices: tuple[Choice, ...]
    skipped: tuple[tuple[Target, float], ...]

    @property
    def again(self) -> float | None:
        """Where nothing can be tried: when something can."""
        return None if self.choices else min((at for _, at in self.skipped), default=None)


def find(routes: Sequence[Route], asked: Asked) -> Route | None:
    """The first route that fits."""
    return next((route for route in routes if _fits(route, asked)), None)


def named(routes: Sequence[Route], name: str) -> Route | None:
    """The route that a user's own function chose."""
    return next((route for route in routes if route.name == name), None)


def draw(route: Route, asked: Asked, chance: float) -> float:
    """The number in [0, 1) that decides between weights: ``chance``, a random one, unless the
    route is sticky and the call belongs to a run or session."""
    anchor = {"run": asked.run, "session": asked.session or asked.run}.get(route.sticky, "")
    if not anchor:
        return chance
    digest = sha256(f"{route.name}\0{anchor}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def plan(route: Route, drawn: float, standings: Mapping[str, Standing]) -> Plan:
    """The order of ``route``'s targets. ``drawn`` is in [0, 1); ``standings`` by target name, and a
    target without one is well."""
    well = Standing()
    usable: list[Choice] = []
    skipped: list[tuple[Target, float]] = []
    for target, why in _order(route.targets, drawn, standings):
        standing = standings.get(target.name, well)
        if standing.open_until is not None:
            skipped.append((target, standing.open_until))
            continue
        broken = ", ".join(other.name for other, _ in skipped)
        if standing.probe:
            why = "probe"
        elif broken and not usable:
            why = f"broken: {broken}"
        usable.append(Choice(target, why, standing.probe))
    return Plan(tuple(usable), tuple(skipped))


def _order(
    targets: Sequence[Target], drawn: float, standings: Mapping[str, Standing]
) -> list[tuple[Target, str]]:
    first = _weighted(targets, drawn, standings)
    if first is None:
        return [(t, "first" if i == 0 else "fallback") for i, t in enumerate(targets)]
    whole = sum(target.weight for target in targets)
    rest = [(target, "fallback") for target in targets if target is not first]
    return [(first, f"weight {first.weight}/{whole}"), *rest]


def _weighted(
    targets: Sequence[Target], drawn: float, standings: Mapping[str, Standing]
) -> Target | None:
    """Broken targets leave their share to the others, as long as any has a weight."""
    shares = [t for t in targets if t.weight > 0]
    well = [t for t in shares if t.name not in standings or standings[t.name].open_until is None]
    shares = well or shares
    if not shares:
        return None
    point = drawn * sum(target.weight for target in shares)
    for target in shares:
        point -= target.weight
        if point < 0:
            return target
    return shares[-1]  # rounding, where drawn is all but 1


def _fits(route: Route, asked: Asked) -> bool:
    return (
        fits(route.model, asked.model)
        and fits(route.agent, asked.agent)
        and fits(route.step, asked.step)
        and fits(route.tenant, asked.tenant)
        and fits(route.difficulty, asked.difficulty)
        and (route.min_prompt is None or asked.prompt >= route.min_prompt)
        and (route.max_prompt is None or asked.prompt <= route.max_prompt)
    )
