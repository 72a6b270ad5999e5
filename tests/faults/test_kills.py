"""A selection of the kill matrix; ``make faults`` plays all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.cases import STORES, selection
from tests.faults.harness import Case, database, play

Databases = dict[str, Callable[[], str | None]]


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with ExitStack() as stack:
        yield {store: database(stack, store) for store in STORES}


@pytest.mark.kill
@pytest.mark.parametrize("case", selection(), ids=str)
async def test_nothing_durable_is_repeated_or_lost(
    case: Case, tmp_path: Path, databases: Databases
) -> None:
    outcome = await play(case, tmp_path, databases[case.store]())
    assert outcome.good, (outcome, "\n".join(outcome.notes))
