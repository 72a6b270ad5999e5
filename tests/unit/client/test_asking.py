"""Asking again: when, after how long, and when not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perdure.client.asking import Answer, Call, Lost, Pause, Retries, asking
from perdure.errors import Backpressure, PerdureError, SchemaNewer, StoreUnavailable, Unreachable

OK = Answer(200, {}, b"{}")
CALL = Call("POST", "/api/x")


def problem(status: int, code: str, **headers: str) -> Answer:
    body = {"code": code, "detail": "so", "status": status}
    return Answer(status, headers, orjson.dumps(body))


def play(outcomes: list[Any], call: Call = CALL, retries: Retries | None = None) -> list[float]:
    """Give the outcomes one by one; returns the pauses. Raises what asking raises."""
    steps = asking(call, retries or Retries())
    pauses: list[float] = []
    wanted = next(steps)
    for outcome in outcomes:
        assert wanted == call
        if outcome == OK:
            with pytest.raises(StopIteration) as end:
                steps.send(outcome)
            assert end.value.value == OK
            return pauses
        paused = steps.send(outcome)
        assert isinstance(paused, Pause)
        pauses.append(paused.seconds)
        wanted = steps.send(None)
    return pauses


def test_an_answer_is_the_answer() -> None:
    assert play([OK]) == []


@pytest.mark.parametrize(
    "passing",
    [
        Lost(OSError("gone"), sent=True),
        Lost(OSError("gone"), sent=False),
        Answer(502, {}, b"<html>bad gateway"),
        Answer(504, {}, b""),
        problem(503, "store_unavailable"),
        problem(429, "backpressure"),
    ],
)
def test_what_passes_is_asked_again(passing: Any) -> None:
    first, second = play([passing, passing, OK])
    assert 0.125 <= first <= 0.25
    assert 0.25 <= second <= 0.5


def test_retry_after_stands_before_the_growing_pause() -> None:
    (pause,) = play([problem(429, "backpressure", **{"retry-after": "5"}), OK])
    assert 5 <= pause <= 5.25


def test_it_does_not_wait_for_ever() -> None:
    with pytest.raises(StoreUnavailable):
        play([problem(503, "store_unavailable", **{"retry-after": "3600"})])


def test_it_gives_up() -> None:
    with pytest.raises(Unreachable, match="gone"):
        play([Lost(OSError("gone"), sent=True)] * 3, retries=Retries(attempts=3))


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (problem(503, "schema_newer"), SchemaNewer),
        (problem(500, "internal"), PerdureError),
        (Answer(500, {}, b"oops"), PerdureError),
    ],
)
def test_what_does_not_pass_is_raised_at_once(outcome: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        play([outcome])


def test_what_must_not_be_done_twice_is_asked_again_only_where_it_was_not_done() -> None:
    once = Call("POST", "/api/x", repeatable=False)
    assert len(play([Lost(OSError("refused"), sent=False), OK], once)) == 1
    assert len(play([problem(429, "backpressure"), OK], once)) == 1
    with pytest.raises(Unreachable):
        play([Lost(OSError("gone"), sent=True)], once)
    with pytest.raises(StoreUnavailable):
        play([problem(503, "store_unavailable")], once)


def test_backpressure_keeps_its_retry_after() -> None:
    body = orjson.dumps({"code": "backpressure", "detail": "full", "retry_after": 7.0})
    with pytest.raises(Backpressure) as caught:
        play([Answer(429, {}, body)], retries=Retries(attempts=1))
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_pauses_grow_to_their_cap(chance: float) -> None:
    retries = Retries(attempts=100)
    pauses = [retries.pause(i, None, chance) or 0.0 for i in range(1, 100)]
    assert max(pauses) <= 10
    assert pauses[-1] >= 5
    assert retries.pause(100, None, chance) is None
