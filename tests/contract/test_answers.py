"""Answers that are kept for who asks the same."""

from __future__ import annotations

from datetime import timedelta

from perdure.store import Store

HOUR = timedelta(hours=1)
LARGE = bytes(range(256)) * 8192  # 2 MB


async def test_an_answer_is_remembered_for_its_time(store: Store, other: Store) -> None:
    assert await store.recall(b"a") is None
    await store.remember(b"a", LARGE, HOUR)
    await store.remember(b"b", b"", HOUR * 2)
    assert await other.recall(b"a") == LARGE
    assert await other.recall(b"b") == b""
    other.shift_clock(HOUR)
    assert await other.recall(b"a") is None
    assert await other.recall(b"b") == b""


async def test_a_new_one_takes_the_place_of_an_old_one(store: Store, other: Store) -> None:
    await store.remember(b"a", b"old", HOUR)
    await other.remember(b"a", b"new", HOUR * 3)
    store.shift_clock(HOUR * 2)
    assert await store.recall(b"a") == b"new"


async def test_what_is_too_old_lapses_a_little_at_a_time(store: Store) -> None:
    for n in range(5):
        await store.remember(b"%d" % n, b"x", HOUR * (n + 1))
    assert await store.lapse() == (0, False)
    store.shift_clock(HOUR * 4 - timedelta(minutes=1))
    assert (await store.lapse(2)).rows == 2
    assert (await store.lapse(2)) == (1, False)
    assert [await store.recall(b"%d" % n) for n in range(5)] == [None] * 3 + [b"x"] * 2
