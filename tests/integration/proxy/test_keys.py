"""Keys of the proxy: what they open, whose calls they make, and what they may spend."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from perdure.config import dollars
from perdure.store import make_store
from perdure.store.costs import CostFilter
from perdure.testing.simulator import ProviderSimulator
from tests.integration.proxy.conftest import WORDS, Begin
from tests.integration.proxy.program import REAL, Gateway, key

ASK: Any = [{"role": "user", "content": "Say something."}]


async def spent(gateway: Gateway, *, by: tuple[str, ...]) -> dict[Any, Any]:
    store = make_store(gateway.store)
    await store.open()
    try:
        return {tuple(row.group.values()): row for row in await store.costs(CostFilter(by=by))}
    finally:
        await store.close()


async def test_a_key_opens_what_it_names(begin: Begin, sim: ProviderSimulator) -> None:
    """Without one, with a wrong one or a revoked one, nothing goes out; with it the provider gets
    its own key, and never ours."""
    gateway = begin()
    token = key(gateway.store, "--model", "gpt-*")
    for wrong in ("any", f"{token}x", "pk_000000000000_x"):
        with pytest.raises(openai.AuthenticationError) as refused:
            await gateway.openai(wrong).chat.completions.create(model="gpt-5", messages=ASK)
        assert refused.value.response.headers["x-should-retry"] == "false"
    assert not sim.calls()
    answer = await gateway.openai(token).chat.completions.create(model="gpt-5", messages=ASK)
    assert answer.choices[0].message.content == WORDS
    assert [call.key for call in sim.calls()] == [REAL]
    with pytest.raises(anthropic.PermissionDeniedError, match="may not call claude-sonnet-5-5"):
        await gateway.anthropic(token).messages.create(
            model="claude-sonnet-5-5", max_tokens=9, messages=ASK
        )
    assert [model.id async for model in gateway.openai(token).models.list()] == ["gpt-simulated"]
    assert len(sim.calls()) == 1


async def test_a_key_of_the_server_is_none_of_the_proxy(begin: Begin) -> None:
    gateway = begin()
    key(gateway.store)  # from here on one is needed
    store = make_store(gateway.store)
    await store.open()
    from perdure.server import keys

    try:
        token, _ = await keys.create(store, "server", (keys.WRITE,))
    finally:
        await store.close()
    with pytest.raises(openai.PermissionDeniedError, match="does not cover gateway"):
        await gateway.openai(token).chat.completions.create(model="gpt-5", messages=ASK)


async def test_whose_a_keys_calls_are(begin: Begin) -> None:
    """The ledger knows tenant and agent by the key, which no header can change, and what the
    caller says of feature, step and difficulty."""
    gateway = begin()
    token = key(gateway.store, "--tenant", "acme", "--agent", "reports")
    client = gateway.openai(token, default_headers={"Perdure-Feature": "search"})
    await client.chat.completions.create(model="gpt-5", messages=ASK)
    for name, other in (("Perdure-Tenant", "other"), ("Perdure-Agent", "other")):
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(
                model="gpt-5", messages=ASK, extra_headers={name: other}
            )
    rows = await spent(gateway, by=("tenant", "agent", "feature"))
    assert list(rows) == [("acme", "reports", "search")]


async def test_a_keys_budget_is_hard(begin: Begin, sim: ProviderSimulator) -> None:
    """Many at once: what was answered did cost no more than the key has, and who is refused is told
    so in the provider's own format."""
    gateway = begin()
    token = key(gateway.store, "--budget", "0.01/day")
    client = gateway.openai(token)

    async def ask() -> str:
        try:
            await client.chat.completions.create(
                model="gpt-5", messages=ASK, max_completion_tokens=100
            )
        except openai.APIStatusError as error:
            assert error.status_code == 402, error  # noqa: PT017
            assert f"key:{token.split('_')[1]}" in str(error)  # noqa: PT017
            return "refused"
        return "answered"

    outcomes = [await asyncio.gather(*(ask() for _ in range(40))) for _ in range(4)]
    (row,) = (await spent(gateway, by=("tenant",))).values()
    assert 0 < row.cost <= 10_000_000, dollars(row.cost)
    flat = [one for some in outcomes for one in some]
    assert "refused" in flat
    assert "answered" in flat
    with pytest.raises(openai.PermissionDeniedError, match="cannot be bounded"):
        await client.embeddings.create(model="text-embedding-3-small", input="x")
    total = sim.accounting().total
    assert total.requests == flat.count("answered")


async def test_a_bind_beyond_loopback_needs_a_key(begin: Begin) -> None:
    with pytest.raises(AssertionError, match="there is no key"):
        begin(proxy='host = "0.0.0.0"')
    gateway = begin(proxy='host = "0.0.0.0"\ninsecure = true')
    async with httpx2.AsyncClient() as http:
        port = gateway.url.rpartition(":")[2]
        assert (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200


async def test_without_credentials_the_callers_own_goes_through(
    tmp_path: Path, sim: ProviderSimulator
) -> None:
    """On one's own machine, without keys of ours or of the provider's, nothing has to be set."""
    with Gateway(tmp_path, f'[proxy.upstreams]\nopenai = "{sim.url}/v1"') as gateway:
        await gateway.openai("sk-mine").chat.completions.create(model="gpt-5", messages=ASK)
        assert [call.key for call in sim.calls()] == ["sk-mine"]
        token = key(gateway.store)  # a key of ours is never sent to anyone
        sim.reset()
        await asyncio.gather(
            gateway.openai(token).chat.completions.create(model="gpt-5", messages=ASK),
            return_exceptions=True,
        )
        assert [call.key for call in sim.calls()] != [token]
