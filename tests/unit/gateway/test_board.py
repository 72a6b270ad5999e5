"""Documents that are often read and seldom written."""

from __future__ import annotations

import pytest

from perdure.errors import StoreUnavailable
from perdure.gateway.board import AGE_S, Board
from tests.unit.gateway.keeper import Keeper


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


async def test_they_are_read_once_for_a_while(keeper: Keeper) -> None:
    ours = [0.0]
    board = Board(keeper, lambda: ours[0])
    keeper.put("halt/agent/a", b"x")
    for _ in range(10):
        found = await board.read(["halt/agent/a", "halt/tenant/t"])
        assert (found["halt/agent/a"].body, found["halt/tenant/t"].body) == (b"x", b"")
    assert len(keeper.calls) == 1
    keeper.put("halt/agent/a", b"y")
    ours[0] += AGE_S + 0.01
    assert (await board.read(["halt/agent/a"]))["halt/agent/a"].body == b"y"
    assert AGE_S < 1.0  # a switch is to be known within a second


async def test_a_change_that_another_was_faster_with_is_decided_again(keeper: Keeper) -> None:
    board = Board(keeper)
    keeper.put("n", b"1")
    keeper.meanwhile = lambda: keeper.put("n", b"5")
    body = await board.change("n", lambda body, now: b"%d" % (int(body) + 1))
    assert body == keeper.body("n") == b"6"


async def test_what_is_to_stay_is_not_written(keeper: Keeper) -> None:
    board = Board(keeper)
    keeper.put("n", b"1")
    assert await board.change("n", lambda body, now: None) == b"1"
    assert await board.change("n", lambda body, now: body) == b"1"
    assert not any(swaps for _, swaps in keeper.calls)


async def test_it_is_told_of_a_keeper_that_is_away(keeper: Keeper) -> None:
    board = Board(keeper)
    keeper.away = 1
    with pytest.raises(StoreUnavailable):
        await board.read(["a"])
    assert (await board.read(["a"]))["a"].version == 0
