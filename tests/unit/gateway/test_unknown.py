"""A run's model calls to a host that is no known provider: recorded, not metered, told of."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from perdure import gateway
from perdure.core.ports import About, Boundary, Ticket
from perdure.gateway.answer import Answer
from perdure.gateway.capture import Capture, Passage
from perdure.gateway.formats import Question
from perdure.gateway.providers import Providers
from perdure.gateway.trip import Call
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.server import CountingServer

CHAT = "/v1/chat/completions"


class NoTrips:
    """Nothing that is not metered may come here."""

    def begin(self, call: Call, asked: Question, ticket: Ticket, about: About) -> Any:
        raise AssertionError(call)

    def replayed(self, call: Call, asked: Question, answer: Answer, about: About) -> None:
        raise AssertionError(call)


def route(capture: Capture, run: Boundary | None, path: str, port: int | None = 9000) -> Any:
    return capture.route(run, "POST", "llm.example", port, path)


@pytest.mark.parametrize(
    ("path", "speaks"),
    [
        (CHAT, "openai"),
        ("/v1/responses", "openai"),
        ("/proxy/v1/messages", "anthropic"),
        ("/v1beta/models/gemini-3:streamGenerateContent", "google"),
    ],
)
def test_they_are_told_by_their_paths_and_the_setting_meters_them(path: str, speaks: str) -> None:
    way = route(Capture(), MemoryRun(), path)
    assert isinstance(way, Passage)
    assert (way.provider, way.metered) == ("llm.example:9000", False)
    known = route(Capture(Providers({"llm.example:9000": speaks})), MemoryRun(), path)
    assert known == Passage(speaks, way.wire)


def test_a_default_port_is_not_named() -> None:
    assert route(Capture(), MemoryRun(), CHAT, 443).provider == "llm.example"


def test_everything_else_passes() -> None:
    capture = Capture()
    assert route(capture, MemoryRun(), "/v1/orders") is None
    assert route(capture, None, CHAT) is None
    assert capture.route(MemoryRun(), "GET", "llm.example", None, CHAT) is None


async def test_they_are_recorded_counted_and_told_of_once(
    capture: gateway.Capture, caplog: pytest.LogCaptureFixture
) -> None:
    capture.trips = NoTrips()
    async with CountingServer() as server, httpx2.AsyncClient() as client:
        run = MemoryRun()
        with run.running():
            for _ in range(2):
                answer = await client.post(server.url + CHAT, json={"model": "m"})
                assert answer.status_code == 200
        host = server.url.removeprefix("http://")
        with run.again().running():
            for _ in range(2):
                assert (await client.post(server.url + CHAT, json={"model": "m"})).content
        assert len(server.requests) == 2
    assert [ticket.name for ticket in run.tickets] == [f"{host}/m"] * 2
    assert [ticket.states for ticket in run.tickets] == [["done"]] * 2
    assert capture.unmetered == {host: 2}
    [record] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert f'[gateway.providers] "{host}" = "openai"' in record.getMessage()
    assert "'agent'" in record.getMessage()
