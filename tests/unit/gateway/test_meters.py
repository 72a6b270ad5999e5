"""Which limits hold for a call, as the provider counts them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure.config import PROVIDERS, LimitConfig
from perdure.config.values import Share
from perdure.core.admission.limits import Limit, What
from perdure.gateway.meters import DAY_S, METERS, limits_for


def one(said: LimitConfig, model: str = "m", key: str = "k") -> tuple[Limit, ...]:
    (pool,) = limits_for([said], said.provider, model, key)
    return pool.limits


def test_every_amount_is_a_limit() -> None:
    said = LimitConfig(provider="openai", rpm=1, tpm=2, itpm=3, otpm=4, rpd=5, concurrent=7)
    found = {(x.what, x.per): x.amount for x in one(said) if x.what is not What.CONCURRENT}
    assert found == {
        (What.REQUESTS, 60): 1, (What.TOKENS, 60): 2, (What.INPUT, 60): 3, (What.OUTPUT, 60): 4,
        (What.REQUESTS, DAY_S): 5,
    }  # fmt: skip
    assert one(said)[-1] == Limit(What.CONCURRENT, 7)


def test_anthropic_counts_output_as_it_is_produced_and_no_cached_input() -> None:
    said = LimitConfig(provider="anthropic", itpm=100, otpm=50)
    assert one(said, "claude-sonnet-5-5") == (
        Limit(What.INPUT, 100, refund=True),
        Limit(What.OUTPUT, 50, charged="produced", refund=True),
    )
    assert [limit.cached for limit in one(said, "claude-3-5-haiku-latest")] == [True, True]


def test_openai_counts_the_larger_when_a_call_arrives() -> None:
    (tokens,) = one(LimitConfig(provider="openai", tpm=100))
    assert tokens == Limit(What.TOKENS, 100, charged="admission", cached=True, counts="max")


def test_google_s_tokens_are_of_input() -> None:
    (tokens,) = one(LimitConfig(provider="google", tpm=100))
    assert (tokens.what, tokens.charged) == (What.INPUT, "admission")


def test_of_others_everything_counts_at_once() -> None:
    (tokens,) = one(LimitConfig(provider="groq", tpm=100))
    assert tokens == Limit(What.TOKENS, 100, cached=True, counts="sum", refund=False)


def test_the_settings_stand_before_what_is_known() -> None:
    said = LimitConfig(provider="anthropic", otpm=50, output="max_tokens", cached=True)
    (output,) = one(said)
    assert (output.charged, output.cached) == ("admission", True)


def test_a_small_bucket_and_a_short_window() -> None:
    (bucket,) = one(LimitConfig(provider="openai", tpm=6000, burst=Share(0.1)))
    assert (bucket.amount, bucket.per, bucket.burst) == (6000, 60, 600)
    short = LimitConfig(provider="openai", rpm=601, rpd=9, window=timedelta(seconds=1))
    second, day = one(short)
    assert (second.amount, second.per, second.burst) == (10, 1, None)
    assert (day.amount, day.per) == (9, DAY_S)


LIMITS = (
    LimitConfig(provider="openai", rpm=1),
    LimitConfig(provider="openai", model=("gpt-5*",), rpm=2),
    LimitConfig(provider="openai", model=("gpt-5",), rpm=3),
    LimitConfig(provider="openai", model=("gpt-5",), key="vip", rpm=4),
    LimitConfig(provider="openai", model=("gpt-*", "o*"), pool="all", rpm=100),
    LimitConfig(provider="anthropic", rpm=9, per_key=True),
)


@pytest.mark.parametrize(
    ("model", "key", "expected"),
    [
        ("dall-e/3", "k", {"limits/openai/model/dall-e%2F3/*"}),
        ("gpt-5-mini", "k", {"limits/openai/model/gpt-5-mini/*", "limits/openai/pool/all/*"}),
    ],
)
def test_keys_of_pools(model: str, key: str, expected: set[str]) -> None:
    assert {pool.key for pool in limits_for(LIMITS, "openai", model, key)} == expected


def amounts(provider: str, model: str, key: str = "k") -> list[int]:
    pools = limits_for(LIMITS, provider, model, key)
    return sorted(limit.amount for pool in pools for limit in pool.limits)


def test_the_closest_holds_and_pools_hold_beside_it() -> None:
    assert amounts("openai", "text-embedding") == [1]
    assert amounts("openai", "gpt-5-mini") == [2, 100]
    assert amounts("openai", "gpt-5") == [3, 100]
    assert amounts("openai", "gpt-5", "vip") == [4, 100]
    assert amounts("groq", "gpt-5") == []


def test_models_share_a_pool_and_nothing_else() -> None:
    mini = limits_for(LIMITS, "openai", "gpt-5-mini", "k")
    nano = limits_for(LIMITS, "openai", "gpt-5-nano", "k")
    assert {pool.key for pool in mini} & {pool.key for pool in nano} == {"limits/openai/pool/all/*"}


def test_each_key_has_its_own_where_that_is_said() -> None:
    first = limits_for(LIMITS, "anthropic", "claude", "a")
    other = limits_for(LIMITS, "anthropic", "claude", "b")
    assert first[0].key == "limits/anthropic/model/claude/a"
    assert first[0].key != other[0].key
    vip = limits_for(LIMITS, "openai", "gpt-5", "vip")
    assert "limits/openai/model/gpt-5/vip" in {pool.key for pool in vip}


def test_meters_are_of_known_providers() -> None:
    assert set(METERS) <= set(PROVIDERS)
