"""What `perdure runs show` says of who answered a model call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure.cli.waterfall.contacts import by_effect, said, told, total, view
from perdure.core.charge import Charge, Priced, Source
from perdure.store.costs import Entered

KEY = b"effect"
BEGAN = datetime(2026, 11, 21, tzinfo=UTC)


def row(n: int = 0, source: Source = Source.SENT, **fields: Any) -> Entered:
    known: dict[str, Any] = {"key": KEY, "run_id": "r", "priced": Priced.KNOWN}
    charge = Charge(b"", "a", "p", "m", source, **{**known, **fields})
    return Entered(BEGAN + timedelta(seconds=n), charge)


def failed(n: int, target: str, why: str) -> Entered:
    return row(n, Source.FAILED, target=target, why=why, priced=Priced.FREE)


WEST = row(9, target="west", why="after east", cost=1_200_000)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], ""),
        ([row()], ""),
        ([row(cost=1_200_000)], "$0.0012"),
        ([row(target="east", why="first", cost=1_200_000)], "via east $0.0012"),
        ([failed(0, "east", "first: HTTP 500"), WEST], "via west (after east: HTTP 500) $0.0012"),
        (
            [
                failed(0, "east", "broken: north: HTTP 500"),
                failed(1, "west", "after east: ReadTimeout"),
            ],
            "east: HTTP 500, west: ReadTimeout",
        ),
        ([row(target="east", why="weight 1/2")], "via east (weight 1/2)"),
        (
            [row(target="west", why="drill", priced=Priced.UNKNOWN)],
            "via west (drill) at an unknown price",
        ),
        ([row(source=Source.FAILED, why="HTTP 529"), row(1, cost=10**9)], "(after HTTP 529) $1.00"),
        ([row(source=Source.CACHED, saved=10**9)], "from the response cache, saved $1.00"),
        (
            [row(source=Source.VOID, target="east", why="first: cut", cost=10**9), WEST],
            "via west (after east: cut) $1.00",
        ),
    ],
)
def test_in_words(rows: list[Entered], words: str) -> None:
    assert said(rows) == words


def test_another_model_is_named() -> None:
    assert said([row(target="west")], "m") == "via west"
    assert said([row(target="west", why="drill")], "big") == "via west (m, drill)"


def test_what_is_worth_a_line() -> None:
    assert not told([])
    assert not told([row(cost=5)])
    assert told([row(target="east")])
    assert told([row(source=Source.FAILED), row(1)])


def test_rows_belong_to_their_effects_the_oldest_first() -> None:
    other = row(key=b"other")
    rows = [WEST, row(), other, row(key=None), row(source=Source.REPLAYED)]
    assert by_effect(rows) == {KEY: [row(), WEST], b"other": [other]}


def test_what_the_run_cost() -> None:
    assert total([]) == ""
    assert total([row(cost=10**9)]) == "$1.00 for 1 model call"
    rows = [
        row(cost=10**9),
        row(source=Source.FAILED, priced=Priced.FREE),
        row(source=Source.REPLAYED, saved=2 * 10**9, calls=7),
        row(source=Source.CACHED, saved=10**9, priced=Priced.FREE),
    ]
    assert total(rows) == (
        "$1.00 for 2 model calls (1 of no use), saved $2.00 by replay, saved $1.00 by the cache"
    )


def test_for_programs() -> None:
    found = view(row(target="west", credential="label", why="drill", cost=5 * 10**8, output=3))
    assert (found["target"], found["key"], found["cost_usd"]) == ("west", "label", 0.5)
    assert found["route"] is None
