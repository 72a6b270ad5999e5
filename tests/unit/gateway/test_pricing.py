"""Prices: exact, of the list or the settings, and marked where they are not sure."""

from __future__ import annotations

import time
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.config import PriceConfig
from perdure.config.values import Rate
from perdure.core.charge import NANO, Priced
from perdure.gateway.price_list import NAMES
from perdure.gateway.pricing import Price, Pricing
from perdure.gateway.providers import PROVIDERS
from perdure.gateway.rates import ENDLESS, Rates
from perdure.gateway.usage import Usage

NOW = 1_795_262_400.0  # 2026-11-21
MILLION = 1_000_000
SONNET = ("anthropic", "claude-sonnet-5-5")  # 2, 10, reads 0.10, writes 2.50 and 4 US dollars
HAIKU = ("anthropic", "claude-haiku-5-5")  # five times as much from 100,000 tokens on


def dollars(amount: str) -> int:
    return int(Decimal(amount) * NANO)


@pytest.mark.parametrize(
    ("used", "cost"),
    [
        (Usage(MILLION, 0), "2"),
        (Usage(0, MILLION), "10"),
        (Usage(MILLION, 0, cache_read=MILLION), "0.1"),
        (Usage(MILLION, 0, cache_write=MILLION), "2.5"),
        (Usage(MILLION, 0, cache_write=MILLION, cache_write_1h=MILLION), "4"),
        (Usage(3000, 100, 1000, 1000, 500), "0.00635"),
        (Usage(0, MILLION, reasoning=MILLION // 2), "10"),
        (Usage(0, 0, searches=3), "0.03"),
    ],
)
def test_every_kind_of_token_has_its_price(used: Usage, cost: str) -> None:
    found = Pricing().price(*SONNET, used, NOW)
    assert (found.cost, found.priced) == (dollars(cost), Priced.KNOWN)


def test_a_long_prompt_costs_more_for_all_of_its_call() -> None:
    pricing = Pricing()
    assert pricing.price(*HAIKU, Usage(100_000, 1000), NOW).cost == dollars("0.0105")
    assert pricing.price(*HAIKU, Usage(100_001, 1000), NOW).cost == dollars("0.0525005")


def test_what_reading_from_the_cache_spared() -> None:
    found = Pricing().price(*SONNET, Usage(MILLION, 0, cache_read=500_000), NOW)
    assert (found.cost, found.saved) == (dollars("1.05"), dollars("0.95"))


def test_a_model_that_nobody_knows_has_no_price() -> None:
    pricing = Pricing()
    for provider, model in (("openai", "no-such-model"), ("nobody", "gpt-5"), ("openai", "")):
        assert pricing.price(provider, model, Usage(1, 1), NOW) == Price(0, 0, Priced.UNKNOWN)
        assert pricing.bound(provider, model, 1, 1, NOW) is None
        assert pricing.affordable(provider, model, 1, 1, NOW) is None


def test_terms_change_the_price_and_unknown_ones_make_it_an_estimate() -> None:
    pricing, used = Pricing(), Usage(MILLION, 0)
    gpt = ("openai", "gpt-5")
    assert pricing.price(*gpt, used, NOW) == Price(dollars("1.25"), 0, Priced.KNOWN)
    flex = pricing.price(*gpt, used, NOW, {"service_tier": "flex"})
    assert flex == Price(dollars("0.625"), 0, Priced.KNOWN)
    odd = pricing.price(*gpt, used, NOW, {"service_tier": "unheard-of"})
    assert odd == Price(dollars("1.25"), 0, Priced.ESTIMATE)
    # A date before the list knows of flex.
    assert pricing.price(*gpt, used, 1.78e9, {"service_tier": "flex"}).priced is Priced.ESTIMATE


def test_a_kind_of_token_without_a_price_is_an_estimate() -> None:
    found = Pricing().price("openai", "gpt-5", Usage(100, 0, cache_write=100), NOW)
    assert (found.cost, found.priced) == (dollars("0.000125"), Priced.ESTIMATE)


def price(model: str, provider: str = "*", **rates: str) -> PriceConfig:
    nano = {name: Rate(dollars(rate)) for name, rate in rates.items()}
    return PriceConfig(provider=provider, model=(model,), **nano)


def test_the_settings_stand_before_the_list() -> None:
    pricing = Pricing([price("claude-*", input="1", output="3")])
    found = pricing.price(*SONNET, Usage(MILLION, MILLION, cache_read=1000, reasoning=5), NOW)
    assert found == Price(dollars("4"), 0, Priced.OVERRIDE)
    assert pricing.price("openai", "gpt-5", Usage(8, 0), NOW).priced is Priced.KNOWN


def test_the_closest_of_the_settings_prices_is_taken() -> None:
    pricing = Pricing(
        [
            price("*", input="1", output="0"),
            price("my-*", input="2", output="0"),
            price("my-model", input="3", output="0"),
            price("my-*", "openai", input="4", output="0"),
        ]
    )

    def cost(provider: str, model: str) -> int:
        return pricing.price(provider, model, Usage(MILLION, 0), NOW).cost // NANO

    assert cost("groq", "other") == 1
    assert cost("groq", "my-other") == 2
    assert cost("openai", "my-other") == 4
    assert cost("openai", "my-model") == 3


def test_all_kinds_can_be_set() -> None:
    own = price("m", input="1", output="2", cache_read="3", cache_write="4", cache_write_1h="5",
                reasoning="6")  # fmt: skip
    used = Usage(4 * MILLION, 2 * MILLION, MILLION, 2 * MILLION, MILLION, MILLION)
    assert Pricing([own]).price("x", "m", used, NOW).cost == dollars("21")


def test_prices_that_change_by_date_are_looked_up_anew() -> None:
    pricing, used = Pricing(), Usage(MILLION, MILLION)
    o3 = {at: pricing.price("openai", "o3", used, at).cost for at in (1.74e9, 1.78e9)}
    assert o3[1.74e9] != o3[1.78e9]  # it became cheaper on 2025-06-10


def test_it_agrees_with_the_list_s_own_sums_for_every_model() -> None:
    """The library's Decimals, for usages of every kind that the model has a price for."""
    names = {NAMES.get(provider.name, provider.name): provider.name for provider in PROVIDERS}
    pricing, compared = Pricing(), 0
    for provider in providers:
        for model in provider.models:
            if provider.id not in names or not model.is_match(model.id):
                continue
            try:
                listed = genai_prices.calc_price(
                    genai_prices.Usage(), model_ref=model.id, provider_id=provider.id
                ).model_price
            except LookupError:
                continue
            rates = pricing.rates(names[provider.id], model.id, time.time())
            if rates is None or listed.input_mtok is None:
                continue
            for tokens in (999, 250_001, 1_000_003):
                read = 0 if "cache_read" in rates.lacks else tokens // 3
                write = 0 if "cache_write" in rates.lacks else tokens // 5
                used = Usage(tokens, 777, read, write)
                theirs = genai_prices.calc_price(
                    genai_prices.Usage(
                        input_tokens=used.input,
                        output_tokens=used.output,
                        cache_read_tokens=used.cache_read,
                        cache_write_tokens=used.cache_write,
                    ),
                    model_ref=model.id,
                    provider_id=provider.id,
                ).total_price
                assert abs(theirs * NANO - rates.cost(used)) <= 1, (provider.id, model.id)
                compared += 1
    assert compared > 1000


KNOWN = [
    SONNET,
    HAIKU,
    ("openai", "gpt-5.5"),
    ("google", "gemini-2.5-pro"),
    ("perplexity", "sonar"),
]
PRICING = Pricing()
tokens = st.integers(0, 2 * MILLION)


@settings(deadline=None)
@given(st.sampled_from(KNOWN), tokens, tokens, st.data())
def test_no_call_within_its_bounds_costs_more_than_its_bound(
    model: tuple[str, str], most: int, output: int, data: st.DataObject
) -> None:
    bound = PRICING.bound(*model, most, output, NOW)
    assert bound is not None
    read = data.draw(st.integers(0, data.draw(st.integers(0, most))))
    sent = data.draw(st.integers(read, most))
    write = data.draw(st.integers(0, sent - read))
    wrote = data.draw(st.integers(0, output))
    used = Usage(sent, wrote, read, write, data.draw(st.integers(0, write)), wrote // 2)
    assert PRICING.price(*model, used, NOW).cost <= bound


@settings(deadline=None)
@given(
    st.sampled_from(KNOWN), st.integers(0, 20 * NANO), tokens, st.sampled_from(("none", "5m", "1h"))
)
def test_what_is_affordable_is_and_a_token_more_is_not(
    model: tuple[str, str], amount: int, prompt: int, writes: str
) -> None:
    found = PRICING.affordable(*model, amount, prompt, NOW, writes=writes)
    assert found is not None
    more = PRICING.bound(*model, prompt, found + 1, NOW, writes=writes)
    assert more is not None
    assert more > amount
    if found:
        bound = PRICING.bound(*model, prompt, found, NOW, writes=writes)
        assert bound is not None
        assert bound <= amount


def test_a_bound_without_cache_writes_is_lower() -> None:
    bounds = [PRICING.bound(*SONNET, MILLION, 0, NOW, writes=w) for w in ("none", "5m", "1h")]
    assert bounds == [dollars("2"), dollars("2.5"), dollars("4")]


def test_output_that_costs_nothing_is_always_affordable() -> None:
    pricing = Pricing([price("m", input="1", output="0")])
    assert pricing.affordable("x", "m", dollars("1"), MILLION, NOW) == ENDLESS
    assert pricing.affordable("x", "m", dollars("1") - 1, MILLION, NOW) == 0


def test_rates_are_remembered_and_names_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    pricing = Pricing()
    found = pricing.rates(*SONNET, NOW)
    assert pricing.rates(*SONNET, NOW + 1) is found
    asked: list[str] = []

    def find(provider: str, model: str, at: float, terms: object) -> Rates | None:
        asked.append(model)
        return None

    monkeypatch.setattr("perdure.gateway.pricing.find", find)
    for _ in range(3):
        assert pricing.rates("openai", "unknown", NOW) is None
    assert asked == ["unknown"]
    for number in range(10_000):
        pricing.rates("openai", f"made-up-{number}", NOW)
    assert len(pricing._known) <= 4096


def test_warming_up_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a price was fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    pricing = Pricing()
    pricing.warm()
    assert pricing.price(*SONNET, Usage(1, 1), NOW).priced is Priced.KNOWN
