"""A selection of the proof that takes seconds; ``make quota`` plays all of it at full length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.quota.lanes import KINDS, Lane
from tests.quota.play import Plan, play

# Ten calls a second, so that four workers are often at the same document.
CROWD = Plan(
    (Lane("window", "rpm", 600, window=10),), warm=0, span=14, kills=0, outages=0, drain=30
)
FIRE = Plan(
    tuple(Lane(kind, limit, 120 if limit == "rpm" else 40_000, window=20)
          for limit in ("rpm", "tpm") for kind in KINDS if kind != "second"),
    warm=0, span=20, kills=4, outages=1, drain=60,
)  # fmt: skip


@pytest.mark.kill
async def test_four_workers_stay_within_one_limit(tmp_path: Path) -> None:
    figures = await play(CROWD, tmp_path)
    assert not figures.over_sent, (figures.over_sent, figures.words)
    assert figures.right == figures.runs


@pytest.mark.kill
async def test_without_the_fence_the_limit_is_passed(tmp_path: Path) -> None:
    figures = await play(replace(CROWD, fence=False, drain=0), tmp_path)
    assert figures.over_sent


@pytest.mark.kill
@pytest.mark.long
@pytest.mark.parametrize("keeper", ["postgres", "redis"])
async def test_kills_and_outages_send_nothing_over(tmp_path: Path, keeper: str) -> None:
    figures = await play(replace(FIRE, keeper=keeper), tmp_path)
    assert figures.kills
    assert figures.outages
    assert not figures.over_sent, (figures.over_sent, figures.words)
    assert figures.right == figures.runs, figures.words
