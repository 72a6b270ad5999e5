"""From a request's body to a run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.app import App
from perdure.codec import BLOB
from perdure.errors import InvalidInput
from perdure.runtime.worker import describe
from perdure.server.catalog import Known
from perdure.server.submission import (
    MAX_LABEL,
    MAX_LABELS,
    Submission,
    idempotency_key,
    new_run,
    read,
)
from perdure.store.blobs import MAX_INLINE, FileBlobs
from perdure.store.rows import AgentInfo, Intake, NewRun


def test_only_an_input() -> None:
    assert read({"input": {"q": "x"}}).input == b'{"q":"x"}'
    assert read({}).input == b"null"


def test_everything() -> None:
    found = read(
        {"input": 1, "labels": {"team": "red"}, "priority": -2, "timeout": 1.5, "delay": 60}
    )
    assert found == Submission(
        b"1", found.body, {"team": "red"}, -2, timedelta(seconds=1.5), timedelta(minutes=1)
    )


def test_the_hash_is_of_the_content_and_not_of_its_spelling() -> None:
    one = read({"input": {"a": 1, "b": 2}, "priority": 1}).body
    assert read({"priority": 1, "input": {"b": 2, "a": 1}}).body == one
    assert read({"input": {"a": 1, "b": 2}, "priority": 2}).body != one
    assert read({"input": {"a": 1, "b": 2}}).body != one


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        None,
        {"input": 1, "unknown": 2},
        {"labels": ["x"]},
        {"labels": {"a": 1}},
        {"labels": {"": "x"}},
        {"labels": {"a": "x" * (MAX_LABEL + 1)}},
        {"labels": {str(i): "x" for i in range(MAX_LABELS + 1)}},
        {"priority": 1.5},
        {"priority": True},
        {"priority": 10**6},
        {"timeout": 0},
        {"timeout": "30s"},
        {"timeout": True},
        {"timeout": 1e12},
        {"delay": -1},
    ],
)
def test_what_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(body)
    assert caught.value.status == 422


def test_an_unknown_member_is_named() -> None:
    with pytest.raises(InvalidInput, match="'question'") as caught:
        read({"question": "what?"})
    assert "input" in str(caught.value.hint)


def _known(**policy: Any) -> Known:
    async def greet(name: str) -> str:
        return name

    app = App()
    app.add(greet, name="greet", **policy)
    agent = app.agents["greet"]
    return Known(describe(agent), agent)


async def _run(document: Any, known: Known, folder: Path, **more: Any) -> NewRun:
    values: dict[str, Any] = {
        "tenant": "", "idempotency_key": None, "trace": None, "watch": False,
    }  # fmt: skip
    return await new_run(read(document), known, FileBlobs(folder), **{**values, **more})


async def test_a_run_has_its_agents_policy(tmp_path: Path) -> None:
    run = await _run({"input": "x"}, _known(cap=3, priority=4, timeout=60), tmp_path)
    assert (run.cap, run.priority, run.timeout) == (("agent:greet", 3), 4, timedelta(minutes=1))
    assert run.max_attempts == 5
    run = await _run({"input": "x", "priority": 0, "timeout": 2}, _known(priority=4), tmp_path)
    assert (run.priority, run.timeout) == (0, timedelta(seconds=2))


async def test_an_agent_that_is_elsewhere_is_not_asked(tmp_path: Path) -> None:
    intake = Intake(2, 7, 3, timedelta(seconds=9))
    known = Known(AgentInfo("far", "far-queue", "python", intake=intake), None)
    run = await _run({"input": {"any": "thing"}}, known, tmp_path)
    assert (run.agent, run.queue, run.cap) == ("far", "far-queue", ("agent:far", 3))
    assert (run.max_attempts, run.priority, run.timeout) == (2, 7, timedelta(seconds=9))


async def test_an_input_of_the_wrong_type_makes_no_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="takes a str"):
        await _run({"input": 3}, _known(), tmp_path)


async def test_a_delayed_run_is_not_executed_in_place(tmp_path: Path) -> None:
    assert (await _run({"input": "x"}, _known(), tmp_path, lease_to="w")).lease_to == "w"
    delayed = {"input": "x", "delay": 1}
    assert (await _run(delayed, _known(), tmp_path, lease_to="w")).lease_to is None


async def test_a_large_input_becomes_a_blob(tmp_path: Path) -> None:
    text = "x" * (MAX_INLINE + 1)
    run = await _run({"input": text}, _known(), tmp_path)
    assert run.input[:1] == BLOB
    assert FileBlobs(tmp_path).get(run.input) == f'"{text}"'.encode()


@pytest.mark.parametrize(
    ("header", "key"), [(None, None), ("abc", "abc"), ('"a b"', "a b"), (r'"a\"b"', 'a"b')]
)
def test_idempotency_keys(header: str | None, key: str | None) -> None:
    assert idempotency_key(header) == key


@pytest.mark.parametrize("header", ["", '""', "x" * 256])
def test_idempotency_keys_that_are_none(header: str) -> None:
    with pytest.raises(InvalidInput):
        idempotency_key(header)
