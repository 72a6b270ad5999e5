"""Receipts and payloads."""

from __future__ import annotations

from typing import Any

import orjson

from perdure.codec import RAW
from perdure.core.run import RunState
from perdure.server.run_view import failure, member, receipt


def _json(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def test_payloads_are_json_as_stored_or_base64() -> None:
    assert _json(member("result", b'{"a":[1]}')) == {"result": {"a": [1]}}
    assert _json(member("result", None)) == {"result": None}
    assert _json(member("input", RAW + b"hi")) == {"input": "aGk=", "input_encoding": "base64"}


def test_a_receipt_says_how_it_ended() -> None:
    done = _json(receipt("r", "a", RunState.SUCCEEDED, None, b"3", None))
    assert done == {"id": "r", "agent": "a", "state": "succeeded", "trace_id": "r", "result": 3}
    error = {"type": "builtins:ValueError", "message": "no", "args": ["no"], "hint": None}
    failed = _json(receipt("r", "a", RunState.FAILED, None, None, error))
    assert failed["error"] == {"type": "builtins:ValueError", "message": "no"}
    assert "result" not in failed
    assert _json(
        receipt("r", "a", RunState.QUEUED, f"00-{'a' * 32}-{'b' * 16}-01", None, None)
    ) == {
        "id": "r",
        "agent": "a",
        "state": "queued",
        "trace_id": "a" * 32,
    }


def test_no_failure_is_none() -> None:
    assert failure(None) is None
