"""Names in keys, names with wildcards, and periods."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.keys import LONGEST, part
from perdure.core.pattern import exactness, fits
from perdure.core.period import PERIODS, ends, over, period


@given(st.text(max_size=300).filter(lambda t: t.isprintable()), st.text(max_size=300))
def test_different_names_have_different_parts_of_bounded_length(one: str, other: str) -> None:
    other = other.encode("utf-8", "replace").decode()
    assert "/" not in part(one)
    assert len(part(one)) <= max(LONGEST, 73)
    assert (part(one) == part(other)) == (one == other)


def test_wildcards() -> None:
    assert fits((), "anything")
    assert fits(("gpt-5", "claude-*"), "claude-haiku")
    assert not fits(("gpt-5", "claude-*"), "gpt-5-mini")
    assert not fits(("GPT-5",), "gpt-5")


def test_the_closest_name() -> None:
    assert exactness(("gpt-5",), "gpt-5") > exactness(("gpt-5*",), "gpt-5")
    assert exactness(("gpt-5*",), "gpt-5") > exactness(("gpt-*",), "gpt-5") > exactness(("*",), "g")
    assert exactness(("*", "gpt-*"), "gpt-5") == exactness(("gpt-*",), "gpt-5")
    assert exactness(("claude",), "gpt-5") == -1
    assert exactness(("*",), "x") == exactness((), "x") == 0


NOON = datetime(2026, 12, 31, 12, 30, tzinfo=UTC).timestamp()


def test_periods() -> None:
    assert [period(every, NOON) for every in (*PERIODS, "")] == [
        "2026-12-31T12", "2026-12-31", "2026-12", "",
    ]  # fmt: skip
    assert ends("", NOON) is None
    assert ends("hour", NOON) == datetime(2026, 12, 31, 13, tzinfo=UTC).timestamp()
    assert ends("day", NOON) == ends("month", NOON) == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("every", PERIODS)
@given(now=st.floats(0, 4e9))
def test_a_period_is_over_when_it_ends(every: str, now: float) -> None:
    name, end = period(every, now), ends(every, now)
    assert end is not None
    assert end > now
    assert period(every, end) != name
    assert period(every, end - 0.001) == name
    assert not over(name, now)
    assert over(name, end)


def test_what_is_no_period_is_never_over() -> None:
    assert not over("-", 1e12)
    assert not over("2026", 1e12)
