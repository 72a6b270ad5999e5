"""How long runs are kept, as the settings say it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from perdure.config import load
from perdure.core.run import RunState
from perdure.errors import ConfigError
from perdure.store.retention import Keeping, make_keeping

DAY = timedelta(days=1)


def keeping(folder: Path, text: str, **environ: str) -> Keeping:
    (folder / "perdure.toml").write_text(text)
    return make_keeping(load(folder / "perdure.toml", environ=environ).retention)


def test_by_default_everything_is_kept(tmp_path: Path) -> None:
    assert not keeping(tmp_path, "").anything


def test_rules_by_state_and_agent(tmp_path: Path) -> None:
    found = keeping(
        tmp_path,
        """
        [retention]
        succeeded = "30d"
        dead = "off"
        generations = "12h"
        blobs = "1d"
        charges = "400d"
        [retention.agents.clerk]
        succeeded = "7d"
        failed = 60
        [retention.agents.auditor]
        succeeded = "none"
        """,
        PERDURE_RETENTION_CANCELLED="2d",
    )
    ages = {
        (agent, state.value): found.retention.age(agent, state)
        for agent in ("clerk", "auditor", "other")
        for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.DEAD, RunState.CANCELLED)
    }
    assert {key: age for key, age in ages.items() if age is not None} == {
        ("clerk", "succeeded"): 7 * DAY,
        ("clerk", "failed"): timedelta(minutes=1),
        ("clerk", "cancelled"): 2 * DAY,
        ("auditor", "cancelled"): 2 * DAY,
        ("other", "succeeded"): 30 * DAY,
        ("other", "cancelled"): 2 * DAY,
    }
    assert (found.generations, found.blobs, found.anything) == (DAY / 2, DAY, True)
    assert found.charges == 400 * DAY
    assert keeping(tmp_path, "retention.charges = '1d'").anything


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[retention.agents.clerk]\nrunning = "1d"', "running"),
        ('[retention.agents]\nclerk = "1d"', "a table for each agent"),
        ('[retention.agents.clerk]\nfailed = "soon"', "no duration"),
        ('[retention]\nrunning = "1d"', "retention.running"),
        ('[retention]\nblobs = "10m"', "shortest is 1:00:00"),
    ],
)
def test_what_cannot_be_right(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        keeping(tmp_path, text)
    assert word in wrong.value.message
