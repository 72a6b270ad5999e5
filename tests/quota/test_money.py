"""No process can spend what another has reserved, and nobody's death makes money."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quota.money import BUDGET, CALLS, MOST, spend


@pytest.mark.kill
async def test_200_calls_of_four_processes_spend_what_50_may_cost(tmp_path: Path) -> None:
    spent = await spend(tmp_path)
    assert spent.billed <= BUDGET, spent.words
    assert spent.billed == spent.booked
    assert spent.billed > BUDGET - MOST, spent
    assert spent.ended == CALLS, (spent.ends, spent.words)


@pytest.mark.kill
@pytest.mark.long
async def test_killed_processes_take_their_money_with_them(tmp_path: Path) -> None:
    spent = await spend(tmp_path, kills=4)
    assert spent.kills == 4
    assert spent.billed <= BUDGET, spent.words
    assert spent.ended == CALLS, (spent.ends, spent.words)


@pytest.mark.kill
@pytest.mark.long
async def test_without_the_fence_the_budget_is_passed(tmp_path: Path) -> None:
    spent = await spend(tmp_path, fence=False)
    assert spent.billed > BUDGET
