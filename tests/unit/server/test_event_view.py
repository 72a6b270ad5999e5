"""The event vocabulary."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from perdure.codec import BLOB, RAW
from perdure.core.record import RecordType
from perdure.server.event_view import VALUE_INLINE, ends, view
from perdure.store.rows import LogEvent

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _event(type: str, **fields: Any) -> LogEvent:
    row: dict[str, Any] = dict.fromkeys(LogEvent._fields)
    row.update(seq=7, at=AT, epoch=1, type=type, **fields)
    return LogEvent(**row)


def _data(type: str, **fields: Any) -> dict[str, Any]:
    shown = view(_event(type, **fields))
    orjson.dumps(shown)  # it is JSON
    data: dict[str, Any] = shown["data"]
    return data


EFFECT: dict[str, Any] = {
    "key": b"\x01\x02", "scope": b"", "branch": "0.1", "kind": "tool", "name": "search",
    "promise": "reads", "state": "done", "took_ms": 12, "digest": b"d", "after": b"a",
    "occurrence": 0,
}  # fmt: skip


def test_the_envelope() -> None:
    shown = view(_event("status", name="running"))
    assert shown == {
        "seq": 7,
        "at": "2026-01-02T03:04:05+00:00",
        "type": "status",
        "data": {"state": "running"},
    }


def test_a_status_says_why() -> None:
    about = {"reason": "signal", "waits": [{"reason": "sleep"}]}
    data = _data("status", name="waiting", value=orjson.dumps(about))
    assert data == {"state": "waiting", **about}


def test_an_effect() -> None:
    assert _data("entry", **EFFECT, value=b'{"hits":[1]}') == {
        "kind": "tool", "name": "search", "key": "0102", "branch": "0.1", "state": "done",
        "promise": "reads", "took_ms": 12, "value": {"hits": [1]},
    }  # fmt: skip
    assert view(_event("entry", **EFFECT))["type"] == "effect"


def test_an_effect_inside_another_names_it() -> None:
    assert _data("entry", **{**EFFECT, "scope": b"\xff"})["scope"] == "ff"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, {}),
        (b"null", {"value": None}),
        (b'"' + b"x" * VALUE_INLINE + b'"', {"value_size": VALUE_INLINE + 2}),
        (BLOB + b"ab12", {"value_blob": "ab12"}),
        (RAW + b"\x00\xff", {"value_base64": b64encode(b"\x00\xff").decode()}),
    ],
)
def test_values(value: bytes | None, shown: dict[str, Any]) -> None:
    data = _data("entry", **EFFECT, value=value)
    assert {k: v for k, v in data.items() if k.startswith("value")} == shown


def test_an_event_of_the_agents_own() -> None:
    event = _event("entry", **{**EFFECT, "kind": "emit", "name": "progress"}, value=b"50")
    assert view(event)["type"] == "emit"
    assert view(event)["data"] == {"name": "progress", "value": 50}


def test_an_effect_that_goes_out() -> None:
    data = _data("effect.started", key=b"\x01", scope=b"", branch="", kind="model", name="m")
    assert data == {"kind": "model", "name": "m", "key": "01"}


def test_deltas() -> None:
    assert _data("delta", kind="output", value=b'["a","b"]') == {
        "kind": "output",
        "items": ["a", "b"],
    }


def test_warnings_signals_and_attempts() -> None:
    warning = _data("warning", name="changed", key=b"\x01", value=b'{"message":"m"}')
    assert warning == {"code": "changed", "message": "m", "key": "01"}
    assert _data("signal", name="go", value=b'{"n":1}') == {"name": "go", "n": 1}
    attempt = _data("attempt.started", value=b'{"attempt":2,"worker":"w"}')
    assert attempt == {"attempt": 2, "worker": "w"}


@pytest.mark.parametrize("type", list(RecordType))
def test_every_type_of_row_can_be_shown_empty(type: RecordType) -> None:
    assert view(_event(type))["seq"] == 7


def test_which_statuses_end_a_stream() -> None:
    assert ends(_event("status", name="succeeded"))
    assert ends(_event("status", name="cancelled"))
    assert not ends(_event("status", name="waiting"))
    assert not ends(_event("signal", name="failed"))
