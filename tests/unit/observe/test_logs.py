"""Log lines know which run they are about, whoever logs them; nobody's logging is taken over."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.observe import logs
from tests.unit.runtime.harness import House, opened

mine = logging.getLogger("my.agent")


class Kept(io.StringIO):
    """A stream of JSON lines."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def one(self, message: str) -> dict[str, Any]:
        (found,) = [line for line in self.lines if line["message"] == message]
        return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        yield house


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What the agent's own logger logs."""
    stream = Kept()
    handler = logs.Handler("json", stream)
    mine.addHandler(handler)
    mine.setLevel(logging.INFO)
    yield stream
    mine.removeHandler(handler)
    mine.setLevel(logging.NOTSET)


@contextmanager
def bare() -> Iterator[logging.Logger]:
    """The root logger as in a process of our own: without pytest's handlers."""
    root, ours = logging.getLogger(), logging.getLogger("perdure")
    before = root.handlers[:], root.level, ours.level
    root.handlers[:] = []
    try:
        yield root
    finally:
        root.handlers[:], level, our_level = before
        root.setLevel(level)
        ours.setLevel(our_level)


async def test_lines_of_the_agents_own_logger_say_what_they_belong_to(
    house: House, kept: Kept
) -> None:
    @perdure.step
    async def add(a: int, b: int) -> int:
        mine.info("adding")
        return a + b

    @perdure.tool(name="look")
    def look() -> int:
        mine.info("looking, in a thread")
        return 1

    async def agent(n: int) -> int:
        mine.info("begins", extra={"n": n, "attempt": "its own"})
        return await add(n, await look.aio())  # type: ignore[attr-defined]

    house.serve(agent)
    await house.worker()
    trace = "0af7651916cd43dd8448eb211c80319c"
    run_id = await house.submit("agent", 3, trace=f"00-{trace}-b7ad6b7169203331-01")
    assert (await house.until(run_id)).result == b"4"

    begins = kept.one("begins")
    about = {"run_id": run_id, "agent": "agent", "epoch": 1, "trace_id": trace}
    assert {k: begins[k] for k in about} == about
    assert (begins["level"], begins["logger"]) == ("info", "my.agent")
    assert datetime.fromisoformat(begins["time"]).tzinfo is not None
    assert begins["extra"] == {"n": 3}
    assert begins["attempt"] == "its own"  # what a line says of itself stays
    assert "effect" not in begins
    looking = kept.one("looking, in a thread")
    assert (looking["run_id"], looking["attempt"]) == (run_id, 1)
    assert (looking["effect_kind"], looking["effect_name"]) == ("tool", "look")
    adding = kept.one("adding")
    entries = [e for e in await house.entries(run_id) if e.kind == "step"]
    assert [adding["effect"]] == [entry.key.hex() for entry in entries]


async def test_lines_of_a_replay_say_so(house: House, kept: Kept) -> None:
    @perdure.step
    async def first() -> int:
        return 1

    async def agent(x: None) -> int:
        mine.info("before")
        n = await first()
        mine.info("after")
        await perdure.wait_for("go")
        mine.info("gone")
        return n

    house.serve(agent)
    worker = await house.worker()
    run_id = await house.submit("agent")
    await house.parked(run_id, "signal")
    await house.next_life(worker)
    await house.signal(run_id, "go")
    await house.until(run_id)
    told = [(line["message"], line.get("replaying", False)) for line in kept.lines]
    assert told[:2] == [("before", False), ("after", False)]
    # Once everything recorded is read, the code is where it was and says what it says anew.
    assert told[-3:] == [("before", True), ("after", False), ("gone", False)]


def test_outside_of_runs_there_is_nothing_to_add(kept: Kept) -> None:
    mine.info("alone")
    assert set(kept.one("alone")) == {"time", "level", "logger", "message"}


def test_errors_and_odd_values_stay_one_line(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    # A report of pytest-xdist cannot hold such a line.
    monkeypatch.setattr(mine, "propagate", False)
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        mine.exception("failed")
    found = kept.one("failed")
    assert "ValueError: broken" in found["exception"]
    mine.info("odd \ud800", extra={"huge": 10**30, "thing": object()})
    assert "odd" in kept.lines[-1]["message"]
    assert len(kept.getvalue().splitlines()) == 2


def test_text_names_run_and_effect_in_brackets() -> None:
    stream = io.StringIO()
    handler = logs.Handler("text", stream)
    record = mine.makeRecord(
        "my.agent", logging.INFO, "x.py", 1, "done", (), None, None,
        {"run_id": "r1", "effect_kind": "tool", "effect_name": "pay"},
    )  # fmt: skip
    handler.handle(record)
    ours = mine.makeRecord(
        "perdure", logging.INFO, "x.py", 1, "run r1: done", (), None, None, {"run_id": "r1"}
    )
    handler.handle(ours)
    first, second = stream.getvalue().splitlines()
    assert first.endswith("my.agent: done  [run r1, tool pay]")
    assert second.endswith("perdure: run r1: done")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="text, json"):
        logs.Handler("xml")


def test_a_process_of_our_own_logs_everything_in_one_format(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bare():
        logs.configure("json", "info", "warning")
        logging.getLogger("perdure.worker").info("ours")
        logging.getLogger("theirs").info("too much")
        logging.getLogger("theirs").warning("theirs")
        said = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
        assert said == ["ours", "theirs"]
        logs.configure("text", "warning", "info")  # again: no line is told twice
        logging.getLogger("perdure.worker").info("ours")
        logging.getLogger("theirs").info("theirs")
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_handlers_of_the_user_stay_as_they_are() -> None:
    with bare() as root:
        own = logging.StreamHandler(io.StringIO())
        root.addHandler(own)
        root.setLevel(logging.ERROR)
        logs.configure("json", "debug", "info")
        assert root.handlers == [own]
        assert own.filters == []
        assert root.level == logging.ERROR
        assert logging.getLogger("perdure").level == logging.DEBUG


def test_the_filter_is_for_handlers_of_the_users_own() -> None:
    """As ``logging.config.dictConfig`` makes it."""
    from logging.config import dictConfig

    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "incremental": False,
            "filters": {"run": {"()": "perdure.observe.logs.RunContext"}},
            "formatters": {"json": {"()": "perdure.observe.logs.JsonLines"}},
            "handlers": {
                "kept": {
                    "class": "logging.StreamHandler", "stream": Kept(),
                    "filters": ["run"], "formatter": "json",
                }
            },
            "loggers": {"theirs.own": {"handlers": ["kept"], "level": "INFO", "propagate": False}},
        }
    )  # fmt: skip
    logger = logging.getLogger("theirs.own")
    (handler,) = logger.handlers
    logger.info("hello")
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream.one("hello")["logger"] == "theirs.own"
    logger.removeHandler(handler)
