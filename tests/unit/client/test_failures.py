"""Every error of the tree comes back as itself."""

from __future__ import annotations

import orjson
import pytest

from perdure.client.failures import ending, failure
from perdure.errors import (
    LoopGuard,
    MissingExtra,
    NotFound,
    PerdureError,
    RunCancelled,
    RunDead,
    RunFailed,
    RunTimeout,
    Unavailable,
    UsageError,
    tree,
)
from perdure.server.web.problems import document


@pytest.mark.parametrize("cls", [c for c in tree() if c.__module__ == "perdure.errors"])
def test_a_problem_document_becomes_the_error_it_was_made_of(cls: type[PerdureError]) -> None:
    if cls is MissingExtra:
        error: PerdureError = MissingExtra("It", "extra")
    else:
        error = cls.__new__(cls)
        PerdureError.__init__(error, "What happened.", hint="Do this.", run="r1")
    back = failure(error.status, orjson.dumps(document(error, {"path": "/x"})))
    assert type(back) is cls
    assert (back.message, back.hint) == (error.message, error.hint)
    assert back.detail == {**error.detail, "status": error.status}


@pytest.mark.parametrize(
    ("status", "cls"),
    [(502, Unavailable), (404, NotFound), (418, UsageError), (500, PerdureError)],
)
def test_what_is_no_document_of_ours(status: int, cls: type[PerdureError]) -> None:
    error = failure(status, b"<html>nginx</html>")
    assert type(error) is cls
    assert "nginx" in error.message


def test_a_code_of_a_later_version_has_the_class_of_its_status() -> None:
    error = failure(404, orjson.dumps({"code": "brand_new", "detail": "so"}))
    assert type(error) is NotFound
    assert error.message == "so"


def test_how_a_run_ended() -> None:
    assert type(ending("r", "failed", {"type": "a:B", "message": "m"})) is RunFailed
    assert type(ending("r", "dead", None)) is RunDead
    assert type(ending("r", "cancelled", {"code": "run_cancelled"})) is RunCancelled
    assert type(ending("r", "failed", {"code": "run_timeout"})) is RunTimeout
    assert type(ending("r", "failed", {"code": "loop_guard"})) is LoopGuard
    assert type(ending("r", "failed", {"code": "not_found"})) is RunFailed
    assert str(ending("r", "failed", {"type": "a.b:C", "message": "m"})) == "Run r failed: C: m"
