"""A log read as what happened when, and drawn: tries, cuts, waits, branches; in any width."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from perdure.cli.waterfall.axis import Axis
from perdure.cli.waterfall.bars import Bars
from perdure.cli.waterfall.page import print_page
from perdure.cli.waterfall.timeline import Stretch, Timeline, timeline, tree
from perdure.codec import encode_failure
from perdure.core.record import Record
from perdure.core.run import RunState
from perdure.store.rows import LogEvent, Run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def run(state: str = "running", **fields: Any) -> Run:
    known: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
    known.update(
        id="r", agent="a", state=RunState(state), queue="a", tenant="", epoch=1, attempts=0,
        max_attempts=5, created_at=NOW, started_at=at(1), waits=[], labels={}, depth=0,
    )  # fmt: skip
    return Run(**{**known, **fields})


class Log:
    """Rows in the order in which they are written."""

    def __init__(self) -> None:
        self.rows: list[LogEvent] = []

    def row(self, seconds: float, epoch: int = 1, **fields: Any) -> None:
        record = Record(**{"type": "entry", **fields})
        self.rows.append(LogEvent(len(self.rows) + 1, at(seconds), epoch, *record))

    def entry(
        self, seconds: float, name: str, state: str, took: float = 0, *, epoch: int = 1, **more: Any
    ) -> None:
        fields = {"key": name.encode(), "kind": "step", "scope": b"", "branch": "", **more}
        self.row(seconds, epoch, name=name, state=state, took_ms=int(took * 1000), **fields)

    def status(self, seconds: float, state: str, epoch: int = 1, **about: Any) -> None:
        value = orjson.dumps(about) if about else None
        self.row(seconds, epoch, type="status", name=state, value=value)

    def attempt(self, seconds: float, number: int, epoch: int) -> None:
        value = orjson.dumps({"attempt": number, "worker": f"w{epoch}"})
        self.row(seconds, epoch, type="attempt.started", value=value)

    def read(self, run: Run, now: float) -> Timeline:
        return timeline(run, self.rows, at(now))


def tries(line: Timeline, name: str) -> list[tuple[int, str, float, float]]:
    (effect,) = [effect for effect in line.effects if effect.name == name]
    return [(t.epoch, t.state, round(t.began, 3), round(t.ended, 3)) for t in effect.tries]


def test_an_effect_is_one_line_whatever_rows_it_has() -> None:
    log = Log()
    log.row(1, type="effect.started", key=b"m", kind="model", name="claude", scope=b"", branch="")
    log.entry(1.5, "inner", "done", 0.1, scope=b"search")
    log.entry(1.4, "search", "intent", kind="tool")
    log.entry(1.9, "claude", "done", 0.9, key=b"m", kind="model")
    log.entry(1.95, "search", "done", 0.55, kind="tool")
    log.entry(1.96, "now", "done", kind="clock")
    log.entry(1.97, "open", "intent", kind="tool")
    line = log.read(run(), 2)
    shown = [(depth, e.name, e.state, e.took_ms) for depth, _, e in tree(line.effects)]
    assert shown == [
        (0, "claude", "done", 900),
        (0, "search", "done", 550),
        (1, "inner", "done", 100),
        (0, "open", "intent", None),
    ]
    assert tries(line, "open") == [(1, "under way", 1.97, 2)]


def test_a_retry_is_another_try_and_says_what_went_wrong_before() -> None:
    log = Log()
    log.attempt(2, 1, 1)
    log.entry(2, "flaky", "failed", 0.5, value=encode_failure(ValueError("no")))
    log.row(2, key=b"flaky", scope=b"", branch="", state="void")
    log.status(2, "waiting", waits=[{"reason": "retry", "detail": "ValueError: no"}])
    log.status(5, "queued", reason="time")
    log.attempt(6, 2, 2)
    log.entry(6, "flaky", "done", 0.5, epoch=2)
    log.status(6, "succeeded", 2)
    line = log.read(run("succeeded", epoch=2, finished_at=at(6)), 100)
    assert tries(line, "flaky") == [(1, "void", 1.5, 2), (2, "done", 5.5, 6)]
    assert line.length == 6
    first, second = line.attempts
    assert (first.ending, first.why, first.number) == ("waiting", "retry", 1)
    assert (second.began, second.recorded, second.added) == (5.5, 0, 1)
    assert [(s.what, s.began, s.ended) for s in line.stretches] == [
        ("queued", 0, 1), ("running", 1, 2), ("waiting", 2, 5), ("queued", 5, 5.5),
        ("running", 5.5, 6),
    ]  # fmt: skip


def test_what_a_crash_cut_ends_where_the_next_attempt_begins() -> None:
    log = Log()
    log.attempt(1, 1, 1)
    log.entry(1.5, "safe", "done", 0.5)
    log.entry(1.5, "pay", "intent", kind="tool")
    log.status(3, "queued", reason="orphaned")
    log.attempt(4, 1, 2)
    log.entry(4.5, "pay", "done", 0.5, kind="tool", epoch=2)
    log.status(5, "succeeded", 2)
    line = log.read(run("succeeded", epoch=2, finished_at=at(5)), 5)
    assert tries(line, "pay") == [(1, "cut", 1.5, 3), (2, "done", 4, 4.5)]
    assert (line.attempts[0].ending, line.attempts[0].why) == ("queued", "its worker was gone")
    assert line.attempts[1].recorded == 1


def test_a_wait_is_one_bar_however_many_attempts_it_outlasts() -> None:
    log = Log()
    log.attempt(1, 1, 1)
    log.entry(1, "sleep", "intent", kind="sleep")
    log.status(1, "waiting", waits=[{"reason": "sleep"}, {"reason": "signal", "name": "go"}])
    log.row(50, type="signal", name="other")
    log.status(61, "queued", reason="time")
    log.attempt(62, 1, 2)
    log.entry(62, "sleep", "done", 0.001, kind="sleep", epoch=2)
    log.status(63, "waiting", 2, waits=[{"reason": "signal", "name": "go"}])
    log.status(70, "queued", 2, reason="signal")
    log.entry(71, "go", "done", kind="signal", epoch=3)
    line = log.read(run(epoch=3), 72)
    assert tries(line, "sleep") == [(2, "done", 1, 62)]
    assert tries(line, "go") == [(3, "done", 1, 71)]
    assert line.signals == [(50, "other")]


def test_changed_requests_are_marked_and_warnings_kept() -> None:
    log = Log()
    log.entry(1, "claude", "done", kind="model")
    value = orjson.dumps({"message": "it changed"})
    log.row(3, 2, type="warning", key=b"claude", name="changed", value=value)
    line = log.read(run(epoch=2), 4)
    assert line.effects[0].reused
    assert line.warnings == [(3, "it changed")]


def test_branches_of_the_agents_own_concurrency_stay_together() -> None:
    log = Log()
    for seconds, name, branch in [
        (1, "start", ""), (2, "a1", "/0"), (2.1, "b1", "/1"), (2.2, "a2", "/0"), (3, "end", ""),
    ]:  # fmt: skip
        log.entry(seconds, name, "done", branch=branch)
    shown = [(branch, e.name) for _, branch, e in tree(log.read(run(), 4).effects)]
    assert shown == [("", "start"), ("/0", "a1"), ("/0", "a2"), ("/1", "b1"), ("", "end")]


def test_the_json_form_counts_from_the_first_start() -> None:
    log = Log()
    log.entry(3, "x", "done", 0.5)
    found = log.read(run(), 4).effects[0].to_dict(1)
    assert found["started_s"] == 1.5
    assert found["tries"] == [{"attempt": 1, "state": "done", "started_s": 1.5, "took_ms": 500}]


# -- drawing --------------------------------------------------------------------------------------


def test_long_waits_are_folded_and_work_keeps_its_room() -> None:
    life = [Stretch("running", 0, 10), Stretch("waiting", 10, 100_000),
            Stretch("running", 100_000, 100_010)]  # fmt: skip
    axis = Axis(100_010, life, 43)
    assert axis.column(10) == pytest.approx(20)
    assert axis.column(100_000) == pytest.approx(23)
    assert axis.column(100_010) == pytest.approx(43)
    assert axis.second(23) == pytest.approx(100_000)
    assert len(axis.folds) == 1


def test_short_waits_are_drawn_as_they_are() -> None:
    axis = Axis(10, [Stretch("running", 0, 9), Stretch("waiting", 9, 10)], 20)
    assert axis.folds == []
    assert axis.column(5) == pytest.approx(10)


@pytest.mark.parametrize("folds", [1, 8, 40])
def test_columns_never_leave_the_axis_nor_go_back(folds: int) -> None:
    life = []
    for n in range(folds):
        life += [Stretch("running", n * 100.0, n * 100 + 1.0),
                 Stretch("waiting", n * 100 + 1.0, n * 100 + 100.0)]  # fmt: skip
    axis = Axis(folds * 100.0, life, 30)
    columns = [axis.column(second) for second in range(folds * 100 + 1)]
    assert columns == sorted(columns)
    assert columns[0] == 0
    assert columns[-1] == pytest.approx(30)


def drawn(width: int | None) -> list[str]:
    log = Log()
    log.attempt(1, 1, 1)
    log.entry(2, "flaky", "failed", 1, value=encode_failure(ValueError("no route " * 30)))
    log.row(2, key=b"flaky", scope=b"", branch="", state="void")
    log.status(2, "waiting", waits=[{"reason": "retry"}])
    log.status(3000, "queued", reason="time")
    log.entry(3002, "flaky", "done", 1, epoch=2)
    log.entry(3003, "a_long_name_" * 6, "intent", kind="tool", epoch=2, branch="/0")
    return [row.plain for row in Bars(log.read(run(epoch=2), 3004), width).rows()]


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = drawn(width)
    assert all(len(row) <= width for row in rows), rows
    flaky = next(row for row in rows if "flaky" in row)
    assert "✓ step flaky" in flaky
    assert ("×2" in flaky) == (width > 40)
    assert flaky.index("▓") < flaky.index("█")


def test_without_a_terminal_nothing_is_cut() -> None:
    rows = drawn(None)
    assert any("a_long_name_" * 6 in row for row in rows)
    assert "⋯ a long wait, folded" in rows[-1]
    assert "begun, its end is not recorded" not in "".join(rows)


def test_an_attempt_that_has_written_nothing_began_when_the_run_was_let_go() -> None:
    """Behind a cap: the row that says so is newer than what the run started with."""
    log = Log()
    log.status(40, "queued", reason="cap")
    line = log.read(run(started_at=at(40)), 41)
    assert [(s.what, s.began, s.ended) for s in line.stretches] == [
        ("queued", 0, 40),
        ("running", 40, 41),
    ]
    log = Log()
    log.attempt(1, 1, 1)
    log.entry(2, "a", "done", 1)
    log.status(3, "waiting")
    log.status(30, "queued", reason="signal")
    line = log.read(run(epoch=2), 31)
    assert (line.stretches[-1].what, line.stretches[-1].ended) == ("running", 31)


def test_a_wait_that_is_not_over_lacks_no_end() -> None:
    log = Log()
    log.attempt(1, 1, 1)
    log.entry(1.1, "approved", "intent", kind="signal")
    log.entry(1.2, "pay", "intent", kind="tool")
    line = log.read(run(), 3)
    rows = [row.plain for row in Bars(line, None).rows()]
    (signal,) = [i for i, row in enumerate(rows) if "signal approved" in row]
    (tool,) = [i for i, row in enumerate(rows) if "tool pay" in row]
    assert signal < tool
    assert not [row for row in rows if "its end is not recorded" in row]  # it goes on
    log.status(4, "queued", reason="orphaned")
    rows = [row.plain for row in Bars(log.read(run("queued"), 5), None).rows()]
    (tool,) = [i for i, row in enumerate(rows) if "tool pay" in row]
    assert [i for i, row in enumerate(rows) if "its end is not recorded" in row] == [tool + 1]


def test_a_worker_that_was_gone_gave_nothing_back(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.attempt(1, 1, 1)
    log.status(3, "queued", reason="orphaned")
    log.attempt(4, 1, 2)
    log.status(5, "queued", 2, reason="hop")
    log.attempt(6, 1, 3)
    whole = run(epoch=3)
    print_page(whole, log.read(whole, 7), [], at(7), full=False)
    shown = capsys.readouterr().out
    assert "lost: its worker was gone" in shown
    assert "gave it back: between two effects" in shown


def branched(width: int | None, *, full: bool = False) -> list[str]:
    log = Log()
    log.attempt(1, 1, 1)
    for n, branch in enumerate(
        ("graph#2/research_one_topic.2", "graph#4/ask/graph#2/tools.0/toolu_4f8e9386dc198c60334d59")
    ):
        log.entry(2, f"look{n}", "done", 1, branch=branch)
    log.entry(2, "state", "done", kind="emit", branch="events/nodes")
    log.entry(2, "mine", "done", kind="emit")
    return [row.plain for row in Bars(log.read(run(), 3), width, full=full).rows()]


def test_a_row_begins_with_what_it_is_and_names_its_branch_in_short() -> None:
    rows = branched(None)
    assert [row[:35].rstrip() for row in rows[:-1]] == [
        "    EFFECT      BRANCH",
        "    run",
        "  ✓ step look0  ⑂research_one_topic",
        "  ✓ step look1  ⑂ask/tools.0",
        "  ✓ emit mine",
    ]
    narrow = branched(80)
    assert all(len(row) <= 80 for row in narrow)
    assert "⑂…ch_one_topic.2" in narrow[2]
    assert "⑂" not in "".join(branched(40))


def test_with_full_nothing_is_left_out() -> None:
    rows = branched(None, full=True)
    assert any("⑂graph#4/ask/graph#2/tools.0/toolu_4f8e9386dc198c60334d59" in row for row in rows)
    assert any("emit state" in row and "⑂events/nodes" in row for row in rows)
