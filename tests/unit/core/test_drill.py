"""A share of the calls, the same for all calls of a run, and only for a while."""

from __future__ import annotations

import pytest

from perdure.core.drill import Drill, decode, drawn, encode, key, under_way

DRILL = Drill("d1", "claude", "west", 10.0, 1000.0, 1600.0, "someone")


def test_a_document_is_read_as_it_was_written() -> None:
    assert decode(encode(DRILL)) == DRILL
    assert key("a/b c") == "drill/a%2Fb+c"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": "x"}', b'{"percent": null}'])
def test_what_cannot_be_read_is_no_drill(body: bytes) -> None:
    assert decode(body) is None


def test_it_ends_by_itself() -> None:
    assert under_way(encode(DRILL), 1599.9) == DRILL
    assert under_way(encode(DRILL), 1600.0) is None


def test_the_share_is_as_large_as_it_was_said() -> None:
    share = sum(drawn(DRILL, f"run {n}", 0.5) for n in range(10_000)) / 10_000
    assert 0.09 < share < 0.11
    share = sum(drawn(DRILL, "", n / 10_000) for n in range(10_000)) / 10_000
    assert 0.09 < share < 0.11


def test_a_run_is_in_it_or_not_whatever_chance_says() -> None:
    for run in ("a", "b", "c", "d"):
        assert len({drawn(DRILL, run, chance / 10) for chance in range(10)}) == 1


def test_another_drill_takes_other_runs() -> None:
    other = DRILL._replace(id="d2")
    runs = [f"run {n}" for n in range(1000)]
    both = sum(drawn(DRILL, run, 0) and drawn(other, run, 0) for run in runs)
    assert both < 40


def test_all_and_nothing() -> None:
    runs = [f"run {n}" for n in range(100)]
    assert all(drawn(DRILL._replace(percent=100.0), run, 0) for run in runs)
    assert not any(drawn(DRILL._replace(percent=0.0), run, 0) for run in runs)
