"""RFC 7240 preferences and ?wait=."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.requests import Request

from perdure.errors import InvalidInput
from perdure.server.web.wait import Patience, patience, preferences

LONGEST = timedelta(seconds=60)


def _request(query: str = "", *prefer: str) -> Request:
    headers = [(b"prefer", value.encode()) for value in prefer]
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (["wait=10"], {"wait": "10"}),
        (["respond-async, wait=10"], {"respond-async": "", "wait": "10"}),
        (["Wait = 10 ; x=1, return=minimal"], {"wait": "10", "return": "minimal"}),
        (['foo="a, wait=3", wait="7"'], {"foo": "a, wait=3", "wait": "7"}),
        (["wait=1", "wait=2"], {"wait": "1"}),
        (["", ",,", "=3"], {}),
    ],
)
def test_preferences(headers: list[str], found: dict[str, str]) -> None:
    assert preferences(headers) == found


def test_nothing_asked_is_nothing_waited() -> None:
    assert patience(_request(), LONGEST) == Patience(0.0, None)


def test_prefer_wait_is_bounded_and_told() -> None:
    assert patience(_request("", "wait=5"), LONGEST) == Patience(5.0, "wait=5")
    assert patience(_request("", "wait=500"), LONGEST) == Patience(60.0, "wait=60")


def test_respond_async_beside_wait_still_waits() -> None:
    assert patience(_request("", "respond-async, wait=5"), LONGEST).seconds == 5
    assert patience(_request("", "respond-async"), LONGEST) == Patience(0.0, "respond-async")


def test_a_preference_that_makes_no_sense_is_ignored() -> None:
    assert patience(_request("", "wait=soon"), LONGEST) == Patience()


def test_the_query_wins_and_is_checked() -> None:
    assert patience(_request("wait=2.5", "wait=9"), LONGEST) == Patience(2.5, None)
    assert patience(_request("wait=500"), LONGEST).seconds == 60
    for bad in ("soon", "-1", "nan", "inf", ""):
        with pytest.raises(InvalidInput, match="wait"):
            patience(_request(f"wait={bad}"), LONGEST)
