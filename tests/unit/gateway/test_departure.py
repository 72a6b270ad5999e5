"""A call is looked at once more when its connection is there, where room holds for a moment
only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anthropic
import pytest

from perdure import gateway
from perdure.core.ports import About, Ticket
from perdure.gateway.answer import Answer
from perdure.gateway.exchange import PUNCTUAL
from perdure.gateway.formats import Question
from perdure.gateway.trip import Call, Ended, Go, Next, Rest
from perdure.testing.simulator import ProviderSimulator
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.conftest import call

ASKED: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Why tides?"}],
}


async def ask() -> str:
    async with anthropic.AsyncAnthropic(api_key="sk-any") as client:
        return str((await client.messages.create(**ASKED)).id)


def ask_blocking() -> str:
    with anthropic.Anthropic(api_key="sk-any") as client:
        return str(client.messages.create(**ASKED).id)


class Hurried:
    """A trip and those who make it. Room expires ``expires`` times, the first time while the
    connection is made; ``renews``: whether there is room at once."""

    local = True
    hides_usage = False

    def __init__(self, sim: ProviderSimulator, expires: int, *, renews: bool = True) -> None:
        self.sim = sim
        self.expires = expires
        self.renews = renews
        self.looked = 0
        self.said: list[str] = []

    def begin(self, call: Call, asked: Question, ticket: Ticket, about: About) -> Hurried:
        return self

    def replayed(self, call: Call, asked: Question, answer: Answer, about: About) -> None:
        raise AssertionError("nothing is replayed here")

    def expired(self) -> bool:
        self.looked += 1
        if self.looked == 1:  # when it is let go; then come connection and wire
            return False
        assert self.sim.counts().started == 0
        self.expires -= 1
        return self.expires >= 0

    async def renew(self) -> bool:
        self.said.append("renew")
        return self.renews

    async def go(self) -> Go | Rest | Answer:
        self.said.append("go")
        if not self.renews and self.said.count("go") == 2:
            return Rest(datetime.now(UTC), "room", b"null")
        return Go(None, self.expired, self.renew)

    def produced(self, text: str) -> None: ...

    async def over(self, ended: Ended) -> Next:
        self.said.append("over")
        return Next(None)

    async def unsent(self) -> None:
        self.said.append("unsent")

    async def leave(self) -> None:
        self.said.append("leave")

    def abandoned(self) -> None:
        self.said.append("abandoned")

    def note(self) -> bytes | None:
        return None


@pytest.mark.parametrize("agent", [ask, ask_blocking])
async def test_room_that_expired_meanwhile_is_asked_for_anew(
    sim: ProviderSimulator, capture: gateway.Capture, agent: Callable[[], Any]
) -> None:
    trips = capture.trips = Hurried(sim, 2)
    with MemoryRun().running():
        await call(agent)
    assert trips.said == ["go", "renew", "renew", "over", "leave"]
    assert sim.counts().started == 1


@pytest.mark.parametrize("agent", [ask, ask_blocking])
async def test_where_others_go_first_it_rests_and_begins_anew(
    sim: ProviderSimulator, capture: gateway.Capture, agent: Callable[[], Any]
) -> None:
    trips = capture.trips = Hurried(sim, 1, renews=False)
    with MemoryRun().running():
        await call(agent)
    assert trips.said == ["go", "renew", "unsent", "go", "go", "over", "leave"]
    assert sim.counts().started == 1


async def test_a_keeper_that_is_far_away_is_not_asked_for_ever(
    sim: ProviderSimulator, capture: gateway.Capture
) -> None:
    trips = capture.trips = Hurried(sim, 1000)
    with MemoryRun().running():
        await call(ask)
    assert trips.said.count("renew") == PUNCTUAL
    assert sim.counts().started == 1
