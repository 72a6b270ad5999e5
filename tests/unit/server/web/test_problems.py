"""The error tree as HTTP problems."""

from __future__ import annotations

import orjson
import pytest

from perdure.errors import (
    Backpressure,
    Conflict,
    EffectFailed,
    IdempotencyMismatch,
    PerdureError,
    StoreUnavailable,
    Unauthorized,
    tree,
)
from perdure.server.web.problems import MEDIA_TYPE, document, plain_problem, problem


def test_members_of_a_problem() -> None:
    error = IdempotencyMismatch("Used before.", hint="Use a new key.", run="r1")
    assert document(error, {"path": "/api/x"}) == {
        "type": "/problems/idempotency_mismatch",
        "title": "Idempotency mismatch",
        "status": 422,
        "detail": "Used before.",
        "instance": "/api/x",
        "code": "idempotency_mismatch",
        "hint": "Use a new key.",
        "run": "r1",
    }


def test_details_do_not_replace_standard_members() -> None:
    shown = document(EffectFailed("It failed.", type="builtins:ValueError"), {"path": "/x"})
    assert shown["type"] == "/problems/effect_failed"
    error = Conflict("No.")
    error.detail.update(status=1, instance="elsewhere", detail="other")
    shown = document(error, {"path": "/x"})
    assert (shown["status"], shown["instance"], shown["detail"]) == (409, "/x", "No.")


@pytest.mark.parametrize("cls", [c for c in tree() if c.__init__ is PerdureError.__init__])
def test_every_error_has_its_status_and_media_type(cls: type[PerdureError]) -> None:
    answer = problem(cls("What happened."), {"path": "/x"})
    assert answer.status_code == cls.status
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert orjson.loads(answer.body)["code"] == cls.code


def test_a_type_leads_to_where_the_app_is_mounted() -> None:
    shown = document(Conflict("No."), {"path": "/sub/api/x", "root_path": "/sub"})
    assert (shown["type"], shown["instance"]) == ("/sub/problems/conflict", "/sub/api/x")


def test_backpressure_says_how_much_room_there_is() -> None:
    error = Backpressure("Full.", retry_after=5.0, queued=7, limit=7)
    headers = problem(error, {"path": "/x"}).headers
    assert headers["ratelimit-policy"] == '"queue";q=7'
    assert headers["ratelimit"] == '"queue";r=0;t=5'


def test_backpressure_says_when_to_come_again() -> None:
    answer = problem(Backpressure("Full.", retry_after=2.2), {"path": "/x"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert orjson.loads(answer.body)["retryable"] is True


def test_an_unavailable_store_says_when_to_come_again() -> None:
    assert int(problem(StoreUnavailable("Away."), {"path": "/x"}).headers["retry-after"]) > 0


def test_unauthorized_names_the_scheme() -> None:
    assert (
        problem(Unauthorized("Who?"), {"path": "/x"})
        .headers["www-authenticate"]
        .startswith("Bearer")
    )


def test_details_that_are_no_json_are_shown_as_text() -> None:
    shown = orjson.loads(problem(Conflict("No.", what={1, 2}.__class__), {"path": "/x"}).body)
    assert shown["what"] == "<class 'set'>"


def test_problems_of_http_itself() -> None:
    answer = plain_problem(405, "Not so.", {"path": "/x"}, {"Allow": "GET"})
    assert orjson.loads(answer.body)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET"
