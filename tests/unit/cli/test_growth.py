"""A run's tree while it grows: branches are whole when they are shown, whatever the order in which
their parts end, and whatever cuts an attempt."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from perdure.cli.terminal.amounts import count, dollars, tokens
from perdure.cli.terminal.growth import Growth, Node
from perdure.cli.terminal.progress import line, sums
from perdure.core.record import Record
from perdure.gateway.answer import Answer
from perdure.gateway.usage import Usage
from perdure.store.rows import LogEvent

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(seq: int, **fields: Any) -> LogEvent:
    record = Record(**{"type": "entry", "state": "done", **fields})
    return LogEvent(seq, NOW + timedelta(seconds=seq), 1, *record)


def answer(read: int, written: int) -> bytes:
    body = {"usage": {"input_tokens": read, "output_tokens": written}}
    headers = (("content-type", "application/json"),)
    return Answer(200, headers, json.dumps(body).encode(), format="anthropic.messages").encode()


def named(nodes: list[Node]) -> list[Any]:
    return [(node.name, named(node.children)) for node in nodes]


def taken(growth: Growth, *events: LogEvent) -> list[Any]:
    return [found for one in events if (found := named(growth.take(one)))]


def test_a_branch_is_shown_when_its_top_ends() -> None:
    growth = Growth()
    found = taken(
        growth,
        event(1, key=b"t", kind="tool", name="search", state="intent"),
        event(2, key=b"m", scope=b"t", kind="model", name="p/m", type="effect.started", state=None),
        event(3, key=b"m", scope=b"t", kind="model", name="p/m", value=answer(10, 2), took_ms=900),
        event(4, key=b"x", kind="model", name="p/m", value=answer(1, 1)),
        event(5, key=b"t", kind="tool", name="search"),
    )
    assert found == [[("p/m", [])], [("search", [("p/m", [])])]]
    assert growth.open == []


def test_a_step_is_known_by_its_children_before_itself() -> None:
    growth = Growth()
    assert taken(growth, event(1, key=b"m", scope=b"s", kind="model", name="a")) == []
    assert growth.ended is not None
    assert growth.ended[0] == 1
    assert taken(growth, event(2, key=b"s", scope=b"o", kind="step", name="inner")) == []
    found = taken(growth, event(3, key=b"o", kind="step", name="outer"))
    assert found == [[("outer", [("inner", [("a", [])])])]]


def test_what_flew_when_an_attempt_was_cut_is_gone_and_the_rest_stays() -> None:
    growth = Growth()
    taken(
        growth,
        event(1, key=b"d", scope=b"s", kind="model", name="done"),
        event(2, key=b"f", scope=b"s", kind="model", name="cut", type="effect.started", state=None),
        event(3, key=b"g", kind="tool", name="gone", state="intent"),
    )
    assert [node.name for node in growth.flying()] == ["cut", "gone"]
    growth.take(event(4, type="attempt.started", state=None))
    assert list(growth.flying()) == []
    found = taken(growth, event(5, key=b"s", kind="step", name="outer"))
    assert found == [[("outer", [("done", [])])]]


def test_a_run_that_ends_early_shows_what_was_inside_the_unfinished() -> None:
    growth = Growth()
    taken(growth, event(1, key=b"d", scope=b"s", kind="model", name="done"))
    assert named(growth.rest()) == [("", [("done", [])])]
    assert growth.rest() == []


def test_deltas_clocks_and_voids_are_no_lines() -> None:
    growth = Growth()
    started = event(1, key=b"m", kind="model", name="a", type="effect.started", state=None)
    delta = event(2, key=b"m", type="delta", state=None, value=b'[{"text":"Hel"},"lo"]')
    assert taken(growth, started, delta) == []
    assert [node.words for node in growth.flying()] == ["Hello"]
    rest = [
        event(3, key=b"c", kind="clock", name="now"),
        event(4, key=b"e", kind="emit", name="custom", value=b"1"),
        event(5, key=b"m", state="void"),
        event(6, key=b"z", type="delta", state=None, value=b"[]"),
    ]
    assert taken(growth, *rest) == []
    assert growth.totals.calls == 0


def test_totals_count_answered_calls_once_and_say_when_a_price_is_missing() -> None:
    prices = {"p/known": Decimal("0.5")}
    growth = Growth(lambda name, used, at: prices.get(name))
    taken(
        growth,
        event(1, key=b"a", kind="model", name="p/known", value=answer(1000, 20)),
        event(2, key=b"b", kind="model", name="p/known", state="failed", value=b'{"status":500}'),
        event(3, key=b"c", kind="model", name="p/other", value=answer(500, 1)),
        event(4, key=b"d", kind="step", name="p/known", value=answer(9, 9)),
    )
    assert growth.totals.used == Usage(1500, 21)
    assert sums(growth.totals) == ["2 model calls", "1.5k in, 21 out", "≥ $0.50"]


def test_without_any_price_no_money_is_named() -> None:
    growth = Growth()
    taken(growth, event(1, key=b"a", kind="model", name="p/m", value=answer(10, 2)))
    assert sums(growth.totals) == ["1 model call", "10 in, 2 out"]


def test_a_line_says_what_it_took_and_why_it_failed() -> None:
    failed = b'{"type":"builtins:ValueError","message":"no\\nway"}'
    growth = Growth()
    growth.take(
        event(1, key=b"a", kind="tool", name="pay", state="failed", value=failed, took_ms=1200)
    )
    assert growth.ended is not None
    assert line(growth.ended[1], 1).plain == "    ✗ tool   pay  1.20 s  no way"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12k"), (1_400_000, "1.4M")],
)
def test_counts(amount: int, text: str) -> None:
    assert count(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"), ("0.0000001", "<$0.000001"), ("0.0000123", "$0.000012"), ("0.0042", "$0.0042"),
        ("0.05", "$0.050"), ("0.126", "$0.13"), ("12.3456", "$12.35"),
    ],
)  # fmt: skip
def test_dollars(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


def test_what_came_from_a_cache_is_said() -> None:
    assert tokens(Usage(1500, 20, cache_read=1000)) == "1.5k (1.0k cached) in, 20 out"
