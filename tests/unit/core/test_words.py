"""How numbers and states are said."""

from __future__ import annotations

import pytest

from perdure.core.run import Event, RunState, advance
from perdure.core.words import counted
from perdure.errors import Conflict


def test_one_is_no_many() -> None:
    assert counted(1, "run") == "1 run"
    assert counted(0, "run") == "0 runs"
    assert counted(2, "try", "tries") == "2 tries"
    assert counted(1, "run was", "runs were") == "1 run was"
    assert counted(12_000, "row") == "12,000 rows"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (RunState.QUEUED, "is queued"),
        (RunState.RUNNING, "is running"),
        (RunState.SUCCEEDED, "has succeeded"),
        (RunState.FAILED, "has failed"),
        (RunState.DEAD, "is dead"),
        (RunState.CANCELLED, "was cancelled"),
    ],
)
def test_a_state_in_a_sentence(state: RunState, says: str) -> None:
    assert state.says == says


def test_every_state_has_a_verb() -> None:
    assert all(state.says.split()[0] in ("is", "has", "was") for state in RunState)


def test_a_move_that_there_is_not_is_told_in_a_sentence() -> None:
    with pytest.raises(Conflict, match="A run that has succeeded cannot be redriven"):
        advance(RunState.SUCCEEDED, Event.REDRIVEN)
