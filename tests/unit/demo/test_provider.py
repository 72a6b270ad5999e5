from __future__ import annotations

import pytest

from perdure.demo.prices import PRICES, price_of
from perdure.demo.provider import DEFAULT_MODEL, provide
from perdure.errors import UsageError
from perdure.testing.simulator import ProviderSimulator

pytest.importorskip("langchain_anthropic")


async def test_without_a_key_the_provider_is_simulated() -> None:
    async with provide({}) as provider:
        assert provider.kind == "simulated"
        assert provider.upstream.startswith("http://127.0.0.1:")
        child = provider.environment("http://127.0.0.1:1")
        assert child["ANTHROPIC_API_KEY"] == "simulated"
        assert child["ANTHROPIC_BASE_URL"] == child["ANTHROPIC_API_URL"] == "http://127.0.0.1:1"
        assert provider.money.startswith("simulated, at the list price")


async def test_with_a_key_it_is_the_real_one_and_the_key_stays_the_users() -> None:
    async with provide({"ANTHROPIC_API_KEY": "mine"}) as provider:
        assert provider.kind == "anthropic"
        assert provider.upstream == "https://api.anthropic.com"
        assert "real money" in provider.words
        assert "ANTHROPIC_API_KEY" not in provider.environment("http://127.0.0.1:1")


async def test_the_users_own_model_and_base_url() -> None:
    with ProviderSimulator() as sim:
        environ = {
            "ANTHROPIC_API_KEY": "mine",
            "ANTHROPIC_BASE_URL": sim.url + "/",
            "RESEARCH_MODEL": "anthropic:claude-of-tomorrow",
        }
        async with provide(environ) as provider:
            assert provider.upstream == sim.url
            assert provider.price is None
            assert "no list price of claude-of-tomorrow" in provider.money


async def test_a_key_can_be_left_alone() -> None:
    async with provide({"ANTHROPIC_API_KEY": "mine", "MODEL": "simulated"}) as provider:
        assert provider.kind == "simulated"


@pytest.mark.parametrize(
    "environ",
    [{"MODEL": "gpt"}, {"ANTHROPIC_API_KEY": "mine", "RESEARCH_MODEL": "openai:gpt"}],
    ids=["MODEL", "RESEARCH_MODEL"],
)
async def test_what_cannot_be(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        async with provide(environ):
            pass


def test_the_default_model_has_a_price() -> None:
    assert price_of(DEFAULT_MODEL) == PRICES["claude-haiku-5-5"]
    assert PRICES["claude-haiku-5-5"].of(2_000_000, 1_000_000) == pytest.approx(0.7)
