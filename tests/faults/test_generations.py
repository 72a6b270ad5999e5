"""Killed around the moment when a run goes on in its next generation: it is in the one or in the
other, what the earlier ones did is not repeated, and the end is the last one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from perdure.core.crash import Point
from tests.faults.cases import STORES
from tests.faults.harness import Case, database, play

# The second settlement of two runs is still a generation's end, and the fourth too.
CASES = [
    Case(Point.BEFORE_SETTLE, "sqlite", "plain_generations", 1),
    Case(Point.BEFORE_SETTLE, "postgres", "plain_lives", 3),
    Case(Point.AFTER_SETTLE, "postgres", "plain_generations", 2),
    Case(Point.AFTER_SETTLE, "sqlite", "plain_lives", 3),
    Case(Point.WHILE_PARKING, "sqlite", "plain_generations", 1),
    Case(Point.AFTER_CLAIM, "postgres", "plain_generations", 3),
    Case(Point.AFTER_COMMIT, "sqlite", "plain_generations", 8),
]


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, Callable[[], str | None]]]:
    with ExitStack() as stack:
        yield {store: database(stack, store) for store in STORES}


@pytest.mark.kill
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_generation_is_begun_once(
    case: Case, tmp_path: Path, databases: dict[str, Callable[[], str | None]]
) -> None:
    outcome = await play(case, tmp_path, databases[case.store]())
    assert outcome.good, (outcome, "\n".join(outcome.notes))
