"""Limits, routes and switches are the workers' own: one state, however many proxies there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from perdure.core.halt import Halt, agent_key, encode
from perdure.core.shared import Swap
from perdure.store import make_store
from perdure.testing.simulator import Fault, Limit, ProviderSimulator, Quota, Reply, script
from tests.integration.proxy.conftest import WORDS, Begin
from tests.integration.proxy.program import Gateway, settings
from tests.servers import PostgresServer, offered

ASK: Any = [{"role": "user", "content": "Say something."}]
LIMITS = """
[gateway]
patience = "200ms"
[[limits]]
provider = "openai"
rpm = 60
window = "6s"
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with offered(PostgresServer()) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/perdure.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.dsn(server.create_database())
    made = make_store(url)
    await made.open(check=False)
    await made.upgrade()
    await made.close()
    return url


async def test_two_proxies_share_the_limits(store: str, tmp_path: Path) -> None:
    """Six calls in any six seconds: of what comes at once to two proxies the provider refuses
    nothing, and what there is no room for is told when to come again."""
    quota = Quota((Limit("requests", 6, per=6.0, kind="window"),))
    with ProviderSimulator(script([Reply(WORDS)]), limits=[quota]) as sim:
        text = settings(sim, LIMITS, proxy='max_wait = "1s"')
        with (
            Gateway(tmp_path, text, store=store) as one,
            Gateway(tmp_path, text, store=store) as two,
        ):

            async def ask(gateway: Gateway) -> str:
                try:
                    await gateway.openai().chat.completions.create(model="gpt-5", messages=ASK)
                except openai.RateLimitError as error:
                    assert "perdure" in str(error)  # noqa: PT017
                    assert int(error.response.headers["retry-after"]) >= 1  # noqa: PT017
                    assert "x-should-retry" not in error.response.headers  # noqa: PT017
                    return "later"
                return "answered"

            got = await asyncio.gather(*(ask(one if n % 2 else two) for n in range(20)))
    assert sim.accounting().total.limited == 0
    assert 2 <= got.count("answered") <= 8, got
    assert sim.accounting().total.requests == got.count("answered")


async def test_a_dead_target_is_passed_by(begin: Begin, sim: ProviderSimulator) -> None:
    """The chain of targets of a route, with the second one's own model and key, whole and
    streamed; a stream that breaks in its midst is told to be broken."""
    gateway = begin(f"""
[[routes]]
name = "gpt"
model = "gpt-*"
targets = [
  {{ name = "east", base_url = "{sim.target_url("east")}/v1", key = "openai" }},
  {{ name = "west", base_url = "{sim.target_url("west")}/v1", model = "gpt-5-mini" }},
]
""")
    sim.down("east")
    client = gateway.openai()
    whole = await client.chat.completions.create(model="gpt-5", messages=ASK)
    assert whole.choices[0].message.content == WORDS
    stream = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    assert "".join([c.choices[0].delta.content or "" async for c in stream]) == WORDS
    assert {(call.target, call.model) for call in sim.calls()} == {("west", "gpt-5-mini")}
    sim.set_faults([Fault("break", after_chunks=4)], target="west")
    broken = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match=r"broke|closed|peer"):
        async for _ in broken:
            pass


async def test_a_broken_provider_is_told_in_its_own_words(
    begin: Begin, sim: ProviderSimulator
) -> None:
    """After our own tries nobody needs others: SDKs are told not to."""
    gateway = begin("[gateway]\nattempts = 2")
    sim.set_faults([Fault("529")])
    with pytest.raises(anthropic.APIStatusError) as refused:
        await gateway.anthropic(max_retries=2).messages.create(
            model="claude-sonnet-5-5", max_tokens=9, messages=ASK
        )
    assert refused.value.status_code == 529
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(sim.calls()) == 2
    sim.set_faults([])
    sim.down("")
    with pytest.raises(anthropic.APIStatusError, match="no answer from"):
        await gateway.anthropic().messages.create(
            model="claude-sonnet-5-5", max_tokens=9, messages=ASK
        )


async def test_a_halted_agent_is_stopped(begin: Begin, sim: ProviderSimulator) -> None:
    gateway = begin()
    store = make_store(gateway.store)
    await store.open()
    await store.swap((), [Swap(agent_key("proxy"), 0, encode(Halt("someone", 0.0, "enough")))])
    await store.close()
    with pytest.raises(openai.PermissionDeniedError, match="halted by someone: enough"):
        await gateway.openai().chat.completions.create(model="gpt-5", messages=ASK)
    assert not sim.calls()


async def test_no_answer_in_time(begin: Begin, sim: ProviderSimulator) -> None:
    gateway = begin(proxy='timeout = "300ms"')
    sim.hold()
    with pytest.raises(openai.APIStatusError) as refused:
        await gateway.openai().chat.completions.create(model="gpt-5", messages=ASK)
    assert refused.value.status_code == 504
    sim.release()
